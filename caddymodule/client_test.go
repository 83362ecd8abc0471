package caddymodule

import (
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-veeam/veeam-auth/internal/clients"
)

func TestPasswordsAreComparedWithTheHashesThatAreTaken(t *testing.T) {
	t.Parallel()
	made, err := bcrypt.GenerateFromPassword([]byte("antitiming"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for _, hash := range []string{string(made), string(caddyauth.Argon2idHash{}.FakeHash())} {
		if _, err := (&clients.Client{Name: "a", Hash: hash}).Check(); err != nil {
			t.Error(err)
		}
		if !hasHash(hash, "antitiming") || hasHash(hash, "y") {
			t.Errorf("%s is not compared", hash)
		}
	}
}

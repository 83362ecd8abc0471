package caddymodule

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-veeam/veeam-auth/caddymodule/listener"
	"github.com/caddy-veeam/veeam-auth/internal/clients"
)

func TestASourceIsTheAddressThatATrustedProxyNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ remote, named, want string }{
		{"192.0.2.7:4711", "", "192.0.2.7"},
		{"127.0.0.1:4711", "127.0.0.1", "127.0.0.1"},
		{"127.0.0.1:4711", "198.51.100.9", "198.51.100.9"},
		{"127.0.0.1:4711", "2001:db8:1:2:3::4", "2001:db8:1:2::/64"},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
		r.RemoteAddr = tt.remote
		vars := map[string]any{caddyhttp.ClientIPVarKey: tt.named}
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars))
		if got := listener.SourceOf(r); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

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

// Caddy's own access log.

package access

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

// Caddy copies a request into its access log before any handler, and masks two headers.
func TestASecretInAnAddressStaysOutOfCaddysAccessLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(dir, &site{Name: "site", Before: accessLog(dir) + "\n\turi query -password"})
	w.servers = here(t).servers
	if err := w.writeSecrets(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop) // the servers are everybody's
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	const key, jwt = "vak_0123456789abcdefghijABCDEFGHIJ012345", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.Y2FuYXJ5"
	c := w.client(t, "site")
	for _, target := range []string{
		"/api/v1/jobs/" + key, "/api/v1/jobs/%76" + key[1:], "/api/v1/x/password=canary&a", "/api/v1/x/" + jwt, "/api/v1/jobs?password=canary",
		"http://user:canary@localhost/api/v1/jobs", "http://user:can'ary@localhost/api/v1/jobs", "http://" + key + "@localhost/api/v1/jobs",
	} {
		a := c.raw("GET " + target + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		t.Log(target, a.status)
	}
	c.get("/api/v1/jobs?readable=1").want(http.StatusOK)
	harness.Eventually(t, "the last request is logged", func() bool {
		text, err := os.ReadFile(filepath.Join(dir, "access.log"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, secret := range []string{"canary", "can'ary", key[1:], "Y2FuYXJ5"} {
			if strings.Contains(string(text), secret) {
				t.Fatalf("%s: %s", secret, text)
			}
		}
		return strings.Contains(string(text), "readable=1")
	})
}

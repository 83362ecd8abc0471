// The gateway of deploy/kubernetes: its Caddyfile, in three processes with one Redis.

package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/harness/certs"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestTheGatewayOfKubernetesSharesOneLogin(t *testing.T) {
	t.Parallel()
	const replicas, redisPassword = 3, "redis-pass-1"
	redis := startRedisWith(t, "--requirepass", redisPassword)
	server := harness.StartServer(t, veeamtest.VBR13)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "cache_key"), harness.Keyset(t))
	write(t, filepath.Join(dir, "redis_password"), redisPassword)
	write(t, filepath.Join(dir, "veeam_password"), veeamtest.DefaultPassword)
	authority := certs.Authority("lab")
	write(t, filepath.Join(dir, "ca.crt"), string(certs.PEM(authority.Leaf)))
	site := issue(authority, "veeam-auth")
	write(t, filepath.Join(dir, "tls.crt"), string(certs.PEM(site.Leaf)))
	write(t, filepath.Join(dir, "tls.key"), string(certs.KeyPEM(site)))

	text, err := os.ReadFile("../../../deploy/kubernetes/gateway/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	known := callsAs(t, authority, issue(authority, "exporter"))
	unknown := callsAs(t, authority, issue(certs.Authority("other"), "exporter"))
	var sites []string
	var worlds []*harness.World
	for range replicas {
		ports, err := harness.FreePorts(2)
		if err != nil {
			t.Fatal(err)
		}
		// What a pod has for itself: its addresses, its volumes.
		caddyfile := strings.NewReplacer("localhost:2019", "{$CADDY_ADMIN}", ":9419", fmt.Sprint(":", ports[0]), ":9180", fmt.Sprint(":", ports[1]),
			"/run/secrets/veeam-auth/", dir+"/", "/run/secrets/tls/", dir+"/").Replace(string(text))
		w := harness.New(t)
		w.Layout = func() string { return caddyfile }
		w.Env = []string{
			"VEEAM_AUTH_SERVER=" + server.URL(), "VEEAM_AUTH_USERNAME=" + veeamtest.DefaultUser, "VEEAM_AUTH_TLS_PIN=" + harness.Pin(server),
			"VEEAM_AUTH_HOSTS=veeam-auth", "REDIS_HOST=127.0.0.1", fmt.Sprint("REDIS_PORT=", redis.port),
		}
		w.Run(t)
		worlds = append(worlds, w)
		if strings.Contains(w.Caddy.Output(), "enabling automatic HTTP->HTTPS redirects") {
			t.Error("it listens on port 80, which only root may do")
		}
		harness.Eventually(t, "the replica is ready", func() bool {
			res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/veeam_auth/ready", ports[1]))
			if err != nil {
				return false
			}
			res.Body.Close()
			return res.StatusCode == http.StatusOK
		})
		sites = append(sites, fmt.Sprintf("https://veeam-auth:%d/api/v1/jobs", ports[0]))
	}
	for _, site := range sites {
		res, err := known.Get(site)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("with a certificate: %s", res.Status)
		}
		if res, err := unknown.Get(site); err == nil {
			res.Body.Close()
			t.Errorf("with the certificate of another authority: %s", res.Status)
		}
	}
	alone := 0
	for _, w := range worlds {
		alone += w.Caddy.Alone()
	}
	if n := server.Counters().Logins; n < 1 || n > int64(1+alone) {
		t.Errorf("%d logins, want 1; the storage was too slow %d times", n, alone)
	}
}

// callsAs is a client with a certificate that calls the gateway by its name.
func callsAs(t *testing.T, authority, own *tls.Certificate) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(authority.Leaf)
	config := &tls.Config{
		RootCAs: roots,
		// Sent whoever the server asks for.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil },
	}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		_, port, _ := net.SplitHostPort(address)
		return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DialContext: dial}, Timeout: harness.Patience}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// issue makes a certificate for a name.
func issue(issuer *tls.Certificate, name string) *tls.Certificate {
	return certs.Issue(issuer, &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}})
}

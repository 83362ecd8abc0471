// One way to a server: commands, logins and requests take the same.

package caddymodule

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/caddymodule/dialing"
	"github.com/caddy-veeam/veeam-auth/caddymodule/records"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestReach_FindsThePlaceThatRequestsFind(t *testing.T) {
	t.Parallel()
	withTLS := &reverseproxy.TLSConfig{ExceptPorts: []string{"80"}}
	for upstreamAddress, want := range map[string]upstream.Place{
		"vbr01.lab.local:9419": {BaseURL: "https://vbr01.lab.local:9419/veeam", Host: "vbr01.lab.local:9419", Origin: "https tcp vbr01.lab.local:9419 /veeam"},
		"azure.lab.local:443":  {BaseURL: "https://azure.lab.local/veeam", Host: "azure.lab.local", Origin: "https tcp azure.lab.local:443 /veeam"},
		"vbr01.lab.local:80":   {BaseURL: "http://vbr01.lab.local/veeam", Host: "vbr01.lab.local", Origin: "http tcp vbr01.lab.local:80 /veeam"},
		"[fd00::1]:443":        {BaseURL: "https://[fd00::1]/veeam", Host: "[fd00::1]", Origin: "https tcp [fd00::1]:443 /veeam"},
		"unix//run/vbr":        {BaseURL: "https://2f72756e2f766272.localhost/veeam", Host: "localhost", Origin: "https unix /run/vbr /veeam"},
	} {
		for _, proxyProtocol := range []string{"", "v2"} {
			tr := provisionWay(t, &Transport{
				BasePath: "/veeam", InsecureHTTP: true, Accounts: []*account.Account{{Name: "svc", Password: "{env.P}"}},
				HTTPTransport: &reverseproxy.HTTPTransport{ProxyProtocol: proxyProtocol},
			})
			tr.TLS = withTLS
			reached, err := tr.Reach(upstreamAddress, "svc")
			if err != nil {
				t.Fatal(upstreamAddress, err)
			}
			want.Address = reached.place.Address
			if reached.place != want || reached.Client.BaseURL != want.BaseURL || reached.Client.Host != want.Host {
				t.Errorf("a command goes to %+v, not to %+v", reached.place, want)
			}
			dial, ok := reverseproxy.GetDialInfo(reached.values)
			if !ok {
				t.Fatal(upstreamAddress, "no way to dial")
			}
			for _, host := range []string{dial.Address, dial.Host} { // at the first try, and at another one
				req := httptest.NewRequestWithContext(dialing.To(t.Context(), dial), http.MethodGet, "/api/v1/jobs", http.NoBody)
				if req.URL.Host = host; proxyProtocol != "" {
					req.URL.Host = "10.0.0.1%3A1-%3E" + host
				}
				if dial.Port == "80" {
					req.URL.Scheme = "http"
				}
				if got := tr.place(req); got != want {
					t.Errorf("a login goes to %+v, not to %+v", got, want)
				}
				if got := tr.outgoing(req, new(requestState), ""); got.Host != want.Host {
					t.Errorf("a request names %s, not %s", got.Host, want.Host)
				}
			}
		}
	}
}

// onSocket serves an emulated server on a unix socket, and counts what comes.
func onSocket(t *testing.T, path string) *atomic.Int64 {
	t.Helper()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server, count := veeamtest.New(veeamtest.VBR13), new(atomic.Int64)
	served := &httptest.Server{Listener: listener, Config: &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count.Add(1)
		server.ServeHTTP(w, r)
	})}}
	served.Start()
	t.Cleanup(served.Close)
	return count
}

func TestReach_TellsUnixSocketsApart(t *testing.T) {
	t.Parallel()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	tr := &Transport{
		InsecureHTTP: true, HTTPTransport: new(reverseproxy.HTTPTransport), storage: inMemory(new(memorystore.Storage)), process: newProcess(),
		Accounts: []*account.Account{{Name: veeamtest.DefaultUser, Password: veeamtest.DefaultPassword}},
	}
	if err := tr.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = tr.Cleanup()
		tr.server.State.Settle()
	}()
	dir := t.TempDir()
	var counts []int64
	for _, name := range []string{"a", "b"} {
		path := filepath.Join(dir, name)
		server := onSocket(t, path)
		reached, err := tr.Reach("unix/"+path, veeamtest.DefaultUser)
		if err != nil {
			t.Fatal(err)
		}
		dial, _ := reverseproxy.GetDialInfo(reached.values)
		req := proxied(t.Context(), &requestState{route: veeam.RouteProtected})
		req = req.WithContext(dialing.To(req.Context(), dial))
		req.URL.Scheme, req.URL.Host = "", path
		if err := roundTrip(tr, req); err != nil {
			t.Fatal(err)
		}
		credentials, err := reached.Credentials()
		if err != nil {
			t.Fatal(err)
		}
		within, done := reached.Within(t.Context(), time.Minute)
		token, err := reached.Client.Login(within, credentials)
		done()
		if err != nil {
			t.Fatal(err)
		}
		reached.Logout(token)
		counts = append(counts, server.Load())
	}
	if counts[0] != counts[1] {
		t.Errorf("the first server has seen %d requests, the second %d", counts[0], counts[1])
	}
}

func TestReach_TriesTheKeyOfTheCache(t *testing.T) {
	t.Parallel()
	keyset, err := sealed.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	text, err := keyset.Text()
	if err != nil {
		t.Fatal(err)
	}
	for content, says := range map[string]string{text: "", "": "no such file", "c4n4ry": "not a keyset"} {
		file := filepath.Join(t.TempDir(), "key")
		if content != "" {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		tr := provisionWay(t, &Transport{
			InsecureHTTP: true, Accounts: []*account.Account{{Name: "svc", Password: "{env.P}"}}, HTTPTransport: new(reverseproxy.HTTPTransport),
			Cache: &records.Cache{EncryptionKey: "{file." + file + "}", StorageRaw: fileStorage(t.TempDir())},
		})
		reached, err := tr.Reach("vbr01.lab.local:9419", "svc")
		if err != nil {
			t.Fatal(err)
		}
		tried, err := reached.TryCache(t.Context())
		if !tried || (err != nil) != (says != "") || err != nil && (!strings.Contains(err.Error(), "encryption_key: ") || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "c4n4ry")) {
			t.Errorf("%q: %v, %v", content, tried, err)
		}
	}
}

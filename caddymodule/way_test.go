// The one way to a server: no proxy that nobody has asked for, and one name.

package caddymodule

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func provisionWay(t *testing.T, tr *Transport) *Transport {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	tr.storage = inMemory(new(memorystore.Storage))
	if tr.HTTPTransport == nil {
		tr.HTTPTransport = new(reverseproxy.HTTPTransport)
	}
	tr.TLS = new(reverseproxy.TLSConfig)
	if err := tr.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Cleanup() })
	return tr
}

func TestTheProxyOfTheEnvironmentIsUsedWhenAskedFor(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://user:canaryQ7@proxy.test:3128")
	svc := &account.Account{Name: "svc", Password: "{env.P}"}
	for name, tc := range map[string]struct {
		transport *Transport
		proxied   bool
		said      string
	}{
		"by default":    {&Transport{}, false, "are ignored"},
		"asked for":     {&Transport{ProxyFromEnvironment: true}, true, "through the proxy of the environment"},
		"configured":    {&Transport{HTTPTransport: &reverseproxy.HTTPTransport{NetworkProxyRaw: []byte(`{"from":"url","url":"http://proxy.test"}`)}}, true, "the configured proxy"},
		"not, by Caddy": {&Transport{HTTPTransport: &reverseproxy.HTTPTransport{NetworkProxyRaw: []byte(`{"from":"none"}`)}}, false, "are ignored"},
	} {
		tc.transport.Accounts = []*account.Account{svc}
		tr := provisionWay(t, tc.transport)
		if got := tr.HTTPTransport.Transport.Proxy != nil; got != tc.proxied {
			t.Errorf("%s: proxied %v", name, got)
		}
		if said := upstream.Proxy(tr.hasProxy, tr.ProxyFromEnvironment); !strings.Contains(said, tc.said) || strings.Contains(said, "canary") {
			t.Errorf("%s: %s", name, said)
		}
	}
}

func TestNoProxyReadsCredentialsInClearText(t *testing.T) {
	t.Parallel()
	url := []byte(`{"from":"url","url":"http://proxy.test"}`)
	for name, tc := range map[string]struct {
		transport *Transport
		want      string
	}{
		"of the environment": {&Transport{InsecureHTTP: true, ProxyFromEnvironment: true, HTTPTransport: new(reverseproxy.HTTPTransport)}, "is not allowed with insecure_http"},
		"configured":         {&Transport{InsecureHTTP: true, HTTPTransport: &reverseproxy.HTTPTransport{NetworkProxyRaw: url}}, "is not allowed with insecure_http"},
		"deprecated":         {&Transport{InsecureHTTP: true, HTTPTransport: &reverseproxy.HTTPTransport{ForwardProxyURL: "http://proxy.test"}}, "is not allowed with insecure_http"},
		"ports without TLS":  {&Transport{HTTPTransport: &reverseproxy.HTTPTransport{TLS: &reverseproxy.TLSConfig{ExceptPorts: []string{"9419"}}}}, "tls_except_ports"},
		"both":               {&Transport{ProxyFromEnvironment: true, HTTPTransport: &reverseproxy.HTTPTransport{TLS: new(reverseproxy.TLSConfig), NetworkProxyRaw: url}}, "either"},
		"not a host name":    {&Transport{UpstreamHost: "https://x", HTTPTransport: &reverseproxy.HTTPTransport{TLS: new(reverseproxy.TLSConfig)}}, "upstream_host is not a host name"},
	} {
		tc.transport.Accounts = []*account.Account{{Name: "svc", Password: "{env.P}"}}
		if err := tc.transport.check(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoginsAndRequestsNameTheSameHost(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ configured, want string }{
		"the upstream's": {"", "vbr01.lab.local:9419"},
		"configured":     {"console.lab.local", "console.lab.local"},
	} {
		inWorld(t, veeamtest.VBR13, nil, func(w *world) {
			tr := w.transport(&Transport{UpstreamHost: tc.configured, Accounts: []*account.Account{unwatched()}})
			w.tr = tr
			var seen []string
			w.wire.intercept(func(req *http.Request) (*http.Response, error) {
				seen = append(seen, req.Host)
				return nil, nil
			})
			state := &requestState{route: veeam.RouteProtected}
			req := proxied(w.Context(), state)
			req.Host = "name-of-the-client.lab.local"
			req.URL.Path, req.URL.RawQuery = w.server.Base()+"/echo", ""
			state.decideFor(req)
			state.journal = journal.New(w.svc, req)
			res, err := tr.RoundTrip(req)
			if err != nil || res.StatusCode != http.StatusOK {
				t.Fatal(res, err)
			}
			_ = res.Body.Close()
			for _, host := range seen {
				if host != tc.want {
					t.Errorf("%s: %q", name, seen)
				}
			}
			if len(seen) < 2 {
				t.Errorf("%q", seen)
			}
		})
	}
}

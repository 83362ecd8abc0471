// Faults below HTTP, over real sockets: who cannot be dialled, who is not
// trusted, who hangs up.

package caddymodule

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/caddymodule/dialing"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/harness/certs"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// socketTransport trusts the emulator's authority and nobody else.
func socketTransport(t *testing.T, change func(*reverseproxy.TLSConfig)) *Transport {
	t.Helper()
	return socketTransportOf(t, defaultProduct, change)
}

func socketTransportOf(t *testing.T, product string, change func(*reverseproxy.TLSConfig)) *Transport {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	config := &reverseproxy.TLSConfig{CARaw: caddyconfig.JSONModuleObject(caddytls.InlineCAPool{
		TrustedCACerts: []string{base64.StdEncoding.EncodeToString(veeamtest.CA().Raw)},
	}, "provider", "inline", nil)}
	if change != nil {
		change(config)
	}
	tr := &Transport{
		Product:       product,
		Accounts:      []*account.Account{{Name: veeamtest.DefaultUser, Password: "{env.VEEAM_AUTH_TEST_PASSWORD}"}},
		HTTPTransport: &reverseproxy.HTTPTransport{TLS: config},
		storage:       inMemory(new(memorystore.Storage)),
		process:       newProcess(),
	}
	if err := tr.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	tr.server.Log = zap.NewNop()
	t.Cleanup(func() {
		_ = tr.Cleanup()
		tr.server.State.Settle()
	})
	return tr
}

// askAt sends a request to an upstream at an address.
func askAt(t *testing.T, tr *Transport, address string) (status int, reason veeam.Reason, message string, err error) {
	t.Helper()
	return askIn(t.Context(), tr, address)
}

// echoOf is a path of each product that needs a session.
var echoOf = map[string]string{defaultProduct: "/api/v1/echo", "em": "/api/echo"}

func askIn(ctx context.Context, tr *Transport, address string) (status int, reason veeam.Reason, message string, err error) {
	host, port, _ := net.SplitHostPort(address)
	state := &requestState{route: veeam.RouteProtected}
	req := httptest.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+echoOf[tr.Product], http.NoBody)
	req.RequestURI = ""
	req.Header.Set("X-Api-Version", "1.2-rev0")
	req = caddyhttp.PrepareRequest(req, caddy.NewReplacer(), nil, &caddyhttp.Server{})
	req = req.WithContext(dialing.To(req.Context(), reverseproxy.DialInfo{Network: "tcp", Address: address, Host: host, Port: port}))
	caddyhttp.SetVar(req.Context(), stateVar, state)
	state.decideFor(req)
	res, err := tr.RoundTrip(req)
	if err != nil {
		return 0, "", "", err
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	if state.found.refused != nil {
		reason = state.found.refused.Reason
	}
	return res.StatusCode, reason, string(text), nil
}

func TestAServerThatCannotBeDialledIsLeftToTheProxy(t *testing.T) {
	t.Parallel()
	tr := socketTransport(t, nil)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, address := range map[string]string{"refused": closed.Addr().String(), "no such name": "vbr01.invalid:9419"} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second finds the pause of the first
				_, _, _, err := askAt(t, tr, address)
				if _, ok := errors.AsType[reverseproxy.DialError](err); !ok {
					t.Errorf("got %v, want an error that lets reverse_proxy try its next upstream", err)
				}
			}
		})
	}
}

func TestAServerThatIsNotTrustedGetsNoCredential(t *testing.T) {
	t.Parallel()
	ca := veeamtest.CA()
	later, here := time.Now().Add(time.Hour), []net.IP{net.IPv4(127, 0, 0, 1)}
	for name, template := range map[string]*x509.Certificate{
		"self-signed":       {NotAfter: later, IPAddresses: here},
		"expired":           {NotAfter: time.Now().Add(-time.Hour), IPAddresses: here},
		"of another server": {NotAfter: later, DNSNames: []string{"other.lab.local"}},
		"of a stranger with the authority's name": {NotAfter: later, Subject: ca.Subject, IPAddresses: here},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			var heard int
			server := tlsServer(t, template, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { heard++ }))
			status, reason, message, err := askAt(t, socketTransport(t, nil), server)
			if err != nil || status != http.StatusBadGateway || reason != veeam.ReasonTLS || !strings.Contains(message, "certificate") {
				t.Errorf("got %d %s %s, %v", status, reason, message, err)
			}
			if heard != 0 {
				t.Errorf("the server heard %d requests", heard)
			}
		})
	}
}

// tlsServer serves with a certificate that nobody has signed but itself.
func tlsServer(t *testing.T, template *x509.Certificate, handler http.Handler) (address string) {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{*certs.Issue(nil, template)}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestAServerWithoutTLSGetsNoCredential(t *testing.T) {
	t.Parallel()
	heard := make(chan string, 10)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard <- r.URL.Path }))
	t.Cleanup(s.Close)
	status, reason, _, err := askAt(t, socketTransport(t, nil), s.Listener.Addr().String())
	if err != nil || status != http.StatusBadGateway || reason != veeam.ReasonTLS || len(heard) > 0 {
		t.Errorf("got %d %s, %v; the server heard %d requests", status, reason, err, len(heard))
	}
}

func TestFaultsOfTheConnectionOverSockets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault veeamtest.Fault
		want  veeam.Reason
	}{
		{veeamtest.Fault{Kind: veeamtest.FaultReset}, veeam.ReasonUnreachable},
		{veeamtest.Fault{Kind: veeamtest.FaultResetAfterHeaders}, veeam.ReasonUnreachable},
		{veeamtest.Fault{Kind: veeamtest.FaultHalfClose}, veeam.ReasonUnreachable},
		{veeamtest.Fault{Kind: veeamtest.FaultReset, After: true}, veeam.ReasonUnreachable},
		{veeamtest.Fault{Kind: veeamtest.FaultHuge}, veeam.ReasonUnexpectedAnswer},
		{veeamtest.Fault{Kind: veeamtest.FaultRedirect}, veeam.ReasonUnexpectedAnswer},
	} {
		f, want := tt.fault, tt.want
		for _, profile := range []veeamtest.Profile{veeamtest.VBR13, veeamtest.EM13} {
			t.Run(fmt.Sprint(profile, "_", strings.ReplaceAll(string(f.Kind), " ", "_"), f.After), func(t *testing.T) {
				t.Parallel()
				server := veeamtest.New(profile)
				if err := server.Start(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(server.Close)
				tr := socketTransportOf(t, profile.Product(), nil)
				address := strings.TrimPrefix(server.URL(), "https://")
				server.SetFault(f)
				status, reason, message, err := askAt(t, tr, address)
				if err != nil || status != http.StatusBadGateway || reason != want {
					t.Errorf("got %d %s %s, %v", status, reason, message, err)
				}
				if n := server.Counters().TokenRequests; n != 1 {
					t.Errorf("%d token requests", n)
				}
				server.ClearFault()
				time.Sleep(700 * time.Millisecond) // the first pause, at its longest
				if status, reason, _, err := askAt(t, tr, address); err != nil || status != http.StatusOK {
					t.Errorf("then %d %s, %v", status, reason, err)
				}
			})
		}
	}
}

// A server may answer early hints, or "100 Continue", before the answer proper.
func TestInterimAnswersAreNoAnswers(t *testing.T) {
	t.Parallel()
	server := veeamtest.New(veeamtest.VBR13)
	key := server.Transport()
	var tokens int
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusProcessing)
		if r.Method == http.MethodPost {
			tokens++
		}
		r.URL.Scheme, r.URL.Host, r.RequestURI = memoryScheme, r.Host, ""
		res, err := key.RoundTrip(r)
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	}))
	s.StartTLS()
	t.Cleanup(s.Close)
	tr := socketTransport(t, func(c *reverseproxy.TLSConfig) { c.CARaw, c.InsecureSkipVerify = nil, true })
	if status, reason, message, err := askAt(t, tr, s.Listener.Addr().String()); err != nil || status != http.StatusOK || tokens != 1 {
		t.Errorf("got %d %s %s, %v after %d token requests", status, reason, message, err, tokens)
	}
}

// An HTTP/2 server that says GOAWAY is asked again over another connection.
func TestAnHTTP2ServerMayGoAway(t *testing.T) {
	t.Parallel()
	server := veeamtest.New(veeamtest.VBR13)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	tr := socketTransport(t, nil)
	address := strings.TrimPrefix(server.URL(), "https://")
	for range 3 {
		if status, reason, message, err := askAt(t, tr, address); err != nil || status != http.StatusOK {
			t.Fatalf("got %d %s %s, %v", status, reason, message, err)
		}
		server.Close() // every connection ends with GOAWAY or a reset
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		tr.HTTPTransport.Transport.CloseIdleConnections()
	}
	if n := server.Counters().TokenRequests; n != 1 {
		t.Errorf("%d token requests", n)
	}
}

package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/events"
	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// The certificate is known whether the server was trusted or not: of an expired one an
// operator has to see when it expired.
func TestTheCertificateOfTheServerIsKnown(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer server.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(server.Certificate())
	pin, err := tlspin.Parse("sha1=0000000000000000000000000000000000000000")
	if err != nil {
		t.Fatal(err)
	}
	at := &Server{ServerOptions: ServerOptions{Product: new(veeam.Product), State: NewState()}}
	for name, config := range map[string]*tls.Config{
		"trusted":     {RootCAs: trusted},
		"not trusted": {RootCAs: x509.NewCertPool()},
		"not pinned":  {InsecureSkipVerify: true, VerifyConnection: tlspin.Verify([]tlspin.Fingerprint{pin})},
	} {
		t.Run(name, func(t *testing.T) {
			transport := &http.Transport{TLSClientConfig: config}
			defer transport.CloseIdleConnections()
			get := func() (*http.Response, error) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				return transport.RoundTrip(req)
			}
			has := func(what string, h *health) {
				t.Helper()
				if found := h.certificate.Load(); found == nil || !found.Equal(server.Certificate()) {
					t.Errorf("%s: the certificate is not known", what)
				}
			}
			login, request := new(health), new(health)
			res, err := observing{transport, login}.RoundTrip(must(http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)))
			if err == nil {
				_ = res.Body.Close()
			}
			has("login", login)
			if res, err = get(); err == nil {
				_ = res.Body.Close()
				(&Source{server: at, health: request}).Reached(res.TLS, time.Now())
			} else {
				(&Source{server: at, health: request}).Missed(t.Context(), err, time.Now())
			}
			if (err == nil) != (name == "trusted") {
				t.Errorf("the connection ended with %v", err)
			}
			has("request", request)
			request.missed(context.Background(), errors.New("no route to host"), time.Now())
			has("after a failure", request)
		})
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestACertificateNearItsEndIsToldAtEachStageOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewState()
		var told []int
		q := events.NewQueue(func(e events.Event) { t.Errorf("dropped %v", e) })
		q.Open(func(e events.Event) { told = append(told, e.Data()["expires_in_seconds"].(int)/3600) })
		s.Events.Use(q)
		const day = 24 * time.Hour
		leaf := &x509.Certificate{Raw: []byte("first"), NotAfter: time.Now().Add(30 * day)}
		for time.Now().Before(leaf.NotAfter.Add(2 * day)) {
			s.expires("vbr", "https://vbr01:9419", leaf, time.Now())
			s.expires("vbr", "https://vbr01:9419", leaf, time.Now())
			time.Sleep(time.Hour)
		}
		synctest.Wait()
		if want := []int{21 * 24, 7 * 24, 24, 0}; !slices.Equal(told, want) {
			t.Errorf("told with %v hours left, want %v", told, want)
		}
		told = nil
		renewed := &x509.Certificate{Raw: []byte("second"), NotAfter: time.Now().Add(90 * day)}
		s.expires("vbr", "https://vbr01:9419", renewed, time.Now())
		s.expires("vbr", "https://vbr02:9419", leaf, time.Now()) // another server with the old one
		synctest.Wait()
		if !slices.Equal(told, []int{-48}) {
			t.Errorf("told with %v hours left", told)
		}
	})
}

func TestACertificateThatNoPinHasIsToldOnceUntilTheServerIsTrusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewState()
		told := 0
		q := events.NewQueue(func(e events.Event) { t.Errorf("dropped %v", e) })
		q.Open(func(events.Event) { told++ })
		s.Events.Use(q)
		seen := func(raw string) error {
			return tlspin.Verify(nil)(tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte(raw)}}})
		}
		for _, step := range []struct {
			err  error
			told int
		}{
			{errors.New("no route to host"), 0},
			{seen("first"), 1},
			{errors.New("no route to host"), 1},
			{seen("first"), 1},
			{seen("second"), 2},
			{seen("second"), 2},
			{nil, 2},
			{seen("second"), 3},
		} {
			s.dialed("vbr", "https://vbr01:9419", step.err)
			if synctest.Wait(); told != step.told {
				t.Errorf("after %v told %d times, want %d", step.err, told, step.told)
			}
		}
	})
}

// A session lives for months where its server renews it, and its certificate ends meanwhile.
func TestTheEndOfACertificateIsSeenWhileRequestsUseOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewState()
		var told []int
		q := events.NewQueue(func(e events.Event) { t.Errorf("dropped %v", e) })
		q.Open(func(e events.Event) { told = append(told, e.Data()["expires_in_seconds"].(int)/3600) })
		s.Events.Use(q)
		source := &Source{server: &Server{ServerOptions: ServerOptions{Product: new(veeam.Product), State: s}}, health: new(health)}
		const day = 24 * time.Hour
		conn := func(raw string, left time.Duration) *tls.ConnectionState {
			return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte(raw), NotAfter: time.Now().Add(left)}}}
		}
		open, looked := conn("first", 22*day), 0
		for range 22 * 24 * 12 { // every five minutes
			source.Reached(open, time.Now())
			if source.health.checked.Load() == time.Now().Unix() {
				looked++
			}
			time.Sleep(5 * time.Minute)
		}
		source.Reached(nil, time.Now()) // a server without TLS
		synctest.Wait()
		if want := []int{21*24 - 1, 7*24 - 1, 24 - 1}; !slices.Equal(told, want) {
			t.Errorf("told with %v hours left, want %v", told, want)
		}
		if looked > 22*24+1 {
			t.Errorf("looked %d times", looked)
		}
		told = nil
		source.Reached(conn("second", 2*day), time.Now()) // a new connection is looked at immediately
		source.Missed(t.Context(), x509.CertificateInvalidError{Reason: x509.Expired}, time.Now())
		ended := conn("third", -day)
		source.Missed(t.Context(), &tls.CertificateVerificationError{UnverifiedCertificates: ended.PeerCertificates, Err: x509.CertificateInvalidError{Reason: x509.Expired}}, time.Now())
		unknown := conn("fourth", day)
		source.Missed(t.Context(), &tls.CertificateVerificationError{UnverifiedCertificates: unknown.PeerCertificates, Err: x509.UnknownAuthorityError{}}, time.Now())
		if synctest.Wait(); !slices.Equal(told, []int{48, -24}) {
			t.Errorf("told with %v hours left", told)
		}
	})
}

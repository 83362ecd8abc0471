// Where keys come from: a server with a certificate of its own, whose keys change.

package jwtcaller

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// keyServer serves a key set over TLS.
type keyServer struct {
	*httptest.Server
	answer   atomic.Pointer[http.HandlerFunc]
	requests atomic.Int32
	bearer   atomic.Value
}

func serve(t *testing.T, text []byte) *keyServer {
	t.Helper()
	s := new(keyServer)
	s.keys(text)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.requests.Add(1); r.Proto != "HTTP/1.1" {
			t.Errorf("it is asked over %s", r.Proto)
		}
		s.bearer.Store(r.Header.Get("Authorization"))
		(*s.answer.Load())(w, r)
	}))
	s.Config.ErrorLog, s.EnableHTTP2 = nil, true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *keyServer) handle(answer http.HandlerFunc) { s.answer.Store(&answer) }

func (s *keyServer) keys(text []byte) {
	s.handle(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) })
}

// config trusts the provider by the server.
func (s *keyServer) config(t *testing.T) *Config {
	t.Helper()
	c := config("")
	c.JWKSURL = s.URL
	c.JWKSCA = written(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	return c
}

func TestKeysAreReadOverTLSAndFollowARotation(t *testing.T) {
	t.Parallel()
	p := testKeys()
	server := serve(t, document(t, jwk(t, "one", p.rsa, nil)))
	c := server.config(t)
	c.JWKSTokenFile = written(t, []byte("the token of the pod\n"))
	trust := trusting(t, nil, c)
	s := trust.providers[0].source
	s.interval = time.Hour
	old := sign(t, "RS256", p.rsa, map[string]any{"kid": "one"}, good(nil))
	next := sign(t, "ES256", p.p256, map[string]any{"kid": "two"}, good(nil))
	counts := func(token string) bool {
		_, trusted, err := trust.Caller(t.Context(), token)
		return trusted && err == nil
	}
	if !counts(old) || counts(next) || server.requests.Load() != 1 {
		t.Fatalf("%d requests", server.requests.Load())
	}
	if got := server.bearer.Load(); got != "Bearer the token of the pod" {
		t.Errorf("sent as %q", got)
	}
	// The provider has a key more: a token that names it has the keys read again.
	server.keys(document(t, jwk(t, "one", p.rsa, nil), jwk(t, "two", p.p256, nil)))
	s.tried.Store(0)
	if !counts(next) || !counts(old) {
		t.Error("a new key does not count")
	}
	// And one less: also what is remembered ends.
	server.keys(document(t, jwk(t, "two", p.p256, nil)))
	s.tried.Store(0)
	if err := s.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if counts(old) || !counts(next) {
		t.Error("a key that is gone counts")
	}
	// One name, another key.
	server.keys(document(t, jwk(t, "two", p.p384, nil)))
	s.tried.Store(0)
	if err := s.refresh(t.Context()); err != nil || counts(next) {
		t.Error("a key that was replaced counts", err)
	}
}

func TestKeysAreReadFromATrustedServerOnly(t *testing.T) {
	t.Parallel()
	text := document(t, jwk(t, "rsa", testKeys().rsa, nil))
	server := serve(t, text)
	other := serve(t, text)
	for name, tt := range map[string]struct {
		change func(*Config)
		answer http.HandlerFunc
		want   veeam.Reason
	}{
		"trusted":                {nil, nil, veeam.ReasonOK},
		"another authority":      {func(c *Config) { c.JWKSCA = "" }, nil, veeam.ReasonTLS},
		"no authority":           {func(c *Config) { c.JWKSCA = written(t, []byte("x")) }, nil, veeam.ReasonSecretUnreadable},
		"no file of authorities": {func(c *Config) { c.JWKSCA = "/nonexistent" }, nil, veeam.ReasonSecretUnreadable},
		"no file of a token":     {func(c *Config) { c.JWKSTokenFile = "/nonexistent" }, nil, veeam.ReasonSecretUnreadable},
		"no server":              {func(c *Config) { c.JWKSURL = "https://127.0.0.1:1/" }, nil, veeam.ReasonUnreachable},
		"a redirect":             {nil, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) }, veeam.ReasonUnexpectedAnswer},
		"a page":                 {nil, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, veeam.ReasonUnexpectedAnswer},
		"too much": {nil, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(append(text, strings.Repeat(" ", maxDocument)...))
		}, veeam.ReasonUnexpectedAnswer},
		"401":           {nil, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, veeam.ReasonUnexpectedAnswer},
		"404 with keys": {nil, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound); _, _ = w.Write(text) }, veeam.ReasonUnexpectedAnswer},
		"429":           {nil, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, veeam.ReasonThrottled},
		"500":           {nil, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, veeam.ReasonServerFault},
		"a broken answer": {nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write(text[:10])
		}, veeam.ReasonUnreachable},
		"no HTTP": {func(c *Config) { c.JWKSTokenFile = written(t, []byte("the_token_of_the_pod")) }, func(w http.ResponseWriter, r *http.Request) {
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\n%s\r\n\r\n", r.Header.Get("Authorization"))
				conn.Close()
			}
		}, veeam.ReasonUnreachable},
	} {
		if server.keys(text); tt.answer != nil {
			server.handle(tt.answer)
		}
		c := server.config(t)
		if tt.change != nil {
			tt.change(c)
		}
		var told []Report
		trust := trusting(t, func(r Report) { told = append(told, r) }, c)
		s := trust.providers[0].source
		err := s.refresh(t.Context())
		if len(told) != 1 || told[0].Reason != tt.want || veeam.ReasonOf(err) != tt.want || (s.current(time.Now()) != nil) != (tt.want == veeam.ReasonOK) {
			t.Errorf("%s: %v, told %+v, want %s", name, err, told, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "the_token_of") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if other.requests.Load() > 0 {
		t.Error("a redirect was followed")
	}
}

// An error of a file names the option and the file.
func TestAnErrorOfAFileNamesTheOptionAndTheFile(t *testing.T) {
	t.Parallel()
	server := serve(t, nil)
	dir := t.TempDir()
	for _, file := range []string{filepath.Join(dir, "missing"), dir, written(t, []byte("c4n4ry"))} {
		for option, change := range map[string]func(*Config){
			"jwks_file":       func(c *Config) { c.JWKSFile, c.JWKSURL, c.JWKSCA = file, "", "" },
			"jwks_ca":         func(c *Config) { c.JWKSCA = file },
			"jwks_token_file": func(c *Config) { c.JWKSTokenFile = file },
		} {
			c := server.config(t)
			change(c)
			err := trusting(t, func(Report) {}, c).providers[0].source.refresh(t.Context())
			if server.requests.Swap(0) > 0 {
				continue // any text is a token
			}
			if err == nil || !strings.Contains(err.Error(), option+" "+file+": ") || strings.Contains(err.Error(), "c4n4ry") {
				t.Errorf("%s %s: %v", option, file, err)
			}
		}
	}
}

// slow is a source whose keys come when the test says so.
type slow struct {
	*source
	calls atomic.Int32

	mu   sync.Mutex
	next func() ([]byte, error)
	told []Report
}

// answer has the next reads answered by a function.
func (s *slow) answer(next func() ([]byte, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = next
}

func newSlow(t *testing.T, at place) *slow {
	t.Helper()
	s := new(slow)
	s.source = newSource(at, func(r Report) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.told = append(s.told, r)
	})
	s.fetch = func(context.Context) ([]byte, error) {
		s.calls.Add(1)
		s.mu.Lock()
		next := s.next
		s.mu.Unlock()
		return next()
	}
	t.Cleanup(s.stop)
	return s
}

var errDown = &readError{veeam.ReasonUnreachable, errors.New("down")}

func TestKeysAreReadBeforeTheyAreTooOldAndCountUntilThen(t *testing.T) {
	text := document(t, jwk(t, "rsa", testKeys().rsa, nil))
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, place{provider: "k8s", url: "https://x", every: 15 * time.Minute, maxAge: time.Hour})
		s.answer(func() ([]byte, error) { return text, nil })
		began := time.Now()
		s.begin()
		s.begin()
		known := func() bool {
			_, _, err := s.key(t.Context(), "rsa", "RS256")
			if err != nil && veeam.ReasonOf(err) != veeam.ReasonJWKS {
				t.Error(err)
			}
			return err == nil
		}
		time.Sleep(46 * time.Minute)
		if s.calls.Load() != 4 || !known() {
			t.Errorf("%d reads in 46 minutes", s.calls.Load())
		}
		set := s.set.Load()
		s.answer(func() ([]byte, error) { return nil, errDown })
		time.Sleep(58 * time.Minute) // the last success was after 45 minutes
		if !known() || s.set.Load() != set {
			t.Error("the last keys do not count any more")
		}
		time.Sleep(time.Minute + time.Second)
		if known() {
			t.Errorf("keys count %v after they were read last", time.Since(began)-45*time.Minute)
		}
		if calls := s.calls.Load(); calls < 200 || calls > 300 {
			t.Errorf("%d reads: a failure is followed by another try every 10 seconds", calls)
		}
		s.answer(func() ([]byte, error) { return text, nil })
		time.Sleep(10 * time.Second)
		if !known() || s.set.Load() != set {
			t.Error("the same keys do not count again")
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		var changes []veeam.Reason
		for _, r := range s.told {
			if r.Changed {
				changes = append(changes, r.Reason)
			}
		}
		if !slices.Equal(changes, []veeam.Reason{veeam.ReasonUnreachable, veeam.ReasonOK}) {
			t.Errorf("told of %v", changes)
		}
		if until := s.told[10].Until; !until.Equal(began.Add(45*time.Minute + time.Hour)) {
			t.Errorf("until %v", until)
		}
	})
}

// However many tokens name keys that do not exist, the provider is asked at most every 10
// seconds, once at a time, and nobody with a known key waits.
func TestUnknownKeysCauseNoStormAndNoWait(t *testing.T) {
	text := document(t, jwk(t, "rsa", testKeys().rsa, nil))
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, place{provider: "k8s", url: "https://x", every: time.Hour, maxAge: 2 * time.Hour})
		release := make(chan struct{})
		s.answer(func() ([]byte, error) { return text, nil })
		s.begin()
		synctest.Wait()
		s.answer(func() ([]byte, error) { <-release; return text, nil })
		var callers sync.WaitGroup
		ask := func(n int) {
			for range n {
				callers.Go(func() {
					if _, _, err := s.key(t.Context(), "nobody's", "RS256"); !errors.Is(err, errKeyUnknown) {
						t.Error(err)
					}
				})
			}
		}
		ask(1000)
		callers.Wait() // it was tried a moment ago
		if s.calls.Load() != 1 {
			t.Errorf("%d reads", s.calls.Load())
		}
		time.Sleep(11 * time.Second)
		ask(1000)
		synctest.Wait()
		before := time.Now()
		for range 1000 {
			if _, _, err := s.key(t.Context(), "rsa", "RS256"); err != nil {
				t.Fatal(err)
			}
		}
		if s.calls.Load() != 2 || time.Since(before) > 0 {
			t.Errorf("%d reads, and a known key took %v", s.calls.Load(), time.Since(before))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := s.key(ctx, "nobody's", "RS256"); !errors.Is(err, errKeyUnknown) || time.Since(before) != time.Second {
			t.Errorf("%v after %v", err, time.Since(before))
		}
		close(release)
		callers.Wait()
		if s.calls.Load() != 2 {
			t.Errorf("%d reads", s.calls.Load())
		}
	})
}

func TestAProviderThatIsAwayAtTheStartRefusesItsCallersOnly(t *testing.T) {
	text := document(t, jwk(t, "rsa", testKeys().rsa, nil))
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, place{provider: "k8s", url: "https://x", every: time.Hour, maxAge: 2 * time.Hour})
		s.answer(func() ([]byte, error) { return nil, errDown })
		s.begin()
		synctest.Wait()
		began := time.Now()
		_, _, err := s.key(t.Context(), "rsa", "RS256")
		refused, ok := errors.AsType[*Error](err)
		if !ok || refused.Reason() != veeam.ReasonJWKS || refused.RetryAfter <= 0 || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		s.answer(func() ([]byte, error) { return text, nil })
		time.Sleep(11 * time.Second)
		if _, _, err := s.key(t.Context(), "rsa", "RS256"); err != nil {
			t.Error(err)
		}
		if left := s.place.maxAge - time.Since(time.Unix(0, s.good.Load())); left <= 0 {
			t.Error(left)
		}
	})
}

func TestAFileOfKeysIsReadAgainWhenItChanges(t *testing.T) {
	p := testKeys()
	name := written(t, document(t, jwk(t, "one", p.p256, nil)))
	synctest.Test(t, func(t *testing.T) {
		trust := trusting(t, nil, config(name))
		trust.Start()
		one := sign(t, "ES256", p.p256, map[string]any{"kid": "one"}, good(nil))
		two := sign(t, "ES384", p.p384, map[string]any{"kid": "two"}, good(nil))
		counts := func(token string) bool {
			_, trusted, err := trust.Caller(t.Context(), token)
			return trusted && err == nil
		}
		if !counts(one) || counts(two) {
			t.Error("the keys of the file do not count")
		}
		if err := os.WriteFile(name, document(t, jwk(t, "two", p.p384, nil)), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(filePeriod + time.Second)
		if counts(one) || !counts(two) {
			t.Error("the file was not read again")
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		two = sign(t, "ES384", p.p384, map[string]any{"kid": "two"}, good(nil))
		if !counts(two) {
			t.Error("the last keys do not count while the file is away")
		}
		time.Sleep(24 * time.Hour)
		if two = sign(t, "ES384", p.p384, map[string]any{"kid": "two"}, good(nil)); counts(two) {
			t.Error("keys count for ever")
		}
	})
}

// A reload reads no keys again; what no configuration has any more ends.
func TestKeysOutliveAReload(t *testing.T) {
	name := written(t, all(t))
	token := sign(t, "EdDSA", testKeys().ed, map[string]any{"kid": "ed"}, good(nil))
	first, err := New([]*Config{config(name)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	leave := first.Enter(func(Report) {})
	first.Start()
	if _, _, err := first.Caller(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	second, err := New([]*Config{config(name)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	leaveSecond := second.Enter(func(Report) {})
	leave()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, _, err := second.Caller(t.Context(), token); err != nil {
		t.Error(err)
	}
	if left := Left(time.Now())["idp"]; left <= 23*time.Hour || left > 24*time.Hour {
		t.Errorf("%v are left", left)
	}
	leaveSecond()
	if len(sources.All()) > 0 && slices.Contains(keysOf(), name) {
		t.Error("a source is left")
	}
}

func keysOf() (files []string) {
	for at := range sources.All() {
		files = append(files, at.file)
	}
	return files
}

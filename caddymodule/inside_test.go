// What only the inside of the package shows.

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/journal"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

func TestAColdStartWithManyAccountsDoesNotNoticeTheDefaultPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		product, _ := veeam.Lookup("vspc")
		server := &Server{ServerOptions: ServerOptions{Product: product, RateLimit: product.Pace, State: NewState(), Metrics: collectors}}
		s := &slot{server: server, place: Place{Origin: "https vspc01:1280"}}
		var wg sync.WaitGroup
		for i := range 300 {
			wg.Go(func() {
				p := s.pacer(fmt.Sprint("user-", i), journal.Journal{})
				for _, step := range []veeam.PaceStep{veeam.PaceFirst, veeam.PaceNext} {
					for p.Pace(t.Context(), step) != nil {
						time.Sleep(time.Second)
					}
				}
			})
		}
		began := time.Now()
		wg.Wait()
		if took := time.Since(began); took > time.Minute {
			t.Errorf("300 logins with codes took %v", took)
		}
	})
}

func TestAnAccountsSessionsAreToldApartInTheCache(t *testing.T) {
	sharing := &Server{ServerOptions: ServerOptions{Cache: &Shared{Shared: tokencache.NewShared(tokencache.SharedOptions{}), ID: "c"}}}
	base := sessionKey{origin: "o", product: "vspc", account: "a"}
	parent, user := base, base
	parent.parent, user.user = true, "u"
	seen := map[string]bool{}
	for _, k := range []sessionKey{base, parent, user} {
		options := sharing.cached(tokencache.Options{}, k, veeam.GrantAs, secret.New("d"))
		if seen[options.Identity.Purpose] || options.Shared == nil || options.HoldOnly != k.parent {
			t.Errorf("%+v: %+v", k, options.Identity)
		}
		seen[options.Identity.Purpose] = true
	}
	if sharing.cached(tokencache.Options{}, base, veeam.GrantAPIKey, secret.New("d")).Shared != nil {
		t.Error("an API key is shared")
	}
	if new(Server).cached(tokencache.Options{}, base, veeam.GrantPassword, secret.New("d")).Shared != nil {
		t.Error("shared without a cache")
	}
}

// BenchmarkLook is one look at the files of a thousand accounts, of which none has
// changed. There are two in a second.
func BenchmarkLook(b *testing.B) {
	dir := b.TempDir()
	server := &Server{sessions: newSessions(NewState(), tokencache.Options{}, "", 1)}
	w := newWatch(server)
	old := time.Now().Add(-time.Hour)
	for i := range 1000 {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
			b.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			b.Fatal(err)
		}
		w.add(&account.Account{Name: fmt.Sprint(i), Password: "{file." + path + "}"})
	}
	w.look()
	w.look()
	for b.Loop() {
		w.look()
	}
}

// bench is a source of one account at an emulated server, without Caddy. Its secrets are
// texts between braces, which hang as long as gate is not nil.
type bench struct {
	*testing.T
	server *veeamtest.Server
	source *slot
	cause  occasion

	mu      sync.Mutex
	secrets map[string]string
	gate    chan struct{}
}

func onBench(t *testing.T, test func(l *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &bench{T: t, server: veeamtest.New(veeamtest.VBR13), secrets: make(map[string]string), cause: occasion{values: context.Background()}}
		product, _ := veeam.Lookup("vbr")
		own := &account.Account{Name: veeamtest.DefaultUser, Password: "{env.PASSWORD}"}
		own.Prepare(account.Env{Product: "vbr", Expand: l.expand})
		l.set("env.PASSWORD", veeamtest.DefaultPassword)
		server := NewServer(ServerOptions{
			Product: product, Transport: l.server.Transport(), Accounts: []*account.Account{own},
			Tries: tokencache.NewShared(tokencache.SharedOptions{Keys: func() (tokencache.Sealer, error) { return nil, errors.New("there is no storage") }}), State: NewState(), Metrics: metrics.New(func() []metrics.Session { return nil }), Log: zap.NewNop(),
		})
		l.source = server.Source(Address{"tcp", "vbr01:9419"}, own, "", func() Place {
			return Place{Address: Address{"tcp", "vbr01:9419"}, Origin: "https tcp vbr01:9419", BaseURL: "https://vbr01:9419", Host: "vbr01:9419"}
		})
		test(l)
		server.Close()
		server.State.Settle()
		synctest.Wait()
	})
}

func (l *bench) set(key, value string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.secrets[key] = value
}

// hang has whoever reads a secret wait until answer is called.
func (l *bench) hang() (answer func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gate := make(chan struct{})
	l.gate = gate
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.gate = nil
		close(gate)
	}
}

func (l *bench) expand(text string, _ func(string) (any, bool)) (string, error) {
	l.mu.Lock()
	gate := l.gate
	l.mu.Unlock()
	if gate != nil {
		<-gate
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, value := range l.secrets {
		text = strings.ReplaceAll(text, "{"+key+"}", value)
	}
	return text, nil
}

func TestAReadingThatIsJoinedIsSeenOnce(t *testing.T) {
	onBench(t, func(l *bench) {
		if _, _, err := l.source.obtain(l.Context(), l.cause); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		l.set("env.PASSWORD", "half")
		answer := l.hang()
		var looks sync.WaitGroup
		for i := range 3 {
			looks.Go(func() {
				time.Sleep(time.Duration(i) * settleFor)
				if _, settled, err := l.source.look(l.Context(), 0, l.cause); settled || err != nil {
					t.Errorf("settled %v, %v", settled, err)
				}
			})
		}
		time.Sleep(5 * settleFor)
		answer()
		looks.Wait()
	})
}

func TestASecretThatIsReplacedWhileItsLoginWaitsIsNotSent(t *testing.T) {
	for name, swapped := range map[string]bool{"replaced": true, "as it was": false} {
		onBench(t, func(l *bench) {
			first, err := l.source.settled(l.Context(), 0, l.cause)
			if err != nil {
				t.Fatal(err)
			}
			first.credentials.Files = true // as if they came from files, which change
			if swapped {
				l.server.SetPassword(veeamtest.DefaultUser, "new")
				l.set("env.PASSWORD", "new")
			}
			_, err = l.source.get(l.Context(), first, l.cause)
			if errors.Is(err, ErrSecretChanged) != swapped || !swapped && err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if _, _, err := l.source.obtain(l.Context(), l.cause); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if c := l.server.Counters(); c.Logins != 1 || c.Refused != 0 {
				t.Errorf("%s: %+v", name, c)
			}
		})
	}
}

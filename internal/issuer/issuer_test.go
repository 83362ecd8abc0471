package issuer

import (
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a store that counts.
type memory struct {
	lock   sync.Mutex
	mu     sync.Mutex
	data   map[string][]byte
	loads  int
	stores int
	broken error
	only   string // if set, the key that is broken
}

func (m *memory) Lock(context.Context, string) error   { m.lock.Lock(); return nil }
func (m *memory) Unlock(context.Context, string) error { m.lock.Unlock(); return nil }

func (m *memory) Store(_ context.Context, key string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !strings.HasPrefix(key, store.HoldersFolder) {
		m.stores++
	}
	if m.data == nil {
		m.data = map[string][]byte{}
	}
	m.data[key] = value
	return m.broken
}

func (m *memory) Load(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loads++
	if m.broken != nil && (m.only == "" || m.only == key) {
		return nil, m.broken
	}
	if value, ok := m.data[key]; ok {
		return value, nil
	}
	return nil, fs.ErrNotExist
}

func (m *memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken == nil {
		delete(m.data, key)
	}
	return m.broken
}

const site = "vbr|:9419|vbr01:9419"

var grafana = Subject{Client: "grafana", Account: "svc", Vouch: "its password"}

func issued(t *testing.T, i *Issuer) Pair {
	t.Helper()
	pair, err := i.Issue(t.Context(), grafana, site, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestATokenSpeaksForWhomItWasIssued(t *testing.T) {
	i := New(NewKeys(&memory{}))
	sub, err := i.Check(t.Context(), issued(t, i).Access, site)
	if err != nil || sub.Client != "grafana" || sub.Account != "svc" || sub.Vouch != "its password" || sub.Family == "" {
		t.Errorf("%+v, %v", sub, err)
	}
}

func TestWhatIsNotATokenOfThisSiteIsRefused(t *testing.T) {
	store := &memory{}
	i := New(NewKeys(store))
	pair := issued(t, i)
	parts := strings.Split(pair.Access, ".")
	foreign := issued(t, New(NewKeys(&memory{})))
	key, err := i.keys.signing(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sign := func(method jwt.SigningMethod, secret any, edit func(*claims)) string {
		c := claims{RegisteredClaims: jwt.RegisteredClaims{
			Issuer: policy.TokenIssuer, Subject: "grafana", Audience: jwt.ClaimStrings{site},
			ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour)),
		}, Family: "f", Use: useAccess, Until: time.Now().Add(time.Hour).Unix(), Made: time.Now().UnixMilli()}
		edit(&c)
		token := jwt.NewWithClaims(method, c)
		token.Header["kid"] = key.ID
		text, err := token.SignedString(secret)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	same := func(*claims) {}
	if _, err := i.Check(t.Context(), sign(jwt.SigningMethodHS256, key.Secret, same), site); err != nil {
		t.Fatalf("the control is refused: %v", err)
	}
	for what, token := range map[string]string{
		"empty":             "",
		"null":              "null",
		"refresh token":     pair.Refresh,
		"other key":         foreign.Access,
		"no signature":      parts[0] + "." + parts[1] + ".",
		"changed signature": pair.Access[:len(pair.Access)-4] + "AAAA",
		"changed payload":   parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"root"}`)) + "." + parts[2],
		"alg none":          sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, same),
		"alg HS384":         sign(jwt.SigningMethodHS384, key.Secret, same),
		"no expiry":         sign(jwt.SigningMethodHS256, key.Secret, func(c *claims) { c.ExpiresAt = nil }),
		"other issuer":      sign(jwt.SigningMethodHS256, key.Secret, func(c *claims) { c.Issuer = "veeam" }),
		"other audience":    sign(jwt.SigningMethodHS256, key.Secret, func(c *claims) { c.Audience = jwt.ClaimStrings{"x"} }),
		"two audiences":     sign(jwt.SigningMethodHS256, key.Secret, func(c *claims) { c.Audience = jwt.ClaimStrings{site, "x"} }),
		"no audience":       sign(jwt.SigningMethodHS256, key.Secret, func(c *claims) { c.Audience = nil }),
		"no family":         sign(jwt.SigningMethodHS256, key.Secret, func(c *claims) { c.Family = "" }),
		"no end":            sign(jwt.SigningMethodHS256, key.Secret, func(c *claims) { c.Until = 0 }),
		"no use":            sign(jwt.SigningMethodHS256, key.Secret, func(c *claims) { c.Use = "" }),
	} {
		if _, err := i.Check(t.Context(), token, site); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	old := sign(jwt.SigningMethodHS256, key.Secret, func(c *claims) { c.ExpiresAt = jwt.NewNumericDate(time.Now().Add(-time.Second)) })
	if _, err := i.Check(t.Context(), old, site); !errors.Is(err, ErrExpired) {
		t.Errorf("expired: %v", err)
	}
	if _, err := i.Check(t.Context(), pair.Access, "aws|:11005|x"); !errors.Is(err, ErrInvalid) {
		t.Errorf("another site: %v", err)
	}
}

func TestTokensExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := New(NewKeys(&memory{}))
		pair := issued(t, i)
		time.Sleep(time.Hour + time.Second)
		if _, err := i.Check(t.Context(), pair.Access, site); !errors.Is(err, ErrExpired) {
			t.Errorf("access token after an hour: %v", err)
		}
		if _, err := i.CheckRefresh(t.Context(), pair.Refresh, site); err != nil {
			t.Errorf("refresh token after an hour: %v", err)
		}
		time.Sleep(RefreshLifetime)
		if _, err := i.Refresh(t.Context(), pair.Refresh, site, 0); !errors.Is(err, ErrExpired) {
			t.Errorf("refresh token after two weeks: %v", err)
		}
	})
}

func TestRefreshRotatesAndToleratesHonestRaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := New(NewKeys(&memory{}))
		first := issued(t, i)
		var wg sync.WaitGroup
		answers := make(chan Pair, 100)
		for range 100 {
			wg.Go(func() {
				pair, err := i.Refresh(t.Context(), first.Refresh, site, time.Hour)
				if err != nil {
					t.Error(err)
				}
				answers <- pair
			})
		}
		wg.Wait()
		close(answers)
		second := <-answers
		for pair := range answers {
			if pair != second {
				t.Fatal("one refresh token sent several times at once got different answers")
			}
		}
		time.Sleep(Grace - time.Second)
		if again, err := i.Refresh(t.Context(), first.Refresh, site, time.Hour); err != nil || again != second {
			t.Errorf("within the grace window: %v", err)
		}
		third, err := i.Refresh(t.Context(), second.Refresh, site, time.Hour)
		if err != nil || third == second {
			t.Fatalf("the next refresh: %v", err)
		}
		if sub, err := i.Check(t.Context(), third.Access, site); err != nil || sub.Client != "grafana" {
			t.Errorf("%+v, %v", sub, err)
		}
	})
}

func TestAReusedRefreshTokenEndsItsFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := New(NewKeys(&memory{}))
		first, other := issued(t, i), issued(t, i)
		second, err := i.Refresh(t.Context(), first.Refresh, site, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(Grace)
		if _, err := i.CheckRefresh(t.Context(), first.Refresh, site); !errors.Is(err, ErrReused) {
			t.Errorf("re-use: %v", err)
		}
		for what, token := range map[string]string{"first": first.Access, "second": second.Access} {
			if _, err := i.Check(t.Context(), token, site); !errors.Is(err, ErrEnded) {
				t.Errorf("%s access token: %v", what, err)
			}
		}
		if _, err := i.Refresh(t.Context(), second.Refresh, site, 0); !errors.Is(err, ErrEnded) {
			t.Errorf("second refresh token: %v", err)
		}
		if _, err := i.Check(t.Context(), other.Access, site); err != nil {
			t.Errorf("another login of the same client: %v", err)
		}
	})
}

// Whoever has the next token needs the first no more, however soon it is sent again.
func TestARefreshTokenWhoseSuccessorIsUsedEndsItsFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		here, there := replica(t, store), replica(t, store)
		for what, i := range map[string]*Issuer{"here": here, "there": there} {
			first := issued(t, here)
			second, err := here.Refresh(t.Context(), first.Refresh, site, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			third, err := here.Refresh(t.Context(), second.Refresh, site, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if _, err := i.Refresh(t.Context(), first.Refresh, site, time.Hour); !errors.Is(err, ErrReused) {
				t.Errorf("%s: %v", what, err)
			}
			if _, err := i.Check(t.Context(), third.Access, site); !errors.Is(err, ErrEnded) {
				t.Errorf("%s: the access token: %v", what, err)
			}
		}
	})
}

func TestLogoutEndsOneFamilyOnly(t *testing.T) {
	i := New(NewKeys(&memory{}))
	mine, theirs := issued(t, i), issued(t, i)
	sub, err := i.Check(t.Context(), mine.Access, site)
	if err != nil {
		t.Fatal(err)
	}
	i.End(sub.Client, sub.Family)
	i.End(sub.Client, sub.Family)
	if _, err := i.Check(t.Context(), mine.Access, site); !errors.Is(err, ErrEnded) {
		t.Errorf("after the logout: %v", err)
	}
	if _, err := i.CheckRefresh(t.Context(), mine.Refresh, site); !errors.Is(err, ErrEnded) {
		t.Errorf("refresh after the logout: %v", err)
	}
	if _, err := i.Check(t.Context(), theirs.Access, site); err != nil {
		t.Errorf("the other's token: %v", err)
	}
}

func TestWhatIsRememberedOfLogoutsIsForgottenInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := New(NewKeys(&memory{}))
		for range 100 {
			sub, err := i.Check(t.Context(), issued(t, i).Access, site)
			if err != nil {
				t.Fatal(err)
			}
			i.End(sub.Client, sub.Family)
		}
		time.Sleep(RefreshLifetime + time.Hour)
		i.ledger.pending[segmentOf(grafana.Client)].tidy(time.Now(), usual)
		for n := range i.ledger.pending {
			if s := &i.ledger.pending[n]; !s.empty() {
				t.Errorf("%+v is remembered", s)
			}
		}
	})
}

func TestARestartKeepsTokensGood(t *testing.T) {
	store := &memory{}
	before := issued(t, New(NewKeys(store)))
	after := New(NewKeys(store))
	if _, err := after.Check(t.Context(), before.Access, site); err != nil {
		t.Errorf("access: %v", err)
	}
	next, err := after.Refresh(t.Context(), before.Refresh, site, 0)
	if err != nil || next.Lifetime != DefaultLifetime {
		t.Fatalf("refresh: %+v, %v", next, err)
	}
	if again, err := after.Refresh(t.Context(), before.Refresh, site, 0); err != nil || again != next {
		t.Errorf("the same refresh token at once again: %v", err)
	}
}

func TestCodesAreGoodOnceForAMinuteAndForOneSite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := New(NewKeys(&memory{}))
		text := i.Code(grafana, site)
		if sub, err := i.Redeem(text, site); err != nil || sub != grafana {
			t.Errorf("%+v, %v", sub, err)
		}
		if _, err := i.Redeem(text, site); !errors.Is(err, ErrInvalid) {
			t.Errorf("a second time: %v", err)
		}
		text = i.Code(grafana, site)
		if _, err := i.Redeem(text, "elsewhere"); !errors.Is(err, ErrInvalid) {
			t.Errorf("elsewhere: %v", err)
		}
		if _, err := i.Redeem(text, site); !errors.Is(err, ErrInvalid) {
			t.Errorf("after a try elsewhere: %v", err)
		}
		text = i.Code(grafana, site)
		time.Sleep(CodeLifetime)
		if _, err := i.Redeem(text, site); !errors.Is(err, ErrExpired) {
			t.Errorf("late: %v", err)
		}
		if _, err := i.Redeem("", site); !errors.Is(err, ErrInvalid) {
			t.Errorf("empty: %v", err)
		}
		sub := grafana
		sub.Family = "f"
		text = i.Code(sub, site)
		i.End(sub.Client, "f")
		if _, err := i.Redeem(text, site); !errors.Is(err, ErrInvalid) {
			t.Errorf("of a client that has logged out: %v", err)
		}
	})
}

func BenchmarkCheckAnew(b *testing.B) {
	i := New(NewKeys(&memory{}))
	pair, err := i.Issue(b.Context(), grafana, site, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.parse(b.Context(), pair.Access, site, useAccess); err != nil {
			b.Fatal(err)
		}
	}
}

// Who logs in with the same credentials gets the same token of the server. A logout with it
// is meant by whoever has it.
func TestALogoutWithATokenThatLoginsShareEndsAllOfThem(t *testing.T) {
	t.Parallel()
	i := New(NewKeys(&memory{}))
	var refresh []string
	login := func(client, token string) {
		t.Helper()
		pair, err := i.Issue(t.Context(), Subject{Client: client, Until: time.Now().Add(time.Hour)}, site, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		sub, err := i.Check(t.Context(), pair.Access, site)
		if err != nil {
			t.Fatal(err)
		}
		i.Adopt(token, sub, site, time.Now().Add(time.Minute))
		refresh = append(refresh, pair.Refresh)
	}
	login("first", "shared")
	login("second", "shared")
	login("third", "own")
	sub, err := i.Check(t.Context(), "shared", site)
	if err != nil || sub.Client != "second" {
		t.Fatalf("%+v, %v", sub, err)
	}
	i.End(sub.Client, sub.Family)
	if _, err := i.Check(t.Context(), "shared", site); !errors.Is(err, ErrEnded) {
		t.Errorf("after the logout: %v", err)
	}
	for n, ended := range []bool{true, true, false} {
		if _, err := i.CheckRefresh(t.Context(), refresh[n], site); errors.Is(err, ErrEnded) != ended {
			t.Errorf("refresh token %d: %v", n, err)
		}
	}
	// What has ended stays so when somebody else gets the token.
	login("fourth", "shared")
	if sub, err := i.Check(t.Context(), "shared", site); err != nil || sub.Client != "fourth" {
		t.Errorf("%+v, %v", sub, err)
	}
	for n := range 2 {
		if _, err := i.CheckRefresh(t.Context(), refresh[n], site); !errors.Is(err, ErrEnded) {
			t.Errorf("refresh token %d after another login: %v", n, err)
		}
	}
	// One whose login is revoked takes nothing from the others.
	login("fifth", "shared")
	if err := i.Revoke(t.Context(), "fifth"); err != nil {
		t.Fatal(err)
	}
	if sub, err := i.Check(t.Context(), "shared", site); err != nil || sub.Client != "fourth" {
		t.Errorf("%+v, %v", sub, err)
	}
}

func TestAnAdoptedTokenStandsForItsSubjectUntilItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := New(NewKeys(&memory{}))
		const token = "made.by.a-server"
		if _, err := i.Check(t.Context(), token, site); !errors.Is(err, ErrInvalid) {
			t.Errorf("before it is adopted: %v", err)
		}
		sub := Subject{Client: "user", Vouch: "its login", Login: "its login", Family: "its family", Until: time.Now().Add(time.Minute + time.Second), Made: time.Now().UnixMilli()}
		i.Adopt(token, sub, site, time.Now().Add(time.Minute))
		if got, err := i.Check(t.Context(), token, site); err != nil || got != sub {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := i.Check(t.Context(), token, "another site"); !errors.Is(err, ErrInvalid) {
			t.Errorf("at another site: %v", err)
		}
		if _, err := i.CheckRefresh(t.Context(), token, site); err == nil {
			t.Error("it is no refresh token")
		}
		time.Sleep(time.Minute)
		if _, err := i.Check(t.Context(), token, site); !errors.Is(err, ErrExpired) {
			t.Errorf("at its end: %v", err)
		}
		i.Adopt(token, sub, site, time.Now().Add(time.Minute))
		i.End(sub.Client, sub.Family)
		if _, err := i.Check(t.Context(), token, site); !errors.Is(err, ErrEnded) {
			t.Errorf("after a logout: %v", err)
		}
		i.Adopt("another", Subject{Client: "user", Family: "another"}, site, time.Now().Add(time.Minute))
		if err := i.Revoke(t.Context(), "user"); err != nil {
			t.Fatal(err)
		}
		if _, err := i.Check(t.Context(), "another", site); !errors.Is(err, ErrEnded) {
			t.Errorf("after the client was cut off: %v", err)
		}
	})
}

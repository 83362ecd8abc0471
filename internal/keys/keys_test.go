package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// memory is a store that may fail.
type memory struct {
	lock   sync.Mutex
	mu     sync.Mutex
	data   map[string][]byte
	loads  map[string]int
	broken error
}

func newMemory() *memory { return &memory{data: make(map[string][]byte), loads: make(map[string]int)} }

func (m *memory) Lock(context.Context, string) error   { m.lock.Lock(); return nil }
func (m *memory) Unlock(context.Context, string) error { m.lock.Unlock(); return nil }

func (m *memory) Store(_ context.Context, key string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken == nil {
		m.data[key] = value
	}
	return m.broken
}

func (m *memory) Load(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loads[key]++
	if m.broken != nil {
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
	delete(m.data, key)
	return m.broken
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = err
}

func (m *memory) text() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all strings.Builder
	for key, value := range m.data {
		all.WriteString(key + string(value))
	}
	return all.String()
}

// replica are keys with their watch running.
func replica(t *testing.T, store *memory) *Keys {
	t.Helper()
	k := New(store)
	watch(t, k)
	return k
}

func watch(t *testing.T, k *Keys) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Watch(ctx, func(error) {})
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func issue(t *testing.T, k *Keys, order Order) (string, State) {
	t.Helper()
	if order.Client == "" {
		order.Client = "grafana"
	}
	if order.For == 0 {
		order.For = 90 * 24 * time.Hour
	}
	text, state, err := k.Issue(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	return text, state
}

// reasonOf is why a key does not count, ok if it does.
func reasonOf(t *testing.T, k *Keys, text string) veeam.Reason {
	t.Helper()
	ring, err := NewRing(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = ring.With(k).Find(t.Context(), text, time.Now())
	return veeam.ReasonOf(err)
}

func TestAnIssuedKeyCountsEverywhereAndIsKeptAsAHash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		here, there := replica(t, store), replica(t, store)
		text, state := issue(t, here, Order{Client: "grafana", Scope: Scope{Preset: "monitor", Account: "a", From: []string{"10.0.0.0/8", "unix"}}})
		if reason := reasonOf(t, here, text); reason != veeam.ReasonOK {
			t.Errorf("at once: %s", reason)
		}
		time.Sleep(time.Second)
		for what, k := range map[string]*Keys{"there": there, "a new one": New(store)} {
			if reason := reasonOf(t, k, text); reason != veeam.ReasonOK {
				t.Errorf("%s: %s", what, reason)
			}
		}
		hash, _ := Read(text)
		key, err := there.Find(t.Context(), hash)
		if err != nil || key.Client != "grafana" || key.Name != state.Name || key.Preset != "monitor" || key.DeniesClass("run") == "" || key.Account != "a" || key.From.Contain(policy.Peer{Address: "11.0.0.1"}) {
			t.Errorf("%+v, %v", key, err)
		}
		if byID, err := there.ByID(t.Context(), hash.ID()); byID != key || err != nil {
			t.Errorf("%v, %v", byID, err)
		}
		if strings.Contains(store.text(), text[len(Prefix):]) {
			t.Error("the key lies in the storage")
		}
		listed, err := there.List(t.Context())
		if err != nil || len(listed) != 1 {
			t.Fatalf("%v, %v", listed, err)
		}
		shown, err := json.Marshal(listed[0].State(time.Now()))
		if err != nil || strings.Contains(string(shown), text[len(Prefix):]) || strings.Contains(string(shown), hash.String()[7:30]) {
			t.Errorf("%s, %v", shown, err)
		}
		if want := `{"name":"` + state.Name + `","client":"grafana","preset":"monitor","account":"a","from":["10.0.0.0/8","unix"],` +
			`"created":"2000-01-01T00:00:00Z","expires":"2000-03-31T00:00:00Z","status":"valid"}`; string(shown) != want {
			t.Errorf("%s, want %s", shown, want)
		}
	})
}

func TestARevokedKeyStopsOnThreeReplicasWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		replicas := []*Keys{replica(t, store), replica(t, store), replica(t, store)}
		text, state := issue(t, replicas[0], Order{})
		kept, _ := issue(t, replicas[0], Order{})
		time.Sleep(time.Second)
		for _, k := range replicas {
			if reason := reasonOf(t, k, text); reason != veeam.ReasonOK {
				t.Fatalf("before: %s", reason)
			}
		}
		if err := replicas[2].Revoke(t.Context(), state.Name); err != nil {
			t.Fatal(err)
		}
		if reason := reasonOf(t, replicas[2], text); reason != veeam.ReasonRevokedKey {
			t.Errorf("here, at once: %s", reason)
		}
		time.Sleep(time.Second)
		for n, k := range append(replicas, New(store)) {
			if reason := reasonOf(t, k, text); reason != veeam.ReasonRevokedKey {
				t.Errorf("replica %d: %s", n, reason)
			}
			if reason := reasonOf(t, k, kept); reason != veeam.ReasonOK {
				t.Errorf("replica %d: another key: %s", n, reason)
			}
		}
	})
}

func TestARevocationWaitsForAStoreThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		here, there := replica(t, store), replica(t, store)
		text, state := issue(t, here, Order{})
		time.Sleep(time.Second)
		store.fail(errors.New("gone"))
		if err := here.Revoke(t.Context(), state.Name); err == nil {
			t.Error("nobody is told that it was not stored")
		}
		time.Sleep(10 * time.Second)
		if here, there := reasonOf(t, here, text), reasonOf(t, there, text); here != veeam.ReasonRevokedKey || there != veeam.ReasonOK {
			t.Errorf("while the store is gone: %s here, %s there", here, there)
		}
		store.fail(nil)
		time.Sleep(2 * time.Second)
		if reason := reasonOf(t, there, text); reason != veeam.ReasonRevokedKey {
			t.Errorf("when it is back: %s", reason)
		}
	})
}

func TestARotatedKeyCountsDuringTheOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := New(newMemory())
		scope := Scope{Preset: "monitor", From: []string{"unix"}}
		old, state := issue(t, k, Order{Client: "grafana", Scope: scope})
		time.Sleep(24 * time.Hour)
		next, after, err := k.Rotate(t.Context(), state.Name, 24*time.Hour, 0)
		if err != nil {
			t.Fatal(err)
		}
		if after.Client != "grafana" || after.Preset != "monitor" || fmt.Sprint(after.From) != "[unix]" || after.Name == state.Name {
			t.Errorf("%+v", after)
		}
		if got := after.Expires.Sub(after.Created); got != 90*24*time.Hour {
			t.Errorf("the successor lives for %v", got)
		}
		third, again, err := k.Rotate(t.Context(), state.Name, 48*time.Hour, 0) // prolongs nothing
		if err != nil || again.Expires.Sub(again.Created) != 90*24*time.Hour {
			t.Errorf("%+v, %v", again, err)
		}
		time.Sleep(24*time.Hour - time.Second)
		for _, text := range []string{old, next, third} {
			if reason := reasonOf(t, k, text); reason != veeam.ReasonOK {
				t.Errorf("during the overlap: %s", reason)
			}
		}
		time.Sleep(time.Second)
		if old, next := reasonOf(t, k, old), reasonOf(t, k, next); old != veeam.ReasonExpiredKey || next != veeam.ReasonOK {
			t.Errorf("after the overlap: %s, %s", old, next)
		}
		for name, overlap := range map[string]time.Duration{state.Name: time.Hour, "nobody": time.Hour, after.Name: -1} {
			if wrong, ok := errors.AsType[*OrderError](rotate(t, k, name, overlap)); !ok {
				t.Errorf("%s: %v", name, wrong)
			}
		}
		if err := rotate(t, k, after.Name, 0); err != nil {
			t.Fatal(err)
		}
		if reason := reasonOf(t, k, next); reason != veeam.ReasonExpiredKey {
			t.Errorf("without an overlap: %s", reason)
		}
	})
}

func rotate(t *testing.T, k *Keys, name string, overlap time.Duration) error {
	t.Helper()
	_, _, err := k.Rotate(t.Context(), name, overlap, 0)
	return err
}

func TestAKeyThatExpiresIsToldOnceAWeekBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		var mu sync.Mutex
		var told []string
		k := New(store)
		issue(t, k, Order{Name: "long", For: 30 * 24 * time.Hour})
		issue(t, k, Order{Name: "short", For: 5 * 24 * time.Hour})
		issue(t, k, Order{Name: "revoked", For: 30 * 24 * time.Hour})
		issue(t, k, Order{Name: "rotated", For: 30 * 24 * time.Hour})
		if err := k.Revoke(t.Context(), "revoked"); err != nil {
			t.Fatal(err)
		}
		if err := rotate(t, k, "rotated", 24*24*time.Hour); err != nil {
			t.Fatal(err)
		}
		leave := ringOf(t, Config{Name: "file", Hash: mustHash(t), Until: "2000-01-30"}).Enter()
		defer leave()
		week := time.Now().Add(23 * 24 * time.Hour)
		time.Sleep(time.Until(week) - time.Minute)
		for range 3 {
			k := New(store)
			k.Expiring = func(key *Key) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, fmt.Sprintf("%s %v", key.Name, time.Since(week).Truncate(time.Second)))
			}
			watch(t, k)
		}
		time.Sleep(3 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(told)
		// The third one is the successor of the rotated key.
		if len(told) != 3 || told[0] != "file 0s" || !strings.HasPrefix(told[1], "grafana-") || !strings.HasSuffix(told[1], " 0s") || told[2] != "long 0s" {
			t.Errorf("told: %q", told)
		}
	})
}

func mustHash(t *testing.T) string {
	t.Helper()
	hash, err := Read(Make())
	if err != nil {
		t.Fatal(err)
	}
	return hash.String()
}

func ringOf(t *testing.T, configs ...Config) *Ring {
	t.Helper()
	var configured []*Key
	for _, c := range configs {
		key, err := c.Key("grafana")
		if err != nil {
			t.Fatal(err)
		}
		configured = append(configured, key)
	}
	ring, err := NewRing(configured)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func TestAKeyIsNotUsedBeforeItIsIssued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(59 * time.Second) // within a minute
		k := New(newMemory())
		text, _ := issue(t, k, Order{})
		hash, _ := Read(text)
		key, err := k.Find(t.Context(), hash)
		if err != nil {
			t.Fatal(err)
		}
		key.Touch(time.Now())
		if s := key.State(time.Now()); !s.LastUsed.Equal(s.Created) {
			t.Errorf("issued at %v, used at %v", s.Created, s.LastUsed)
		}
		time.Sleep(time.Second)
		key.Touch(time.Now())
		if s := key.State(time.Now()); !s.LastUsed.Equal(time.Now().Truncate(time.Minute)) {
			t.Errorf("used at %v", s.LastUsed)
		}
	})
}

func TestTheLastUseIsKnownToTheMinuteEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		here, there := replica(t, store), replica(t, store)
		text, _ := issue(t, here, Order{})
		hash, _ := Read(text)
		last := func(k *Keys) time.Time {
			key, err := k.Find(t.Context(), hash)
			if err != nil || key == nil {
				t.Fatalf("%v, %v", key, err)
			}
			return key.LastUse()
		}
		time.Sleep(90 * time.Second)
		if at := last(there); !at.IsZero() {
			t.Errorf("unused: %v", at)
		}
		key, _ := here.Find(t.Context(), hash)
		now := time.Now()
		key.Touch(now)
		if want := now.Truncate(time.Minute); !last(here).Equal(want) {
			t.Errorf("here: %v, want %v", last(here), want)
		}
		for range 10 {
			time.Sleep(24 * time.Second)
		}
		if want := now.Truncate(time.Minute); !last(there).Equal(want) || !last(New(store)).Equal(want) {
			t.Errorf("there: %v, a new one: %v, want %v", last(there), last(New(store)), want)
		}
		store.mu.Lock()
		loads := store.loads[KeysPath]
		store.mu.Unlock()
		time.Sleep(time.Hour)
		store.mu.Lock()
		defer store.mu.Unlock()
		if store.loads[KeysPath] != loads {
			t.Errorf("the keys are read %d times though nothing changes", store.loads[KeysPath]-loads)
		}
	})
}

func TestAKeyThatHasEndedIsToldApartForAMonth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := New(newMemory())
		expired, _ := issue(t, k, Order{For: time.Hour})
		revoked, state := issue(t, k, Order{For: time.Hour})
		if err := k.Revoke(t.Context(), state.Name); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if expired, revoked, made := reasonOf(t, k, expired), reasonOf(t, k, revoked), reasonOf(t, k, Make()); expired != veeam.ReasonExpiredKey || revoked != veeam.ReasonRevokedKey || made != veeam.ReasonUnknownKey {
			t.Errorf("%s, %s, %s", expired, revoked, made)
		}
		if reason := reasonOf(t, k, expired+"x"); reason != veeam.ReasonUnknownKey {
			t.Errorf("mistyped: %s", reason)
		}
		time.Sleep(rememberFor + time.Hour)
		issue(t, k, Order{})
		if expired, revoked := reasonOf(t, k, expired), reasonOf(t, k, revoked); expired != veeam.ReasonUnknownKey || revoked != veeam.ReasonUnknownKey {
			t.Errorf("a month later: %s, %s", expired, revoked)
		}
	})
}

func TestWithoutTheStoreOnlyConfiguredKeysCount(t *testing.T) {
	t.Parallel()
	store := newMemory()
	stored, _ := issue(t, New(store), Order{})
	store.fail(errors.New("gone"))
	text := Make()
	hash, _ := Read(text)
	key, err := (&Config{Name: "file", Hash: hash.String()}).Key("jenkins")
	if err != nil {
		t.Fatal(err)
	}
	ring, err := NewRing([]*Key{key})
	if err != nil {
		t.Fatal(err)
	}
	ring = ring.With(New(store))
	if found, err := ring.Find(t.Context(), text, time.Now()); found != key || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	if found, err := ring.ByID(t.Context(), hash.ID(), time.Now()); found != key || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	_, err = ring.Find(t.Context(), stored, time.Now())
	if _, ok := errors.AsType[*UnreadableError](err); !ok {
		t.Errorf("%v", err)
	}
	store.fail(nil)
	store.data[KeysPath] = []byte(`[{"name":"x"`)
	if _, err = ring.Find(t.Context(), stored, time.Now()); err == nil || !strings.Contains(err.Error(), KeysPath+" is corrupt") {
		t.Errorf("%v", err)
	}
}

func TestWrongOrdersAndConfigurationsAreRefused(t *testing.T) {
	t.Parallel()
	k := New(newMemory())
	issue(t, k, Order{Name: "ci"})
	for want, order := range map[string]Order{
		"requires a client":     {For: time.Hour},
		"a minute at least":     {Client: "c", For: time.Second},
		"five years at most":    {Client: "c", For: 6 * 366 * 24 * time.Hour},
		"unknown preset":        {Client: "c", For: time.Hour, Scope: Scope{Preset: "admin"}},
		"neither a network":     {Client: "c", For: time.Hour, Scope: Scope{From: []string{"lan"}}},
		"the name of a key has": {Client: "c", For: time.Hour, Name: "a b"},
		"there is a key named":  {Client: "c", For: time.Hour, Name: "ci"},
	} {
		_, _, err := k.Issue(t.Context(), order)
		if _, ok := errors.AsType[*OrderError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	text, good := Make(), mustHash(t)
	for want, c := range map[string]Config{
		"the name of a key has": {Hash: good},
		"begins with a letter":  {Name: text, Hash: good},
		"the hash of a key is":  {Name: "ci", Hash: text},
		"unknown preset":        {Name: "ci", Hash: good, Scope: Scope{Preset: "admin"}},
		"from:":                 {Name: "ci", Hash: good, Scope: Scope{From: []string{"10.0.0.1/8"}}},
		"is not a date or time": {Name: "ci", Hash: good, Until: "soon"},
	} {
		if _, err := c.Key("c"); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for want, configs := range map[string][2]Config{
		"client c: key b: its hash is that of the key a": {{Name: "a", Hash: good}, {Name: "b", Hash: good}},
		"client c: key a: another key has this name":     {{Name: "a", Hash: good}, {Name: "a", Hash: mustHash(t)}},
	} {
		first, _ := configs[0].Key("c")
		second, _ := configs[1].Key("c")
		if _, err := NewRing([]*Key{first, second}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	name := func(client string) string {
		_, state := issue(t, k, Order{Client: client})
		return state.Name
	}
	for _, client := range []string{"grafana", "a client", "--", "日本", "vak_x", strings.Repeat("x", 200)} {
		if got := name(client); CheckName(got) != nil && !Looks(got) {
			t.Errorf("the key of %q is named %q", client, got)
		}
	}
}

func TestNoMoreKeysThanTheMaximum(t *testing.T) {
	t.Parallel()
	r := &record{Name: "one more"}
	if _, err := r.enter(make([]*record, 0, maxKeys)); err != nil {
		t.Error(err)
	}
	full := make([]*record, maxKeys)
	for i := range full {
		full[i] = &record{Name: fmt.Sprint(i)}
	}
	if _, err := r.enter(full); err == nil {
		t.Error("there is no bound")
	}
}

func TestConfiguredKeysAreListedOnceWithTheirEnds(t *testing.T) {
	config := Config{Name: "list", Hash: mustHash(t), Until: "2099-12-31 Europe/Berlin"}
	one, other := ringOf(t, config), ringOf(t, config)
	leaveOne, leaveOther := one.Enter(), other.Enter()
	count := func() (n int) {
		states, err := List(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range states {
			if s.Name == "list" && s.Configured && s.Status == "valid" && s.Expires.Equal(time.Date(2099, 12, 31, 23, 0, 0, 0, time.UTC)) {
				n++
			}
		}
		return n
	}
	if count() != 1 {
		t.Errorf("%d times", count())
	}
	if ending := Expiries(time.Now()); len(ending) != 1 || ending[0].Key != "list" {
		t.Errorf("%v", ending)
	}
	leaveOne()
	if count() != 1 {
		t.Error("gone with the first site")
	}
	if leaveOther(); count() != 0 || len(Expiries(time.Now())) != 0 {
		t.Error("it stays")
	}
}

// A key is due when the event tells of it, and stays so until somebody has replaced it.
func TestAKeyIsDueInItsLastWeekUnlessItIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := New(newMemory())
		const day = 24 * time.Hour
		for name, lifetime := range map[string]time.Duration{"long": 30 * day, "short": 7 * day, "revoked": 30 * day, "rotated": 30 * day} {
			issue(t, k, Order{Name: name, For: lifetime})
		}
		configured, err := (&Config{Name: "file", Hash: mustHash(t), Until: time.Now().Add(30 * day).UTC().Format(time.RFC3339)}).Key("grafana")
		if err != nil {
			t.Fatal(err)
		}
		due := func() (names []string) {
			states, err := k.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range append(slices.Clip(states), configured) {
				if key.due(time.Now()) {
					names = append(names, key.Name)
				}
			}
			slices.Sort(names)
			return names
		}
		if err := k.Revoke(t.Context(), "revoked"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(23*day - time.Second)
		if names := due(); len(names) != 0 {
			t.Errorf("a week and a second before: %q", names)
		}
		time.Sleep(time.Second)
		if names := due(); !slices.Equal(names, []string{"file", "long", "rotated"}) {
			t.Errorf("a week before: %q", names)
		}
		if err := rotate(t, k, "rotated", 6*day); err != nil {
			t.Fatal(err)
		}
		if names := due(); !slices.Equal(names, []string{"file", "long"}) {
			t.Errorf("after a rotation: %q", names)
		}
		time.Sleep(7 * day)
		if names := due(); len(names) != 0 {
			t.Errorf("at the end: %q", names)
		}
	})
}

// TestTheErrorOfAKeyFromElsewhereNamesTheAddress: the log is where operators find out who has
// the key.
func TestTheErrorOfAKeyFromElsewhereNamesTheAddress(t *testing.T) {
	sources, err := policy.ParseSources([]string{"10.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	k := new(Key)
	k.Name, k.Client, k.From = "ci", "jenkins", sources
	for want, peer := range map[string]policy.Peer{
		"it came from 192.0.2.7": {Address: "192.0.2.7"}, "it came from a unix socket": {Unix: true}, "it came from an unknown address": {},
	} {
		if err := k.CheckPeer(peer); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, not %s", err, want)
		}
	}
	if err := k.CheckPeer(policy.Peer{Address: "10.1.2.3"}); err != nil {
		t.Error(err)
	}
}

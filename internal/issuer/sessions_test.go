package issuer

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
)

const idle = 15 * time.Minute

func started(t *testing.T, i *Issuer) string {
	t.Helper()
	pair, err := i.IssueSession(t.Context(), grafana, site, "as they spell it", idle)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Access
}

func checkedAs(t *testing.T, what string, i *Issuer, session string, want error) {
	t.Helper()
	sub, err := i.Check(t.Context(), session, site)
	if !errors.Is(err, want) || want == nil && (sub.Client != "grafana" || sub.Account != "svc" || sub.Vouch != "its password" || sub.Family == "") {
		t.Errorf("%s: %+v, %v; want %v", what, sub, err, want)
	}
}

// sessions are the keys of the sessions in a store.
func (m *memory) sessions() (keys []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range maps.Keys(m.data) {
		if strings.HasPrefix(key, SessionsFolder) {
			keys = append(keys, key)
		}
	}
	return keys
}

// dated is a store that knows how old its values are.
type dated struct {
	*memory
	stored map[string]time.Time
}

func (d dated) Store(ctx context.Context, key string, value []byte) error {
	d.mu.Lock()
	d.stored[key] = time.Now()
	d.mu.Unlock()
	return d.memory.Store(ctx, key, value)
}

func (d dated) Before(_ context.Context, folder string, moment time.Time) ([]string, error) {
	keys := d.sessions()
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.DeleteFunc(keys, func(key string) bool {
		return !strings.HasPrefix(key, folder) || !d.stored[key].Before(moment)
	}), nil
}

func TestASessionIsKnownToAllReplicasAtOnceAndAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		here, there := replica(t, store), replica(t, store)
		session := started(t, here)
		checkedAs(t, "here", here, session, nil)
		checkedAs(t, "there", there, session, nil)
		next := New(NewKeys(store))
		checkedAs(t, "after a restart", next, session, nil)
		if note := next.SessionNote(session); note != "as they spell it" {
			t.Errorf("the note is %q", note)
		}
		if _, err := next.Check(t.Context(), session, "elsewhere"); !errors.Is(err, ErrInvalid) {
			t.Errorf("at another site: %v", err)
		}
		text, _ := base64.StdEncoding.DecodeString(session)
		store.mu.Lock() // the replicas still watch
		defer store.mu.Unlock()
		for key, value := range store.data {
			for _, secret := range []string{session, string(text), strings.ReplaceAll(string(text), "-", "")} {
				if strings.Contains(key+string(value), secret) {
					t.Errorf("%s tells the id of the session", key)
				}
			}
		}
	})
}

func TestASessionEndsEverywhereWithinASecond(t *testing.T) {
	for what, end := range map[string]func(*testing.T, *Issuer, string){
		"its client ends it":    func(t *testing.T, i *Issuer, session string) { i.EndSession(t.Context(), session) },
		"its client is revoked": func(t *testing.T, i *Issuer, _ string) { revoke(t, i) },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &memory{}
				here, there := replica(t, store), replica(t, store)
				session := started(t, here)
				checkedAs(t, "before", there, session, nil)
				time.Sleep(time.Millisecond)
				end(t, there, session)
				if sub, err := there.Check(t.Context(), session, site); err == nil {
					t.Errorf("there, at once: %+v", sub)
				}
				time.Sleep(time.Second)
				checkedAs(t, "here", here, session, ErrEnded)
				time.Sleep(2 * savedUses) // whatever is stored meanwhile
				for _, i := range []*Issuer{here, there, replica(t, store)} {
					time.Sleep(time.Millisecond)
					if sub, err := i.Check(t.Context(), session, site); err == nil {
						t.Errorf("it lives again: %+v", sub)
					}
				}
				other := started(t, there)
				checkedAs(t, "another session", here, other, nil)
			})
		})
	}
}

func TestASessionLivesWhileItIsUsedAtAnyReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		replicas := []*Issuer{replica(t, store), replica(t, store), replica(t, store)}
		session := started(t, replicas[0])
		for n := range 12 { // the second replica never sees it, the others alternate
			time.Sleep(idle - 2*time.Second)
			checkedAs(t, fmt.Sprint("use ", n), replicas[n%2*2], session, nil)
		}
		for range 10 { // one is used all the time, another is asked after it was idle there for long
			time.Sleep(idle / 5)
			checkedAs(t, "often", replicas[0], session, nil)
		}
		time.Sleep(saveEvery)
		checkedAs(t, "where it was never used", replicas[1], session, nil)
		checkedAs(t, "where it was not used for long", replicas[2], session, nil)
		time.Sleep(idle)
		for n, i := range replicas {
			checkedAs(t, fmt.Sprint("unused ", n), i, session, ErrExpired)
		}
		time.Sleep(3*savedUses + saveEvery)
		for n, i := range replicas {
			if len(store.sessions()) > 0 || i.sessions.len() > 0 {
				t.Errorf("replica %d: %d are in memory, %d in the store", n, i.sessions.len(), len(store.sessions()))
			}
		}
	})
}

func TestTheLastUseOfASessionOutlivesTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		i := New(NewKeys(store))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); i.Watch(ctx, func(err error) { t.Error(err) }) }()
		session := started(t, i)
		time.Sleep(14 * time.Minute)
		checkedAs(t, "before the end", i, session, nil)
		cancel()
		<-done
		time.Sleep(14 * time.Minute)
		checkedAs(t, "the next process", New(NewKeys(store)), session, nil)
	})
}

func TestASessionEndsAfterTwoWeeksAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := New(NewKeys(&memory{}))
		session := started(t, i)
		for range int(RefreshLifetime/(10*time.Minute)) - 1 {
			time.Sleep(10 * time.Minute)
			i.Check(t.Context(), session, site)
		}
		checkedAs(t, "before", i, session, nil)
		time.Sleep(10 * time.Minute)
		checkedAs(t, "after", i, session, ErrExpired)
	})
}

// A store that fails costs no login, and what it has missed it gets later.
func TestASessionIsIssuedAlthoughTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &faulty{memory: &memory{}}
		here, there := replica(t, store), New(NewKeys(store))
		session := started(t, here) // the keys are read
		checkedAs(t, "before", there, session, nil)
		time.Sleep(saveEvery / 2)
		store.down.Store(true)
		session = started(t, here)
		checkedAs(t, "here", here, session, nil)
		var unreadable *KeysError
		if _, err := there.Check(t.Context(), session, site); !errors.As(err, &unreadable) {
			t.Errorf("where it is not known whether it is valid: %v", err)
		}
		store.down.Store(false)
		time.Sleep(saveEvery)
		checkedAs(t, "there", there, session, nil)
	})
}

// faulty is a store that fails with sessions while it is down.
type faulty struct {
	*memory
	down atomic.Bool
}

var errDown = errors.New("the disk is full")

func (f *faulty) fails(key string) bool {
	return f.down.Load() && strings.HasPrefix(key, SessionsFolder)
}

func (f *faulty) Store(ctx context.Context, key string, value []byte) error {
	if f.fails(key) {
		return errDown
	}
	return f.memory.Store(ctx, key, value)
}

func (f *faulty) Load(ctx context.Context, key string) ([]byte, error) {
	if f.fails(key) {
		return nil, errDown
	}
	return f.memory.Load(ctx, key)
}

func (f *faulty) Delete(ctx context.Context, key string) error {
	if f.fails(key) {
		return errDown
	}
	return f.memory.Delete(ctx, key)
}

// stuck is a store that hangs when it is written to.
type stuck struct{ *memory }

func (s stuck) Store(ctx context.Context, _ string, _ []byte) error { <-ctx.Done(); return ctx.Err() }

func TestAStoreThatHangsHoldsOneLoginForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		issued(t, New(NewKeys(store))) // makes the key
		i := New(NewKeys(stuck{store}))
		begun := time.Now()
		for range 50 {
			checkedAs(t, "here", i, started(t, i), nil)
		}
		if took := time.Since(begun); took > saveFor {
			t.Errorf("fifty logins took %v", took)
		}
	})
}

// Nobody has the store read by making up ids.
func TestIDsThatNobodyIssuedDoNotReachTheStore(t *testing.T) {
	store := &memory{}
	i := New(NewKeys(store))
	own := started(t, i)
	i.keys.reloaded = time.Now().Add(time.Hour) // the keys are not read again meanwhile
	loads := store.loads
	for range 1000 {
		checkedAs(t, "made up", i, base64.StdEncoding.EncodeToString([]byte(uuid.NewString())), ErrInvalid)
	}
	text, _ := base64.StdEncoding.DecodeString(own)
	text[35] ^= 1
	checkedAs(t, "changed", i, base64.StdEncoding.EncodeToString(text), ErrInvalid)
	if store.loads != loads {
		t.Errorf("%d exchanges with the store", store.loads-loads)
	}
	checkedAs(t, "a real one", i, own, nil)
}

func TestAClientHasAHundredSessionsAndTheOneUnusedForLongestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		i := New(NewKeys(store))
		first, second := started(t, i), started(t, i)
		other, err := i.IssueSession(t.Context(), Subject{Client: "zabbix"}, site, "", idle)
		if err != nil {
			t.Fatal(err)
		}
		for range sessionsEach - 1 {
			checkedAs(t, "in use", i, first, nil)
			started(t, i)
		}
		synctest.Wait()
		checkedAs(t, "in use", i, first, nil)
		checkedAs(t, "unused", i, second, ErrInvalid)
		if _, err := i.Check(t.Context(), other.Access, site); err != nil {
			t.Errorf("another client's: %v", err)
		}
		if n := len(store.sessions()); n != sessionsEach+1 {
			t.Errorf("%d sessions in the store", n)
		}
	})
}

func TestSessionsThatNobodyHasAreSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := dated{&memory{}, map[string]time.Time{}}
		started(t, New(NewKeys(store))) // a process that is killed
		replica(t, store)
		time.Sleep(sweepEvery + time.Minute)
		kept := started(t, New(NewKeys(store)))
		time.Sleep(sweepEvery + time.Minute)
		if left := store.sessions(); len(left) != 1 || left[0] != pathOf(kept) {
			t.Errorf("%v", left)
		}
	})
}

func pathOf(session string) string {
	id, _ := readSessionID(session)
	return id.path()
}

func FuzzReadSessionID(f *testing.F) {
	for _, seed := range []string{"", "NDRjZmJkYmUtNWE5NS00Y2ZhLWI0YjktMGU5ZDM1ZjFjNGQ3", strings.Repeat("A", 48), strings.Repeat("\n", 48)} {
		f.Add(seed)
	}
	i := New(NewKeys(&memory{}))
	f.Fuzz(func(t *testing.T, presented string) {
		if id, ok := readSessionID(presented); ok {
			if again, ok := readSessionID(id.presented()); !ok || again != id {
				t.Errorf("%q is %v", presented, id)
			}
		}
		if sub, err := i.Check(t.Context(), presented, site); err == nil {
			t.Errorf("%q is %+v", presented, sub)
		}
	})
}

// loggedInAndOut starts and ends sessions, more than the ledger remembers.
func loggedInAndOut(t *testing.T, i *Issuer) {
	t.Helper()
	for range 12 {
		for range usual.ended / 10 {
			i.EndSession(t.Context(), started(t, i))
		}
		time.Sleep(3 * time.Second)
	}
}

func TestLoggingInAndOutEndsNoOtherSessionOfTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		here, there := replica(t, store), replica(t, store)
		kept, ended := started(t, here), started(t, here)
		checkedAs(t, "before", there, ended, nil)
		time.Sleep(2 * skew)
		here.EndSession(t.Context(), ended)
		for range 3 {
			loggedInAndOut(t, here)
			for what, i := range map[string]*Issuer{"here": here, "there": there, "after a restart": replica(t, store)} {
				checkedAs(t, what, i, kept, nil)
				if _, err := i.Check(t.Context(), ended, site); err == nil {
					t.Errorf("%s: the session that has ended lives again", what)
				}
			}
		}
		synctest.Wait() // the watchers, which have looked at this moment, too
		loads := store.loads
		for range 100 {
			checkedAs(t, "often", here, kept, nil)
		}
		if store.loads != loads {
			t.Errorf("%d more exchanges with the store", store.loads-loads)
		}
		revoke(t, here)
		loggedInAndOut(t, here)
		for _, i := range []*Issuer{here, there, replica(t, store)} {
			if _, err := i.Check(t.Context(), kept, site); err == nil {
				t.Error("a revoked session lives again")
			}
		}
	})
}

// A session may end where the store cannot be reached, and be in memory elsewhere.
func TestASessionThatEndsWhileTheStoreFailsStaysEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &faulty{memory: &memory{}}
		here, there := replica(t, store), replica(t, store)
		ended := started(t, here)
		time.Sleep(2 * skew)
		checkedAs(t, "before", there, ended, nil)
		store.down.Store(true)
		here.EndSession(t.Context(), ended)
		checkedAs(t, "here, at once", here, ended, ErrEnded)
		loggedInAndOut(t, here)
		checkedAs(t, "here, and the ledger has forgotten it", here, ended, ErrEnded)
		store.down.Store(false)
		time.Sleep(2*savedUses + saveEvery)
		for what, i := range map[string]*Issuer{"here": here, "there": there, "after a restart": replica(t, store)} {
			if _, err := i.Check(t.Context(), ended, site); err == nil {
				t.Errorf("%s: it lives again", what)
			}
		}
		if n := here.ending.len(); n != 0 {
			t.Errorf("%d sessions are still to be removed", n)
		}
	})
}

// A client whose tokens are renewed is remembered by that.
func TestLoggingOutOftenEndsNoTokensThatAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here := replica(t, &memory{})
		here.ledger.limits.ended = 100 // which is more than there are in an hour
		dashboard := issued(t, here)
		for range 6 {
			for range 60 {
				sub, err := here.Check(t.Context(), issued(t, here).Access, site)
				if err != nil {
					t.Fatal(err)
				}
				here.End(sub.Client, sub.Family)
				time.Sleep(time.Minute)
				if _, err := here.Check(t.Context(), dashboard.Access, site); err != nil && !errors.Is(err, ErrExpired) {
					t.Fatalf("its access token: %v", err)
				}
			}
			var err error
			if dashboard, err = here.Refresh(t.Context(), dashboard.Refresh, site, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
	})
}

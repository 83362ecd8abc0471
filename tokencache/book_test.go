// Processes that are killed while they open, renew and end sessions: what the next one knows
// of those that live at the server.

package tokencache

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/store"
)

const longest = 14 * 24 * time.Hour

// plain seals nothing, as where there is no cache.
type plain struct{}

func (plain) Encrypt(plaintext, _ []byte) ([]byte, error)  { return plaintext, nil }
func (plain) Decrypt(ciphertext, _ []byte) ([]byte, error) { return ciphertext, nil }
func (plain) Name(parts ...string) string                  { return strings.Join(parts, " ") }

// hotel is a server with sessions, each with the tokens that are good now.
type hotel struct {
	mu   sync.Mutex
	n    int
	live map[int]string // session → access token
}

func (h *hotel) token(session int) *Token {
	h.n++
	h.live[session] = fmt.Sprint("access-", h.n)
	return &Token{Access: secret.New(h.live[session]), Refresh: secret.New(fmt.Sprint("refresh-", h.n)), Requested: time.Now(), Lifetime: time.Hour}
}

func (h *hotel) open() (session int, tok *Token) {
	h.mu.Lock()
	defer h.mu.Unlock()
	session = h.n + 1
	return session, h.token(session)
}

// renew replaces the tokens of a session.
func (h *hotel) renew(session int) *Token {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.token(session)
}

// end ends the session of an access token, if that is good.
func (h *hotel) end(tok *Token) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.live, func(_ int, access string) bool { return access == tok.Access.Reveal() })
}

func (h *hotel) sessions() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.live)
}

// keeper is a process with a book.
type keeper struct {
	*Book
	hotel  *hotel
	stop   context.CancelFunc
	ended  chan struct{}
	mu     sync.Mutex
	said   []string
	maybe  int // sessions that may have been left and whose tokens nobody has
	tokens []string
	keep   bool // what was left behind cannot be ended now
}

// keep starts a process. Others have ended if ended says so.
func keep(h *hotel, to store.Store, sealer sealed.Sealer, process string, ended func(string) bool) *keeper {
	k := &keeper{hotel: h, ended: make(chan struct{})}
	shared := sealed.New(sealed.Options{
		Keys: func() (sealed.Sealer, error) { return sealer, nil }, Holder: process, Process: process, Ended: ended,
		Log: func(message string, err error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.said = append(k.said, fmt.Sprint(message, ": ", err))
		},
	})
	shared.Attach(to)
	k.Book = NewBook(shared)
	var ctx context.Context
	ctx, k.stop = context.WithCancel(context.Background())
	k.Open()
	go func() {
		defer close(k.ended)
		k.Run(ctx, k.left)
	}()
	return k
}

func (k *keeper) left(_ context.Context, l *Left) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keep {
		return false
	}
	if !l.Began.IsZero() {
		k.maybe++
	}
	if l.Token != nil {
		k.tokens = append(k.tokens, l.Token.Access.Reveal())
		k.hotel.end(l.Token)
	}
	return true
}

func (k *keeper) found() (maybe int, tokens []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.maybe, slices.Clone(k.tokens)
}

var about = About{Product: "vbr", Origin: "https vbr01:9419", Account: "svc", Own: true}

// login opens a session. gate is asked before and after everything; it does not return in a
// process that was killed.
func (k *keeper) login(ctx context.Context, gate func()) (session int, tok *Token) {
	note := k.Begin(ctx, about, longest)
	gate()
	session, tok = k.hotel.open()
	gate()
	tok.Note = note
	note.Keep(ctx, tok, longest)
	gate()
	return session, tok
}

func (k *keeper) renewed(ctx context.Context, session int, tok *Token, gate func()) *Token {
	tok.Note.Asking(ctx, tok, longest)
	gate()
	next := k.hotel.renew(session)
	gate()
	next.Note = tok.Note
	next.Note.Keep(ctx, next, longest)
	gate()
	return next
}

func (k *keeper) logout(ctx context.Context, tok *Token, gate func()) {
	k.hotel.end(tok)
	gate()
	tok.Note.Strike(ctx)
}

func TestAProcessKilledAtAnyExchangeLeavesNoSessionThatNobodyKnows(t *testing.T) {
	for _, sealer := range []sealed.Sealer{plain{}, newKeys(t)} {
		for at := 1; ; at++ {
			reached := false
			synctest.Test(t, func(t *testing.T) {
				h, to := &hotel{live: map[int]string{}}, newMemory()
				ctx, cancel := context.WithCancel(t.Context())
				dead := &dying{memory: to, at: at}
				gate := func() {
					if dead.done.Load() {
						<-ctx.Done()
					}
				}
				first := keep(h, dead, sealer, "first", nil)
				go func() {
					session, tok := first.login(ctx, gate)
					tok = first.renewed(ctx, session, tok, gate)
					_, other := first.login(ctx, gate)
					first.logout(ctx, tok, gate)
					first.logout(ctx, other, gate)
				}()
				time.Sleep(5 * time.Second)
				reached = dead.done.Load()
				live := h.sessions()

				next := keep(h, to, sealer, "next", func(process string) bool { return process == "first" })
				time.Sleep(10 * time.Second)
				if maybe, _ := next.found(); h.sessions() > maybe || maybe > 1 {
					t.Errorf("killed at exchange %d: %d sessions lived, %d of them live on, %d were told of", at, live, h.sessions(), maybe)
				}
				cancel()
				next.stop()
				first.stop()
				<-next.ended
				if left := to.snapshot(); reached && len(left) > 0 {
					t.Errorf("killed at exchange %d: left in the store is %q", at, slices.Collect(maps.Keys(left)))
				}
				time.Sleep(time.Minute)
			})
			if !reached {
				if at < 10 {
					t.Errorf("only %d exchanges", at)
				}
				break
			}
		}
	}
}

// Processes come, are killed and stop, over one store.
func TestWhateverIsKilledNoSessionIsLeftThatNobodyKnowsAndNoneThatLivesIsEnded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var end any
		synctest.Test(t, func(t *testing.T) {
			m := &keepers{hotel: &hotel{live: map[int]string{}}, store: newMemory(), gone: map[string]bool{}}
			var ctxEnd context.CancelFunc
			m.ctx, ctxEnd = context.WithCancel(context.Background())
			defer func() {
				end = recover()
				ctxEnd()
				for _, k := range m.all {
					k.stop()
				}
				time.Sleep(time.Minute)
			}()
			m.kernel = rapid.Bool().Draw(rt, "the kernel tells")
			for range 2 {
				m.start()
			}
			rt.Repeat(map[string]func(*rapid.T){
				"login": m.login, "renew": m.renew, "logout": m.logout, "kill": m.kill, "stop": m.end, "sleep": m.sleep, "": m.check,
			})
			for len(m.living) > 0 {
				m.killOne(0, 0)
			}
			m.start()
			time.Sleep(2*AbandonedAfter + time.Minute)
			m.settled(rt)
		})
		if end != nil {
			panic(end)
		}
	})
}

// keepers is the model.
type keepers struct {
	ctx    context.Context
	hotel  *hotel
	store  *memory
	kernel bool // tells which processes have ended
	mu     sync.Mutex
	gone   map[string]bool
	all    []*keeper
	living []*livingKeeper
}

type livingKeeper struct {
	*keeper
	name string
	dead *dying
	open map[int]*Token
}

func (m *keepers) start() {
	l := &livingKeeper{name: fmt.Sprint("process-", len(m.all)), dead: &dying{memory: m.store, at: 1 << 30}, open: map[int]*Token{}}
	l.keeper = keep(m.hotel, l.dead, plain{}, l.name, func(process string) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.kernel && m.gone[process]
	})
	m.all, m.living = append(m.all, l.keeper), append(m.living, l)
}

func (m *keepers) one(rt *rapid.T) *livingKeeper {
	if len(m.living) == 0 {
		m.start()
	}
	return m.living[rapid.IntRange(0, len(m.living)-1).Draw(rt, "process")]
}

func (l *livingKeeper) gate(ctx context.Context) func() {
	return func() {
		if l.dead.done.Load() {
			<-ctx.Done()
		}
	}
}

func (m *keepers) login(rt *rapid.T) {
	l := m.one(rt)
	session, tok := l.keeper.login(m.ctx, func() {})
	l.open[session] = tok
}

func (m *keepers) any(rt *rapid.T) (*livingKeeper, int) {
	l := m.one(rt)
	if len(l.open) == 0 {
		m.login(rt)
		rt.Skip("no session")
	}
	return l, rapid.SampledFrom(slices.Sorted(maps.Keys(l.open))).Draw(rt, "session")
}

func (m *keepers) renew(rt *rapid.T) {
	l, session := m.any(rt)
	l.open[session] = l.renewed(m.ctx, session, l.open[session], func() {})
}

func (m *keepers) logout(rt *rapid.T) {
	l, session := m.any(rt)
	l.keeper.logout(m.ctx, l.open[session], func() {})
	delete(l.open, session)
}

// kill kills a process a few exchanges into whatever it does next.
func (m *keepers) kill(rt *rapid.T) {
	m.one(rt)
	m.killOne(rapid.IntRange(0, len(m.living)-1).Draw(rt, "process"), rapid.IntRange(0, 3).Draw(rt, "exchanges"))
}

func (m *keepers) killOne(i, exchanges int) {
	l := m.living[i]
	l.dead.n.Store(int64(l.dead.at - 1 - exchanges))
	go func() {
		for session, tok := range l.open {
			l.renewed(m.ctx, session, tok, l.gate(m.ctx))
		}
		for {
			l.keeper.login(m.ctx, l.gate(m.ctx))
			if m.ctx.Err() != nil {
				return
			}
		}
	}()
	synctest.Wait()
	m.living = slices.Delete(m.living, i, i+1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone[l.name] = true
}

// end stops a process in good order, with some logouts that fail.
func (m *keepers) end(rt *rapid.T) {
	l := m.one(rt)
	fails := rapid.Bool().Draw(rt, "fails")
	l.stop()
	<-l.ended
	for _, tok := range l.open {
		if !fails {
			l.keeper.logout(m.ctx, tok, func() {})
		}
	}
	l.dead.n.Store(int64(l.dead.at))
	m.living = slices.DeleteFunc(m.living, func(other *livingKeeper) bool { return other == l })
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone[l.name] = true
}

func (m *keepers) sleep(rt *rapid.T) {
	time.Sleep(time.Duration(rapid.IntRange(1, 300).Draw(rt, "seconds")) * time.Second)
}

// check is that nobody has ended what lives.
func (m *keepers) check(rt *rapid.T) {
	m.hotel.mu.Lock()
	defer m.hotel.mu.Unlock()
	for _, l := range m.living {
		for session, tok := range l.open {
			if m.hotel.live[session] != tok.Access.Reveal() {
				rt.Fatalf("a session of a process that lives was ended")
			}
		}
	}
}

// settled is that of what the server has, somebody was told.
func (m *keepers) settled(rt *rapid.T) {
	maybe := 0
	for _, k := range m.all {
		n, _ := k.found()
		maybe += n
	}
	if live := m.hotel.sessions(); live > maybe {
		rt.Fatalf("%d sessions live, and nobody was told of more than %d", live, maybe)
	}
	for key := range m.store.snapshot() {
		rt.Fatalf("%s is left in the store", key)
	}
}

func TestWhatALivingProcessHasIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, to := &hotel{live: map[int]string{}}, newMemory()
		first := keep(h, to, plain{}, "", nil)
		first.login(t.Context(), func() {})
		next := keep(h, to, plain{}, "", nil)
		time.Sleep(10 * AbandonedAfter)
		if h.sessions() != 1 {
			t.Error("the session of another process was ended")
		}
		first.stop() // its logout fails
		<-first.ended
		time.Sleep(AbandonedAfter / 2)
		if h.sessions() != 1 {
			t.Error("ended before its owner counts as ended")
		}
		time.Sleep(AbandonedAfter)
		if _, tokens := next.found(); h.sessions() != 0 || len(tokens) != 1 {
			t.Errorf("%d sessions live, ended were %v", h.sessions(), tokens)
		}
		next.stop()
		<-next.ended
		if left := to.snapshot(); len(left) > 0 {
			t.Errorf("left is %q", slices.Collect(maps.Keys(left)))
		}
	})
}

func TestWhatCannotBeEndedNowIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, to := &hotel{live: map[int]string{}}, newMemory()
		ended := func(process string) bool { return process == "first" }
		first := keep(h, to, plain{}, "first", nil)
		first.login(t.Context(), func() {})
		first.stop()
		next := keep(h, to, plain{}, "next", ended)
		next.mu.Lock()
		next.keep = true
		next.mu.Unlock()
		time.Sleep(time.Hour)
		before := to.exchanges()
		time.Sleep(time.Hour)
		if n := to.exchanges() - before; n > 3*int(time.Hour/BeatEvery) {
			t.Errorf("%d exchanges in an hour", n)
		}
		next.mu.Lock()
		next.keep = false
		next.mu.Unlock()
		time.Sleep(10 * time.Minute)
		if h.sessions() != 0 {
			t.Error("not tried again")
		}
		next.stop()
		<-next.ended
	})
}

func TestNoTokenLiesInTheBookInClearText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, sealer := range []sealed.Sealer{plain{}, newKeys(t)} {
			h, to := &hotel{live: map[int]string{}}, newMemory()
			k := keep(h, to, sealer, "", nil)
			session, tok := k.login(t.Context(), func() {})
			k.renewed(t.Context(), session, tok, func() {})
			time.Sleep(time.Hour)
			k.stop()
			<-k.ended
			if len(to.writes) < 5 {
				t.Errorf("%d writes", len(to.writes))
			}
			for _, value := range to.writes {
				// Long enough that no cipher text has one of them by chance.
				for _, text := range []string{"access-1", "refresh-1", "vbr01", `"svc"`} {
					if bytes.Contains(value, []byte(text)) {
						t.Errorf("%s shows", text)
					}
				}
			}
			for key := range to.snapshot() {
				if strings.Contains(key, "svc") || strings.Contains(key, "vbr") {
					t.Errorf("%s shows", key)
				}
			}
		}
	})
}

func TestANoteDoesNotOpenInTheFolderOfAnotherProcess(t *testing.T) {
	v := &volume{instance: "one", keys: newKeys(t)}
	at := v.recordKey("x")
	value, err := at.Seal(noted{About: about})
	if err != nil {
		t.Fatal(err)
	}
	if err := at.Open(value, new(noted)); err != nil {
		t.Error(err)
	}
	other := &volume{instance: "two", keys: v.keys}
	if err := other.recordKey("x").Open(value, new(noted)); err == nil {
		t.Error("it opens")
	}
}

// A storage that fails, in each way: a login waits a bounded time, and what it has taken no
// note of follows when it works again.
func TestALoginDoesNotWaitForAStorageThatDoesNotWork(t *testing.T) {
	for name, fault := range map[string]func(*memory){
		"away": func(m *memory) { m.breakWith(func(string) error { return errStore }) },
		"read-only": func(m *memory) {
			m.breakWith(func(op string) error {
				if op == "store" || op == "delete" || op == "lock" {
					return errStore
				}
				return nil
			})
		},
		"hangs":         func(m *memory) { m.slow(time.Hour) },
		"slow":          func(m *memory) { m.slow(2 * exchangeFor) },
		"full":          func(m *memory) { m.breakWith(func(op string) error { return map[string]error{"store": errStore}[op] }) },
		"does not list": func(m *memory) { m.breakWith(func(op string) error { return map[string]error{"list": errStore}[op] }) },
	} {
		synctest.Test(t, func(t *testing.T) {
			h, to := &hotel{live: map[int]string{}}, newMemory()
			k := keep(h, to, plain{}, "first", nil)
			synctest.Wait()
			fault(to)
			began := time.Now()
			tokens := make([]*Token, 200)
			var wg sync.WaitGroup
			for i := range tokens {
				wg.Go(func() { _, tokens[i] = k.login(t.Context(), func() {}) })
			}
			wg.Wait()
			if took := time.Since(began); took > 3*exchangeFor {
				t.Errorf("%s: 200 logins take %v", name, took)
			}
			began = time.Now()
			_, last := k.login(t.Context(), func() {})
			if took := time.Since(began); took > 2*exchangeFor {
				t.Errorf("%s: a later login takes %v", name, took)
			}
			k.logout(t.Context(), last, func() {})
			time.Sleep(time.Minute)
			to.breakWith(nil)
			to.slow(0)
			time.Sleep(3 * BeatEvery)
			k.stop() // and nobody logs out
			<-k.ended
			next := keep(h, to, plain{}, "next", func(process string) bool { return process == "first" })
			time.Sleep(time.Minute)
			if _, ended := next.found(); h.sessions() != 0 || len(ended) != len(tokens) {
				t.Errorf("%s: %d sessions are known to nobody, %d were ended", name, h.sessions(), len(ended))
			}
			next.stop()
			<-next.ended
			k.mu.Lock()
			defer k.mu.Unlock()
			if len(k.said) > 2 {
				t.Errorf("%s: said is %q", name, k.said)
			}
			time.Sleep(2 * time.Hour) // what hangs
		})
	}
}

func TestRecordsOfAnUnknownKeyAreLeftToWhoeverHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, to := &hotel{live: map[int]string{}}, newMemory()
		keys := newKeys(t)
		first := keep(h, to, keys, "first", nil)
		first.login(t.Context(), func() {})
		first.stop()
		<-first.ended
		other := keep(h, to, newKeys(t), "other", func(process string) bool { return process == "first" })
		time.Sleep(time.Hour)
		other.stop()
		<-other.ended
		if _, tokens := other.found(); len(tokens) > 0 || len(other.said) > 0 {
			t.Errorf("%v %q", tokens, other.said)
		}
		next := keep(h, to, keys, "next", func(process string) bool { return process == "first" })
		time.Sleep(time.Minute)
		if h.sessions() != 0 {
			t.Error("not ended by a process that has the key")
		}
		next.stop()
		<-next.ended
	})
}

func TestWhatIsEndedWhileTheConfigurationGoesIsStruckOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, to := &hotel{live: map[int]string{}}, newMemory()
		k := keep(h, to, plain{}, "first", nil)
		_, tok := k.login(t.Context(), func() {})
		release := k.Hold()
		k.stop()
		<-k.ended
		for _, attached := range []bool{true, false} {
			if at, err := k.store.Storage(); attached {
				if err != nil {
					t.Fatal(err)
				}
				at.Detach()
			} else if err == nil {
				t.Error("the store stays attached")
			}
			if attached {
				k.logout(t.Context(), tok, func() {})
				if left := to.snapshot(); len(left) > 0 {
					t.Errorf("left is %q", slices.Collect(maps.Keys(left)))
				}
				release()
			}
		}
		if k.store.Attached() {
			t.Error("the store stays attached")
		}
	})
}

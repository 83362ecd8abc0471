// Changing a password as a state machine: random events at a real server and real
// files, and what must hold on the wire whatever happens.

package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/lockout"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// passwords are few, so that those of the past come back. Fewer than maxPast.
var passwords = []string{"first-password", "second-password", "third-password", "fourth-password"}

// manyTries is a budget that never stands in the way: holds have to do alone.
var manyTries = lockout.Limit{Tries: 1000, Window: 15 * time.Minute}

// written is a file with a secret, and what it held when.
type written struct {
	path    string
	value   string // empty: it is not there, or has nothing in it
	last    string // the value before it was taken away
	changed time.Time
	before  string // until changed
}

func (w *written) write(rt *rapid.T, value string) {
	w.before, w.changed = w.value, time.Now()
	if w.value != "" {
		w.last = w.value
	}
	w.value = value
	if err := os.RemoveAll(w.path); err != nil {
		rt.Fatal(err)
	}
	if value == "" {
		return
	}
	if err := os.WriteFile(w.path+".new", []byte(value), 0o600); err != nil {
		rt.Fatal(err)
	}
	if err := os.Rename(w.path+".new", w.path); err != nil {
		rt.Fatal(err)
	}
}

// rotationMachine is a source, its server, and what is known of both.
type rotationMachine struct {
	upstream *veeamtest.Server
	state    *State
	server   *Server
	takes    time.Duration // one token request

	mu             sync.Mutex
	faults         []string             // what must not have happened, found out beside the test
	password, next written              // the files
	withNext       bool                 // next_password is configured
	right          string               // the password that the server accepts
	down           bool                 // the server answers 503
	sending        string               // the password under way
	refused        map[string]time.Time // when the server has refused a password last
	loaded         time.Time            // the configuration
	asked          map[bool]bool        // since then, by whether it serves others
	alive          map[bool]bool        // there is a session that the server has not ended, by whether it serves others
	trace          []string
	halves         int
	flying         sync.WaitGroup
}

func TestARotationKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		var end any
		synctest.Test(t, func(*testing.T) {
			m := &rotationMachine{state: NewState()}
			defer func() {
				// rapid ends a run with a panic of its own, which has to leave the
				// bubble of the fake clock before rapid sees it.
				end = recover()
				if m.server != nil {
					m.server.Close()
				}
				m.state.Settle()
				time.Sleep(3 * tokencache.DefaultGrantTimeout) // background grants end here
			}()
			m.begin(rt, dir)
			rt.Repeat(map[string]func(*rapid.T){
				"ask":          m.ask,
				"crowd":        m.crowd,
				"password":     m.changePassword,
				"next":         m.changeNext,
				"half-written": m.halfWritten,
				"unreadable":   m.unreadable,
				"at server":    m.changeAtServer,
				"rotate":       m.rotate,
				"expire":       m.expire,
				"down":         m.goDown,
				"sleep":        m.sleep,
				"reload":       m.reload,
				"":             m.check,
			})
			m.settles(rt)
		})
		switch {
		case fmt.Sprintf("%T", end) == "rapid.invalidData":
			panic(end) // on a line of its own: to rapid it is another end than a failure
		case end != nil:
			panic(end)
		}
	})
}

func (m *rotationMachine) begin(rt *rapid.T, dir string) {
	m.upstream = veeamtest.New(veeamtest.VBR13)
	m.takes = time.Duration(rapid.IntRange(0, 2000).Draw(rt, "takes")) * time.Millisecond
	m.withNext = true
	m.refused, m.alive = map[string]time.Time{}, map[bool]bool{}
	m.password.path, m.next.path = filepath.Join(dir, "password"), filepath.Join(dir, "next")
	m.right = passwords[0]
	m.upstream.SetPassword(veeamtest.DefaultUser, m.right)
	m.password.write(rt, rapid.SampledFrom(passwords).Draw(rt, "password"))
	m.server = m.configured()
}

// configured is a server of one account that serves others, with the files as they are.
func (m *rotationMachine) configured() *Server {
	product, _ := veeam.Lookup("vbr")
	own := &account.Account{Name: veeamtest.DefaultUser, Password: "{file." + m.password.path + "}"}
	if m.withNext {
		own.NextPassword = "{file." + m.next.path + "}"
	}
	own.Prepare(account.Env{Product: "vbr", Serves: true, Expand: expandFile})
	m.loaded, m.asked = time.Now(), map[bool]bool{}
	return NewServer(ServerOptions{
		Product: product, Transport: m, Accounts: []*account.Account{own}, Budget: manyTries, State: m.state,
		Tries:   sealed.New(sealed.Options{Keys: func() (sealed.Sealer, error) { return nil, errors.New("there is no storage") }}),
		Metrics: metrics.New(func() []metrics.Session { return nil }), Log: zap.NewNop(),
	})
}

func expandFile(text string, lookup func(string) (any, bool)) (string, error) {
	match := account.FilePlaceholder().FindStringSubmatch(text)
	if match == nil {
		return text, nil
	}
	value, _ := lookup("file." + match[1])
	return value.(string), nil
}

// source is the account's own, or the one with which it serves others.
func (m *rotationMachine) source(parent bool) *Source {
	a := m.server.Accounts[0]
	key := sourceKey{account: a.Name, Address: Address{"tcp", "vbr01:9419"}, parent: parent}
	return m.server.sessions.source(key, func() *Source {
		return m.server.newSource(key, a, Place{Address: key.Address, Origin: "https tcp vbr01:9419", BaseURL: "https://vbr01:9419", Host: "vbr01:9419"})
	})
}

// RoundTrip is the wire: it sees each credential that is sent.
func (m *rotationMachine) RoundTrip(r *http.Request) (*http.Response, error) {
	body := []byte(nil)
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	form, _ := url.ParseQuery(string(body))
	password := form.Get("password")
	if password == "" {
		return m.upstream.Transport().RoundTrip(r)
	}
	m.begins(password)
	time.Sleep(m.takes)
	resp, err := m.upstream.Transport().RoundTrip(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sending = ""
	if err == nil {
		m.note("%d %s", resp.StatusCode, password)
	}
	switch {
	case err != nil:
	case resp.StatusCode == http.StatusOK:
		delete(m.refused, password)
	case resp.StatusCode < 500:
		m.refused[password] = time.Now()
	}
	return resp, err
}

// note keeps what has happened, for the message of a failure.
func (m *rotationMachine) note(format string, args ...any) {
	m.trace = append(m.trace, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// begins judges a password that is about to be sent.
func (m *rotationMachine) begins(password string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	fault := func(format string, args ...any) {
		m.faults = append(m.faults, fmt.Sprintf(format, args...)+fmt.Sprintf(" (password %q, next_password %q, sent %q)", m.password.value, m.next.value, password))
	}
	if m.sending != "" {
		fault("two credentials of a user are sent at a time: %q, too", m.sending)
	}
	m.sending = password
	if at, ok := m.refused[password]; ok && now.Sub(at) < tokencache.DefaultHoldLeast {
		fault("a refused secret is sent again after %v", now.Sub(at))
	}
	asPassword, asNext := m.password.holds(password, now, true), m.withNext && m.next.holds(password, now, false)
	switch {
	case asPassword:
	case !asNext:
		fault("a secret is sent that is not configured")
	case m.inUse(password):
	default:
		current := m.password.value
		if current == "" {
			current = m.password.last
		}
		if _, ok := m.refused[current]; !ok {
			fault("next_password is sent although the password was not refused")
		}
	}
}

// inUse reports whether requests use a password.
func (m *rotationMachine) inUse(password string) bool {
	for s := range m.server.sessions.sources.all() {
		if l := s.rotation.current.Load(); l != nil && l.credentials.Account.Password.Reveal() == password {
			return true
		}
	}
	return false
}

// holds reports whether a file may be read as this value: it is there, has gone away
// just now, or has gone away for a time.
func (w *written) holds(value string, now time.Time, away bool) bool {
	return w.value == value || w.changed.Equal(now) && w.before == value || away && w.value == "" && w.last == value
}

func (m *rotationMachine) token(parent bool) error {
	m.mu.Lock()
	m.asked[parent] = m.asked[parent] || m.password.value != ""
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, _, err := m.source(parent).Token(ctx, Request{Values: values})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.note("asked, parent %v: %v", parent, err)
	return err
}

func (m *rotationMachine) ask(rt *rapid.T) {
	parent := rapid.Bool().Draw(rt, "parent")
	m.judge(rt, parent, m.token(parent))
}

// judge is what a request may end in: where there is a session it does not fail.
func (m *rotationMachine) judge(rt *rapid.T, parent bool, err error) {
	switch {
	case err == nil:
		m.alive[parent] = true
	case m.alive[parent] && !m.down:
		rt.Fatalf("a request fails although there is a session (parent %v): %v\n%s", parent, err, strings.Join(m.trace, "\n"))
	}
}

func (m *rotationMachine) crowd(rt *rapid.T) {
	n := rapid.IntRange(2, 6).Draw(rt, "requests")
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		wait := time.Duration(rapid.IntRange(0, 300).Draw(rt, "ms")) * time.Millisecond
		all.Go(func() {
			time.Sleep(wait)
			errs[i] = m.token(i%2 == 1)
		})
	}
	all.Wait()
	before := maps.Clone(m.alive)
	for i, err := range errs {
		if parent := i%2 == 1; err == nil || before[parent] {
			m.judge(rt, parent, err)
		}
	}
}

func (m *rotationMachine) write(rt *rapid.T, w *written, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w.write(rt, value)
	m.note("%s: %s", filepath.Base(w.path), value)
}

func (m *rotationMachine) changePassword(rt *rapid.T) {
	m.write(rt, &m.password, rapid.SampledFrom(passwords).Draw(rt, "to"))
}

func (m *rotationMachine) changeNext(rt *rapid.T) {
	m.write(rt, &m.next, rapid.SampledFrom(append([]string{""}, passwords...)).Draw(rt, "to"))
}

func (m *rotationMachine) halfWritten(rt *rapid.T) {
	if !m.asked[false] {
		rt.Skip("what is read first counts")
	}
	w := m.file(rt)
	whole := rapid.SampledFrom(passwords).Draw(rt, "to")
	m.halves++
	m.write(rt, w, fmt.Sprint(whole[:6], m.halves)) // the same half twice would be taken for a whole
	if rapid.Bool().Draw(rt, "asked") {
		m.flying.Go(func() { _ = m.token(false) })
	}
	time.Sleep(time.Duration(rapid.IntRange(1, 95).Draw(rt, "ms")) * time.Millisecond)
	m.write(rt, w, whole)
}

func (m *rotationMachine) file(rt *rapid.T) *written {
	if rapid.Bool().Draw(rt, "next") {
		return &m.next
	}
	return &m.password
}

func (m *rotationMachine) unreadable(rt *rapid.T) {
	if m.password.value == "" {
		m.write(rt, &m.password, m.password.last)
		return
	}
	if !m.asked[false] || !m.asked[true] {
		rt.Skip("nothing would be known")
	}
	// What is there now is noticed first: by the watcher, or by a request.
	time.Sleep(2 * time.Second)
	_, _ = m.token(false), m.token(true)
	m.write(rt, &m.password, "")
}

func (m *rotationMachine) changeAtServer(rt *rapid.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.right = rapid.SampledFrom(passwords).Draw(rt, "to")
	m.upstream.SetPassword(veeamtest.DefaultUser, m.right)
	m.note("server %s", m.right)
}

// rotate is a change as it is meant: at the server, and in one of the files.
func (m *rotationMachine) rotate(rt *rapid.T) {
	m.changeAtServer(rt)
	m.write(rt, m.file(rt), m.right)
}

// expire ends all sessions, as requests notice by a 401.
func (m *rotationMachine) expire(*rapid.T) {
	m.upstream.RevokeAll()
	for _, session := range m.state.Find("", "", "") {
		if tok, _ := session.Current(time.Now()); tok != nil {
			session.Reject(tok)
		}
	}
	clear(m.alive)
}

func (m *rotationMachine) goDown(*rapid.T) {
	if m.down = !m.down; m.down {
		m.upstream.SetFault(veeamtest.Fault{Kind: veeamtest.FaultStatus, Status: 503, On: veeamtest.OnToken})
		return
	}
	m.upstream.ClearFault()
	time.Sleep(20 * time.Second) // the pauses after failures are over
}

func (m *rotationMachine) sleep(rt *rapid.T) {
	time.Sleep(rapid.SampledFrom([]time.Duration{
		10 * time.Millisecond, 120 * time.Millisecond, 600 * time.Millisecond, 3 * time.Second, time.Minute, 5 * time.Minute, 14 * time.Minute, 2 * time.Hour,
	}).Draw(rt, "for"))
	for _, parent := range []bool{false, true} {
		if !m.asked[parent] && time.Since(m.loaded) >= InheritFor {
			m.alive[parent] = false // no request has needed it since the reload
		}
	}
}

func (m *rotationMachine) reload(rt *rapid.T) {
	withNext := rapid.Bool().Draw(rt, "next_password")
	// What a login finds out that is under way at a reload is not known to the next
	// configuration.
	m.flying.Wait()
	for m.busy() {
		time.Sleep(m.takes)
	}
	before := m.server
	m.mu.Lock()
	m.withNext = withNext
	m.note("reload, next_password %v", m.withNext)
	m.server = m.configured()
	m.mu.Unlock()
	before.Close()
}

func (m *rotationMachine) busy() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sending != ""
}

func (m *rotationMachine) check(rt *rapid.T) {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.faults) > 0 {
		rt.Fatalf("%s\n%s", strings.Join(m.faults, "\n"), strings.Join(m.trace, "\n"))
	}
	for password := range m.refused {
		if !slices.Contains(passwords, password) {
			rt.Fatalf("half a secret was sent: %q", password)
		}
	}
}

// settles is the end of every rotation: the server accepts what is configured, and
// after all holds that is used.
func (m *rotationMachine) settles(rt *rapid.T) {
	if m.down {
		m.goDown(rt)
	}
	if m.password.value == "" {
		m.write(rt, &m.password, m.password.last)
	}
	m.mu.Lock()
	m.right = m.password.value
	m.upstream.SetPassword(veeamtest.DefaultUser, m.right)
	m.mu.Unlock()
	time.Sleep(time.Second)
	for _, parent := range []bool{false, true} {
		l := (*candidate)(nil)
		for began := time.Now(); time.Since(began) < 4*time.Hour; time.Sleep(time.Minute) {
			if err := m.token(parent); err == nil {
				if l = m.source(parent).rotation.current.Load(); l.credentials.Account.Password.Reveal() == m.right {
					break
				}
			}
			m.expire(rt)
		}
		if l == nil || l.credentials.Account.Password.Reveal() != m.right {
			rt.Fatalf("the configured password is not in use in the end (parent %v)", parent)
		}
	}
	m.check(rt)
}

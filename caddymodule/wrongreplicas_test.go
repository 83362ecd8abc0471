// A wrong password behind several processes that share a cache, some of which are
// killed and some reloaded.

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-veeam/veeam-auth/caddymodule/records"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// memoryStorage is the storage module of a process whose storage is in memory.
// Its name is in the configuration.
type memoryStorage struct {
	Name string `json:"name"`
}

// memoryStorages has the storages by name.
var memoryStorages sync.Map

func init() { caddy.RegisterModule(memoryStorage{}) }

func (memoryStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.storage.veeam_auth_test", New: func() caddy.Module { return new(memoryStorage) }}
}

func (m memoryStorage) CertMagicStorage() (certmagic.Storage, error) {
	process, ok := memoryStorages.Load(m.Name)
	if !ok {
		return nil, errors.New("no storage of this name")
	}
	return asStorage(process.(*memorystore.Process)), nil
}

// asStorage completes a process of a memorystore.
func asStorage(process *memorystore.Process) certmagic.Storage {
	return struct {
		unusedStorage
		*memorystore.Process
	}{Process: process}
}

// inMemory is a storage for a process of its own.
func inMemory(storage *memorystore.Storage) certmagic.Storage { return asStorage(storage.Process()) }

// unusedStorage is what a cache asks a storage only to remove records that are a
// month old.
type unusedStorage struct{}

func (unusedStorage) Exists(context.Context, string) bool { return false }

func (unusedStorage) Stat(context.Context, string) (info certmagic.KeyInfo, err error) {
	return info, nil
}

// replica stands for a process of its own: its cache has another name in the
// configuration, so that it shares no session and nothing that it has counted.
type replica struct {
	process *processState
	name    string
	store   *memorystore.Process
	current atomic.Pointer[Transport]
	dead    atomic.Bool
	to      http.RoundTripper
}

var errDead = errors.New("the process was killed")

// RoundTrip implements http.RoundTripper for what the process sends.
func (p *replica) RoundTrip(req *http.Request) (*http.Response, error) {
	if p.dead.Load() {
		return nil, errDead
	}
	return p.to.RoundTrip(req)
}

// processes are those of a test.
type processes struct {
	*testing.T
	server        *veeamtest.Server
	storage       memorystore.Storage
	key, password string
	started       int
	all           []*Transport
	live          [3]atomic.Pointer[replica]
}

// load gives a process a configuration, in the place of the one it has.
func (ps *processes) load(p *replica) {
	ps.Helper()
	old := p.current.Load()
	next := provisionInMemory(ps, &Transport{
		process:  p.process,
		Accounts: []*account.Account{{Name: veeamtest.DefaultUser, Password: "{file." + ps.password + "}"}},
		Cache:    &records.Cache{EncryptionKey: ps.key, StorageRaw: []byte(`{"module": "veeam_auth_test", "name": "` + p.name + `"}`)},
	}, p)
	ps.all = append(ps.all, next)
	p.current.Store(next)
	if old != nil {
		_ = old.Cleanup()
	}
}

// start starts a process in the place of another.
func (ps *processes) start(i int) {
	ps.Helper()
	ps.started++
	p := &replica{process: newProcess(), name: fmt.Sprint("process ", ps.started), store: ps.storage.Process(), to: ps.server.Transport()}
	memoryStorages.Store(p.name, p.store)
	ps.load(p)
	ps.live[i].Store(p)
}

// kill ends a process without giving it the time for anything, and starts another
// in its place.
func (ps *processes) kill(i int) {
	ps.Helper()
	p := ps.live[i].Load()
	p.store.Kill()
	p.dead.Store(true)
	ps.start(i)
}

// asked is what one request has come to.
type asked struct {
	at     time.Time
	status int
}

// ask sends a request to one of the processes.
func (ps *processes) ask(i int) (a asked, killed bool) {
	p := ps.live[i].Load()
	res, err := p.current.Load().RoundTrip(proxied(context.Background(), &requestState{route: veeam.RouteProtected}))
	if p.dead.Load() {
		return a, true
	}
	if err != nil {
		ps.Error(err)
		return a, true
	}
	_ = res.Body.Close()
	seconds, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if res.StatusCode != http.StatusOK && (res.StatusCode != http.StatusServiceUnavailable || err != nil || seconds < 1) {
		ps.Errorf("status %d, Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
	}
	return asked{time.Now(), res.StatusCode}, false
}

// tokenRequests counts those that the server was sent before a moment.
func (ps *processes) tokenRequests(before time.Time) (n int) {
	for _, r := range ps.server.Seen() {
		if r.Time.Before(before) {
			n++
		}
	}
	return n
}

func TestThreeProcessesSendAWrongPasswordSixTimesInTwoHours(t *testing.T) {
	t.Parallel()
	const (
		clients = 50
		during  = 2 * time.Hour
	)
	dir := t.TempDir()
	_, key := newKeyFile(t)
	synctest.Test(t, func(t *testing.T) {
		ps := &processes{T: t, key: key, password: filepath.Join(dir, "password")}
		ps.server = veeamtest.New(veeamtest.VBR13, veeamtest.WithLatency(50*time.Millisecond))
		defer func() {
			for _, tr := range ps.all {
				_ = tr.Cleanup()
			}
			for _, tr := range ps.all {
				tr.server.State.Settle()
			}
		}()
		writeSecret(t, ps.password, "wrong")
		for i := range ps.live {
			ps.start(i)
		}
		began := time.Now()
		var (
			right atomic.Pointer[time.Time] // when the right password was written
			first atomic.Pointer[time.Time] // success
			sent  atomic.Int64
			wg    sync.WaitGroup
		)
		ctx, enough := context.WithCancel(context.Background())
		for client := range clients {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(uint64(client), 0))
				for i := client; ctx.Err() == nil; i++ {
					since := right.Load()
					a, killed := ps.ask(i % len(ps.live))
					sent.Add(1)
					switch {
					case killed:
					case a.status == http.StatusOK:
						first.CompareAndSwap(nil, &a.at)
					case since != nil && time.Since(*since) > 2*time.Second:
						t.Errorf("status %d %v after the right password was written", a.status, time.Since(*since))
					}
					time.Sleep(20*time.Second + time.Duration(random.IntN(40_000))*time.Millisecond)
				}
			})
		}
		for _, event := range []struct {
			at time.Duration
			do func()
		}{
			{2 * time.Minute, func() { ps.load(ps.live[0].Load()) }},
			{3 * time.Minute, func() { ps.kill(1) }},
			{12 * time.Minute, func() { ps.load(ps.live[1].Load()) }},
			{31 * time.Minute, func() { ps.load(ps.live[2].Load()) }},
			{50 * time.Minute, func() { ps.kill(2) }},
			{70 * time.Minute, func() { ps.load(ps.live[0].Load()) }},
			{100 * time.Minute, func() { ps.load(ps.live[2].Load()) }},
		} {
			time.Sleep(time.Until(began.Add(event.at)))
			event.do()
		}
		time.Sleep(time.Until(began.Add(during)))
		tries, early := ps.tokenRequests(time.Now()), ps.tokenRequests(began.Add(10*time.Minute))
		if tries > 6 || tries < 2 || early > 2 || first.Load() != nil {
			t.Errorf("%d token requests, %d in the first ten minutes, for %d requests of clients", tries, early, sent.Load())
		}

		writeSecret(t, ps.password, veeamtest.DefaultPassword)
		written := time.Now()
		right.Store(&written)
		for i := 0; time.Since(written) < 2*time.Minute; i++ { // a secret is read when somebody asks
			if a, killed := ps.ask(i % len(ps.live)); !killed && a.status == http.StatusOK {
				first.CompareAndSwap(nil, &a.at)
			}
			time.Sleep(200 * time.Millisecond)
		}
		enough()
		wg.Wait()
		switch at := first.Load(); {
		case at == nil:
			t.Error("the right password helps nobody")
		case at.Sub(written) > 2*time.Second:
			t.Errorf("first success %v after the right password was written", at.Sub(written))
		default:
			t.Logf("%d requests of clients: %d token requests, %d in the first ten minutes; first success after %v",
				sent.Load(), tries, early, at.Sub(written))
		}
		if n := ps.tokenRequests(time.Now()); n != tries+1 {
			t.Errorf("%d token requests with the right password", n-tries)
		}
	})
}

// writeSecret replaces a file whole.
func writeSecret(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

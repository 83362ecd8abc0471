// The issuers of the process: their storage over reloads, and one that hangs.

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-veeam/veeam-auth/caddymodule/storages"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// hangingStorage does not answer, and does not heed the context, as a folder on a
// server that is gone.
type hangingStorage struct {
	certmagic.Storage
	hang chan struct{}
}

func (s hangingStorage) Lock(context.Context, string) error {
	<-s.hang
	return fs.ErrNotExist
}

func (s hangingStorage) Load(context.Context, string) ([]byte, error) {
	<-s.hang
	return nil, fs.ErrNotExist
}

func TestAStorageThatHangsDoesNotKeepAConfigurationFromEnding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := hangingStorage{hang: make(chan struct{})}
		defer close(storage.hang)
		i, release := issuer.Acquire(storages.Key(storage), storage)
		go i.Start(unseenRevocations, func() { tryTokenStorage(t.Context(), storage, nil, zap.NewNop()) })
		time.Sleep(time.Minute)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			release()
		}()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Error("it waits for the storage")
		}
	})
}

// closable is a storage that Caddy closes with its configuration, as it does with
// the one of Redis.
type closable struct {
	*certmagic.FileStorage
	closed atomic.Bool
}

var errShut = errors.New("the storage is closed")

func (c *closable) Load(ctx context.Context, key string) ([]byte, error) {
	if c.closed.Load() {
		return nil, errShut
	}
	return c.FileStorage.Load(ctx, key)
}

func (c *closable) Lock(ctx context.Context, name string) error {
	if c.closed.Load() {
		return errShut
	}
	return c.FileStorage.Lock(ctx, name)
}

// hanging is a storage that answers nothing any more and looks at no context.
type hanging struct {
	*certmagic.FileStorage
	hangs atomic.Pointer[chan struct{}]
}

func (s *hanging) wait() {
	if until := s.hangs.Load(); until != nil {
		<-*until
	}
}

func (s *hanging) Load(ctx context.Context, key string) ([]byte, error) {
	s.wait()
	return s.FileStorage.Load(ctx, key)
}

func (*hanging) Lock(context.Context, string) error { return nil }

func (s *hanging) Unlock(context.Context, string) error {
	s.wait()
	return nil
}

func TestAStorageThatHangsHoldsNobodyForEver(t *testing.T) {
	t.Parallel()
	dir, other := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		storage := &hanging{FileStorage: &certmagic.FileStorage{Path: dir}}
		known, release := issuer.Acquire(storages.Key(storage), storage)
		known.Start(unseenRevocations, func() { tryTokenStorage(t.Context(), storage, nil, zap.NewNop()) })
		pair, err := known.Issue(t.Context(), issuer.Subject{Client: "grafana"}, "site", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := issuer.New(issuer.NewKeys(&hanging{FileStorage: &certmagic.FileStorage{Path: other}})).Issue(t.Context(), issuer.Subject{}, "site", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // the storage was not read a moment ago
		until := make(chan struct{})
		storage.hangs.Store(&until)
		began := time.Now()
		var wg sync.WaitGroup
		for range 50 { // each names a key that is not known here
			wg.Go(func() {
				var unreadable *issuer.KeysError
				if _, err := known.Check(t.Context(), foreign.Access, "site"); !errors.As(err, &unreadable) {
					t.Errorf("a key that cannot be read: %v", err)
				}
			})
		}
		if _, err := known.Check(t.Context(), pair.Access, "site"); err != nil {
			t.Errorf("a token of a key that is known: %v", err)
		}
		wg.Wait()
		if took := time.Since(began); took > 2*store.For {
			t.Errorf("%v for 50 requests", took)
		}
		release()
		if took := time.Since(began); took > 4*store.For {
			t.Errorf("the end took %v", took)
		}
		close(until)
	})
}

func TestAnOperatorIsToldWhyNoTokenIsJudged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx := provisionContext(t, &caddy.Config{StorageRaw: []byte(`{"module": "file_system", "root": ` + strconv.Quote(dir) + `}`)})
	path := filepath.Join(dir, issuer.RecordsPath("grafana"))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	pair, err := issuer.New(issuer.NewKeys(&hanging{FileStorage: &certmagic.FileStorage{Path: t.TempDir()}})).Issue(t.Context(), issuer.Subject{}, "site", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	h := new(Handler)
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Cleanup() })
	core, logged := observer.New(zap.ErrorLevel)
	h.logger = zap.New(core)
	for range 100 {
		r := fromClient()
		r.Header.Set("Authorization", "Bearer "+pair.Access)
		if _, refusal := h.identify(r, veeam.RouteProtected, pair.Access); refusal == nil || refusal.Reason != veeam.ReasonStorage {
			t.Fatalf("refused with %+v", refusal)
		}
	}
	if n := logged.Len(); n != 1 {
		t.Fatalf("%d lines", n)
	}
	if said := fmt.Sprint(logged.All()[0].ContextMap()); !strings.Contains(said, issuer.RecordsPath("grafana")+" is corrupt: remove it") {
		t.Error(said)
	}
}

func TestTokensUseTheStorageOfTheConfigurationThatRuns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func() *closable { return &closable{FileStorage: &certmagic.FileStorage{Path: dir}} }
	first, second, failed := open(), open(), open()

	before, releaseBefore := issuer.Acquire(storages.Key(first), first)
	before.Start(unseenRevocations, func() { tryTokenStorage(t.Context(), first, nil, zap.NewNop()) })
	pair, err := before.Issue(t.Context(), issuer.Subject{Client: "grafana"}, "site", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	after, releaseAfter := issuer.Acquire(storages.Key(second), second)
	if before != after {
		t.Fatal("a reload forgets who has logged out")
	}
	_, releaseFailed := issuer.Acquire(storages.Key(failed), failed) // a configuration that did not load
	releaseFailed()
	failed.closed.Store(true)
	releaseBefore()
	first.closed.Store(true)

	if err := after.Revoke(t.Context(), "grafana"); err != nil {
		t.Errorf("after a reload: %v", err)
	}
	if _, err := after.Check(t.Context(), pair.Access, "site"); !errors.Is(err, issuer.ErrEnded) {
		t.Errorf("a token from before: %v", err)
	}
	other, err := after.Issue(t.Context(), issuer.Subject{Client: "jenkins"}, "site", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := after.Check(t.Context(), other.Access, "site")
	if err != nil {
		t.Fatal(err)
	}
	after.End(sub.Client, sub.Family)
	releaseAfter() // a logout is told before the process ends

	last := open()
	next, release := issuer.Acquire(storages.Key(last), last)
	defer release()
	next.Start(unseenRevocations, func() { tryTokenStorage(t.Context(), last, nil, zap.NewNop()) })
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err = next.Check(t.Context(), other.Access, "site"); errors.Is(err, issuer.ErrEnded) || time.Now().After(end) {
			break
		}
	}
	if !errors.Is(err, issuer.ErrEnded) {
		t.Errorf("after the next start: %v", err)
	}
}

// The issuers of the process: their storage over reloads, and one that hangs.

package caddymodule

import (
	"context"
	"errors"
	"io/fs"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-veeam/veeam-auth/issuer"
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
	synctest.Test(t, func(t *testing.T) {
		storage := hangingStorage{hang: make(chan struct{})}
		defer close(storage.hang)
		i, release := acquireIssuer(storage)
		if i == nil {
			t.Fatal("no issuer")
		}
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

func TestTokensUseTheStorageOfTheConfigurationThatRuns(t *testing.T) {
	dir := t.TempDir()
	open := func() *closable { return &closable{FileStorage: &certmagic.FileStorage{Path: dir}} }
	first, second, failed := open(), open(), open()

	before, releaseBefore := acquireIssuer(first)
	pair, err := before.Issue(t.Context(), issuer.Subject{Client: "grafana"}, "site", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	after, releaseAfter := acquireIssuer(second)
	if before != after {
		t.Fatal("a reload forgets who has logged out")
	}
	_, releaseFailed := acquireIssuer(failed) // a configuration that did not load
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
	after.End(sub.Family)
	releaseAfter() // a logout is told before the process ends

	next, release := acquireIssuer(open())
	defer release()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err = next.Check(t.Context(), other.Access, "site"); errors.Is(err, issuer.ErrEnded) || time.Now().After(end) {
			break
		}
	}
	if !errors.Is(err, issuer.ErrEnded) {
		t.Errorf("after the next start: %v", err)
	}
}

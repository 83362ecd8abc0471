// The issuers of the process, and a storage that hangs.

package caddymodule

import (
	"context"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
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
		i, key := acquireIssuer(storage)
		if i == nil {
			t.Fatal("no issuer")
		}
		time.Sleep(time.Minute)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = issuerPool.Delete(key)
		}()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Error("it waits for the storage")
		}
	})
}

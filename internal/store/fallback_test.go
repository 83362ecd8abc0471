package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// scripted is a store with one value.
type scripted struct {
	key   string
	err   error // of each write
	locks int
}

func (s *scripted) Lock(context.Context, string) error {
	s.locks++
	return s.err
}

func (s *scripted) Unlock(context.Context, string) error {
	s.locks--
	return nil
}
func (s *scripted) Store(context.Context, string, []byte) error { return s.err }
func (s *scripted) Delete(context.Context, string) error        { return s.err }
func (s *scripted) Load(_ context.Context, key string) ([]byte, error) {
	if key != s.key {
		return nil, fs.ErrNotExist
	}
	return []byte("inner"), nil
}

func TestFallback_KeepsValuesInMemory(t *testing.T) {
	ctx, broken := t.Context(), errors.New("read-only")
	for _, readable := range []bool{false, true} {
		inner := &scripted{err: broken}
		if readable {
			inner.key = "keys"
		}
		f := &Fallback{Inner: inner}
		if !errors.Is(f.Store(ctx, "a", nil), broken) || !errors.Is(f.Lock(ctx, "a"), broken) || !errors.Is(f.Delete(ctx, "a"), broken) {
			t.Error("the inner store is not used")
		}
		f.KeepInMemory(ctx, "keys")
		inner.key = "keys"
		if text, err := f.Load(ctx, "keys"); (err == nil) != readable || readable && string(text) != "inner" {
			t.Errorf("readable %v: %s %v", readable, text, err)
		}
		for _, key := range []string{"veeam/a", "keys"} {
			if err := f.Store(ctx, key, []byte("mine")); err != nil {
				t.Error(err)
			}
			if text, err := f.Load(ctx, key); string(text) != "mine" {
				t.Errorf("%s %v", text, err)
			}
		}
		if old, err := f.Before(ctx, "veeam", time.Now().Add(time.Hour)); err != nil || !slices.Equal(old, []string{"veeam/a"}) {
			t.Errorf("%v %v", old, err)
		}
		if err := f.Delete(ctx, "keys"); err != nil {
			t.Error(err)
		}
		if _, err := f.Load(ctx, "keys"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a value that was deleted: %v", err)
		}
	}
}

func TestFallback_LocksExclude(t *testing.T) {
	inner := &scripted{}
	f := &Fallback{Inner: inner}
	if err := f.Lock(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	f.KeepInMemory(t.Context(), "keys")
	if err := f.Unlock(t.Context(), "a"); err != nil || inner.locks != 0 {
		t.Errorf("a lock of the inner store is not released there: %d %v", inner.locks, err)
	}
	if err := f.Lock(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Lock(ended, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("locked twice: %v", err)
	}
	if err := f.Unlock(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := f.Lock(t.Context(), "a"); err != nil {
		t.Error(err)
	}
}

func TestUnwritable_TellsWhatWillNotPass(t *testing.T) {
	dir := t.TempDir()
	if err := Unwritable(dir); err != nil {
		t.Error(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{file, "/proc/veeam"} {
		if Unwritable(folder) == nil {
			t.Errorf("%s is writable", folder)
		}
	}
}

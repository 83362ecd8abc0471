//go:build unix

// Files that hang: a FIFO that nobody writes to.

package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// fifo makes a file that hangs. answer has those who wait for it go on.
func fifo(t *testing.T, path string) (answer func()) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	// Under a second name, for when something else lies there.
	other := path + "_other"
	if err := os.Link(path, other); err != nil {
		t.Fatal(err)
	}
	return func() {
		if f, err := os.OpenFile(other, os.O_RDWR, 0); err != nil || f.Close() != nil {
			t.Error(err)
		}
	}
}

// replaceFile puts a file in the place of another one.
func replaceFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+"_new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+"_new", path); err != nil {
		t.Fatal(err)
	}
}

// opening counts the goroutines that open a file.
func opening() int {
	stacks := make([]byte, 1<<22)
	for begun := time.Now(); ; time.Sleep(time.Millisecond) { // the goroutine may not have come to it
		n := bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("os.Open("))
		if n > 0 || time.Since(begun) > time.Minute {
			return n
		}
	}
}

// Not parallel: goroutines are counted for the process.
func TestAFileThatHangsHoldsOneReaderAndNoRequest(t *testing.T) {
	before := goleak.IgnoreCurrent()
	for name, account := range map[string]func(path string) *account.Account{
		"password": func(path string) *account.Account { return &account.Account{Password: "{file." + path + "}"} },
		"key":      func(path string) *account.Account { return &account.Account{Grant: "public_key", Key: path} },
	} {
		path := filepath.Join(t.TempDir(), "secret")
		answer := fifo(t, path)
		server := veeamtest.New(veeamtest.VSPC, veeamtest.WithPublicKey(veeamtest.DefaultUser, []byte(veeamtest.PublicKeyXML(&testKey().PublicKey)), false))
		w := &world{T: t, server: server, svc: zap.NewNop()}
		w.wire = &wire{to: server.Transport(), base: server.Base()}
		a := account(path)
		a.Name = veeamtest.DefaultUser
		tr := w.start(a)

		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		var clients sync.WaitGroup
		for range 50 {
			clients.Go(func() {
				if got := w.askIn(ctx, tr, "GET", "/echo", ""); got.String() != "503 secret_unreadable" || !strings.Contains(got.body, "in time") {
					t.Errorf("%s: %v %s", name, got, got.body)
				}
			})
		}
		clients.Wait()
		cancel()
		if n := opening(); n != 1 {
			t.Errorf("%s: %d goroutines open files", name, n)
		}
		content := []byte(veeamtest.DefaultPassword)
		if name == "key" {
			content = keyPEM(testKey())
		}
		replaceFile(t, path, content)
		hung := a.Reading()
		answer()
		<-hung
		w.demand("200")
		_ = tr.Cleanup()
		tr.server.State.Settle()
	}
	goleak.VerifyNone(t, before)
}

// Not parallel: goroutines are counted for the process.
func TestAKeysetThatHangsLeavesSessionsInMemory(t *testing.T) {
	before := goleak.IgnoreCurrent()
	path := filepath.Join(t.TempDir(), "keyset")
	answer := fifo(t, path)
	keys := &upstream.KeyFile{Text: "{file." + path + "}", Expand: expand, Timeout: 20 * time.Millisecond}
	for range 50 {
		if _, err := keys.Read(); err == nil || !strings.Contains(err.Error(), "encryption_key: it could not be read in time") {
			t.Error(err)
		}
	}
	_, err := (account.Seal{Keys: keys.Read}).Option("password", account.SealedPrefix)
	if _, late := errors.AsType[*bounded.LateError](err); !late {
		t.Error(err)
	}
	if n := opening(); n != 1 {
		t.Errorf("%d goroutines open files", n)
	}
	fresh, err := sealed.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	text, err := fresh.Text()
	if err != nil {
		t.Fatal(err)
	}
	replaceFile(t, path, []byte(text))
	answer()
	goleak.VerifyNone(t, before) // the reader has ended
	keys.Timeout = time.Minute   // a file that answers, however busy the machine is
	if _, err := keys.Read(); err != nil {
		t.Error(err)
	}
}

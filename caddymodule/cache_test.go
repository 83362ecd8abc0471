package caddymodule

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/caddymodule/records"
	"github.com/caddy-veeam/veeam-auth/caddymodule/storages"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// newKeyFile makes a keyset in a file, and returns a placeholder for it.
func newKeyFile(t testing.TB) (path, text string) {
	t.Helper()
	keyset, err := sealed.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	if text, err = keyset.Text(); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, "{file." + path + "}"
}

func fileStorage(dir string) []byte {
	return []byte(`{"module": "file_system", "root": "` + dir + `"}`)
}

// cachedOn is a transport with a cache in dir, in a process of its own.
func cachedOn(t testing.TB, server *veeamtest.Server, dir, key, password string) *Transport {
	t.Helper()
	return cachedIn(t, newProcess(), server, dir, key, password)
}

// cachedIn is a transport with a cache in dir, in the process that is named.
func cachedIn(t testing.TB, process *processState, server *veeamtest.Server, dir, key, password string) *Transport {
	t.Helper()
	return provisionInMemory(t, &Transport{
		process:  process,
		Accounts: []*account.Account{{Name: veeamtest.DefaultUser, Password: password}},
		Cache:    &records.Cache{EncryptionKey: key, StorageRaw: fileStorage(dir)},
	}, server.Transport())
}

func ask(t testing.TB, tr *Transport) *http.Response {
	t.Helper()
	res, err := tr.RoundTrip(proxied(context.Background(), &requestState{route: veeam.RouteProtected}))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	return res
}

// quit ends a transport and its sessions, as the end of the process does.
func quit(tr *Transport) {
	_ = tr.Cleanup()
	tr.server.State.Settle()
}

func TestASessionOutlivesItsProcessInTheCache(t *testing.T) {
	t.Parallel()
	server, dir := veeamtest.New(veeamtest.VBR13), t.TempDir()
	path, key := newKeyFile(t)
	for range 5 {
		tr := cachedOn(t, server, dir, key, veeamtest.DefaultPassword)
		if res := ask(t, tr); res.StatusCode != http.StatusOK {
			t.Fatalf("status %d", res.StatusCode)
		}
		quit(tr)
	}
	if c := server.Counters(); c.TokenRequests != 1 || c.Logouts != 0 {
		t.Errorf("%d token requests, %d logouts", c.TokenRequests, c.Logouts)
	}
	text, _ := os.ReadFile(path)
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		for _, secret := range []string{veeamtest.DefaultPassword, string(text), veeamtest.DefaultUser} {
			if strings.Contains(string(content), secret) || strings.Contains(path, secret) {
				t.Errorf("%s shows a secret", path)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestTheReasonOfAFailedLoginIsShared(t *testing.T) {
	t.Parallel()
	server, dir := veeamtest.New(veeamtest.Azure), t.TempDir()
	_, key := newKeyFile(t)
	for range 3 { // the first asks the server, the others the cache
		tr := provisionInMemory(t, &Transport{
			Product:  "azure",
			Accounts: []*account.Account{{Name: veeamtest.DefaultMFAUser, Password: veeamtest.DefaultMFAPassword}}, // no totp_secret
			Cache:    &records.Cache{EncryptionKey: key, StorageRaw: fileStorage(dir)},
		}, server.Transport())
		res, err := tr.RoundTrip(proxied(context.Background(), &requestState{route: veeam.RouteProtected}))
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(body), "("+string(veeam.ReasonCodeNeeded)+")") {
			t.Errorf("another reason: %v %s", err, body)
		}
		quit(tr)
	}
	if n := server.Counters().TokenRequests; n != 1 {
		t.Errorf("%d token requests", n)
	}
}

func TestARefusedPasswordIsHeldOverRestarts(t *testing.T) {
	t.Parallel()
	server, dir := veeamtest.New(veeamtest.VBR13), t.TempDir()
	_, key := newKeyFile(t)
	for range 5 {
		tr := cachedOn(t, server, dir, key, "wrong")
		told := listen(t, &tr.process.Events)
		res, err := tr.RoundTrip(proxied(t.Context(), &requestState{route: veeam.RouteProtected}))
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || !strings.Contains(string(body), " 1 of 2 tries left") {
			t.Errorf("status %d, Retry-After %q: %s", res.StatusCode, res.Header.Get("Retry-After"), body)
		}
		quit(tr)
		got, want := told.take(t), `credential_held {"reason":"credential_refused","tries_left":1}`
		for ; len(got) == 0 && t.Context().Err() == nil; got = told.take(t) {
			time.Sleep(time.Millisecond)
		}
		if len(got) != 1 || got[0] != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	if n := server.Counters().TokenRequests; n != 1 {
		t.Errorf("%d token requests", n)
	}
	tr := cachedOn(t, server, dir, key, veeamtest.DefaultPassword)
	defer quit(tr)
	if res := ask(t, tr); res.StatusCode != http.StatusOK {
		t.Errorf("the right password: status %d", res.StatusCode)
	}
}

// rotateKeys does what `caddy veeam-auth keygen --rotate` does.
func rotateKeys(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := sealed.ReadKeyset(string(text))
	if err == nil {
		keys, err = keys.Rotate()
	}
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := keys.Text()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(rotated), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestARotatedKeyFindsTheSession(t *testing.T) {
	t.Parallel()
	server, dir := veeamtest.New(veeamtest.VBR13), t.TempDir()
	path, key := newKeyFile(t)
	for range 4 {
		tr := cachedOn(t, server, dir, key, veeamtest.DefaultPassword)
		ask(t, tr)
		quit(tr)
		rotateKeys(t, path)
	}
	if n := server.Counters().TokenRequests; n != 1 {
		t.Errorf("%d token requests", n)
	}
}

func TestWithoutItsKeyACacheIsInMemoryOnly(t *testing.T) {
	t.Parallel()
	server, dir := veeamtest.New(veeamtest.VBR13), t.TempDir()
	for range 2 {
		tr := cachedOn(t, server, dir, "{file."+dir+"/none}", veeamtest.DefaultPassword)
		if res := ask(t, tr); res.StatusCode != http.StatusOK {
			t.Fatalf("status %d", res.StatusCode)
		}
		quit(tr)
	}
	if c := server.Counters(); c.TokenRequests != 2 || c.Logouts != 2 {
		t.Errorf("%d token requests, %d logouts", c.TokenRequests, c.Logouts)
	}
}

func TestAReloadWithACacheCostsNoLogin(t *testing.T) {
	t.Parallel()
	server, dir := veeamtest.New(veeamtest.VBR13), t.TempDir()
	_, key := newKeyFile(t)
	tr := cachedOn(t, server, dir, key, veeamtest.DefaultPassword)
	ask(t, tr)
	for range 20 {
		next := cachedIn(t, tr.process, server, dir, key, veeamtest.DefaultPassword)
		quit(tr)
		ask(t, next)
		tr = next
	}
	quit(tr)
	if n := server.Counters().TokenRequests; n != 1 {
		t.Errorf("%d token requests", n)
	}
	if next := tr.process.AcquireCache(tr.Cache.EncryptionKey, tr.Cache.StorageRaw, expand, func(string, error) {}); next == tr.Cache.Shared() {
		t.Errorf("cache %v is left", next.ID)
	}
}

func TestStorageOptionsAreCheckedWithoutTouchingTheStorage(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`{"module": "file_system", "root": "/nonexistent/at/all"}`: "",
		`{"module": "file_system", "rooot": "/x"}`:                 "rooot",
		`{"module": "dropbox"}`:                                    "dropbox",
		`{"root": "/x"}`:                                           "the module is missing",
		`7`:                                                        "json",
	} {
		err := storages.Check([]byte(raw))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestALoginWaitsLittleForAStorageThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := veeamtest.New(veeamtest.VBR13)
		_, key := newKeyFile(t)
		tr := cachedOn(t, server, t.TempDir(), key, veeamtest.DefaultPassword)
		hanging := make(chan struct{})
		defer tr.Cache.Shared().AttachLate(store.Opened(hangingStore{hanging})).Detach()
		began := time.Now()
		if res := ask(t, tr); res.StatusCode != http.StatusOK {
			t.Errorf("status %d", res.StatusCode)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
		close(hanging)
		quit(tr)
	})
}

// hangingStore is a network file system whose server is away.
type hangingStore struct{ until chan struct{} }

func (h hangingStore) wait() error { <-h.until; return os.ErrClosed }

func (h hangingStore) Lock(context.Context, string) error           { return h.wait() }
func (h hangingStore) Unlock(context.Context, string) error         { return h.wait() }
func (h hangingStore) Delete(context.Context, string) error         { return h.wait() }
func (h hangingStore) Load(context.Context, string) ([]byte, error) { return nil, h.wait() }

func (h hangingStore) Store(context.Context, string, []byte) error { return h.wait() }

func TestOldRecordsAreRemovedFromAFolder(t *testing.T) {
	t.Parallel()
	server := veeamtest.New(veeamtest.VBR13)
	dir, password := t.TempDir(), filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(veeamtest.DefaultPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	_, key := newKeyFile(t)
	sessions := filepath.Join(dir, "veeam_auth", "sessions")
	if err := os.MkdirAll(sessions, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{"old": 31 * 24 * time.Hour, "young": 29 * 24 * time.Hour} {
		path := filepath.Join(sessions, name)
		if err := os.WriteFile(path, []byte("sealed"), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	tr := cachedOn(t, server, dir, key, "{file."+password+"}")
	defer func() { _ = tr.Cleanup() }()
	if res := ask(t, tr); res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	for start := time.Now(); time.Since(start) < 2*time.Minute; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(sessions, "old")); os.IsNotExist(err) {
			break
		}
	}
	left, err := os.ReadDir(sessions)
	if err != nil || len(left) != 2 { // the young one and the session
		t.Errorf("%v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(sessions, "young")); err != nil {
		t.Error(err)
	}
}

// What a configuration touches that is only validated.

package caddymodule

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
)

// watchFolders has the kernel tell of everything that is opened, read or made in
// folders. The result returns what it has told, as names of files.
func watchFolders(t *testing.T, folders ...string) func() []string {
	t.Helper()
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	for _, folder := range folders {
		if _, err := syscall.InotifyAddWatch(fd, folder, syscall.IN_OPEN|syscall.IN_ACCESS|syscall.IN_CREATE|syscall.IN_DELETE|syscall.IN_MODIFY); err != nil {
			t.Fatal(err)
		}
	}
	return func() (names []string) {
		buffer := make([]byte, 1<<16)
		n, err := syscall.Read(fd, buffer)
		if err != nil {
			return nil // nothing has happened
		}
		for at := 0; at < n; {
			event := (*syscall.InotifyEvent)(unsafe.Pointer(&buffer[at]))
			at += syscall.SizeofInotifyEvent
			names = append(names, strings.TrimRight(string(buffer[at:at+int(event.Len)]), "\x00"))
			at += int(event.Len)
		}
		return names
	}
}

func TestValidatingReadsNoSecretAndNoStorage(t *testing.T) {
	t.Parallel()
	secrets, storage, cache := t.TempDir(), t.TempDir(), t.TempDir()
	for _, name := range []string{"password", "next", "totp", "key", "passphrase"} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte("not-a-key-1"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	folders := []string{secrets, storage, cache}
	for _, path := range []string{issuer.KeyPath, issuer.IndexPath} {
		path = filepath.Join(storage, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		folders = append(folders, filepath.Dir(path))
	}
	text := strings.NewReplacer("SECRETS", secrets, "STORAGE", storage, "CACHE", cache).Replace(`{
	admin off
	persist_config off
	storage file_system STORAGE
}
http://127.0.0.1:59417 {
	veeam_auth https://127.0.0.1:1 {
		product azure
		account svc-plain {file.SECRETS/password}
		account svc-code {
			password {file.SECRETS/password}
			next_password {file.SECRETS/next}
			totp_secret {file.SECRETS/totp}
		}
		cache {
			encryption_key {file.SECRETS/key}
			storage file_system CACHE
		}
		passthrough
	}
}
http://127.0.0.1:59418 {
	veeam_auth https://127.0.0.1:1 {
		product vspc
		account svc-key {
			grant public_key
			key SECRETS/key {file.SECRETS/passphrase}
		}
	}
}
`)
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	config := new(caddy.Config)
	if err := json.Unmarshal(adapted, config); err != nil {
		t.Fatal(err)
	}
	touched := watchFolders(t, folders...)
	if err := validate(config); err != nil {
		t.Fatal(err)
	}
	if names := touched(); len(names) != 0 {
		t.Errorf("validating has touched %q", names)
	}
	if _, err := os.ReadFile(filepath.Join(secrets, "key")); err != nil || len(touched()) == 0 {
		t.Error("a file that is read would not have been noticed")
	}
}

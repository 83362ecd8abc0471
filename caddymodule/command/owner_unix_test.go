//go:build unix

package command

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What root rotates must stay readable for Caddy, which runs as another user.
func TestAReplacedFileKeepsItsOwner(t *testing.T) {
	name := filepath.Join(t.TempDir(), "key")
	if err := makeKeyFile(name, nil); err != nil {
		t.Fatal(err)
	}
	want := os.Getuid()
	if want == 0 {
		want = 65534
		if err := os.Chown(name, want, want); err != nil {
			t.Fatal(err)
		}
	}
	if err := rotateKeyFile(name); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if owner := int(info.Sys().(*syscall.Stat_t).Uid); owner != want {
		t.Errorf("it belongs to %d, not to %d", owner, want)
	}
	if info.Mode().Perm() != 0o600 {
		t.Error(info.Mode())
	}
}

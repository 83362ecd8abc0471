// Tests of what tells one version of a file from another.

package secret

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// A file is another one although it has the size and the time of the one before: what
// replaces files may keep both.
func TestAFileOfTheSameSizeAndTimeIsAnotherVersion(t *testing.T) {
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	write := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, replace := range map[string]func(dir string){
		"a file that is moved there": func(dir string) {
			write(dir+"/next", "new")
			must(os.Rename(dir+"/next", dir+"/one/secret"))
		},
		"a link further up that leads elsewhere": func(dir string) {
			write(dir+"/two/secret", "new")
			must(os.Symlink("two", dir+"/next"))
			must(os.Rename(dir+"/next", dir+"/now"))
		},
		"other content in its place": func(dir string) {
			if runtime.GOOS != "linux" {
				write(dir+"/one/secret", "longer") // others do not tell when a file was changed
				return
			}
			before := Glimpse(dir + "/one/secret").changed
			for deadline := time.Now().Add(time.Minute); Glimpse(dir+"/one/secret").changed == before && time.Now().Before(deadline); {
				write(dir+"/one/secret", "new") // until the clock of the file system has moved
			}
		},
	} {
		dir := t.TempDir()
		must(os.Mkdir(dir+"/one", 0o700))
		must(os.Mkdir(dir+"/two", 0o700))
		must(os.Symlink("one", dir+"/now"))
		write(dir+"/one/secret", "old")
		path := filepath.Join(dir, "now", "secret")
		// Versions that nothing was compared with yet: Windows reads the identity of a file
		// at the first comparison.
		look, glimpse := versionOf(path), Glimpse(path)
		replace(dir)
		if look.Same(versionOf(path)) || glimpse.Same(Glimpse(path)) {
			t.Errorf("%s: the version stays", name)
		}
		look, glimpse = versionOf(path), Glimpse(path)
		if !look.Same(versionOf(path)) || !glimpse.Same(Glimpse(path)) {
			t.Errorf("%s: a file that stays has two versions", name)
		}
	}
}

package secret

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestAnErrorOfAFileNamesItsVariable(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	t.Setenv("X_SECOND", missing)
	t.Setenv("X_FIRST", missing)
	t.Setenv("X_FOLDER", dir)
	_, err := newReader(nil).Plain(missing)
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != "no such file or directory; the variable X_FIRST names the file" {
		t.Errorf("%v", err)
	}
	if _, err := newReader(nil).Plain(dir); !errors.Is(err, syscall.EISDIR) || !strings.HasSuffix(err.Error(), "; the variable X_FOLDER names the file") {
		t.Errorf("%v", err)
	}
	t.Chdir(dir)
	if _, err := newReader(nil).Plain("./missing"); !errors.Is(err, fs.ErrNotExist) || !strings.HasSuffix(err.Error(), " in the working directory "+dir) {
		t.Errorf("%v", err)
	}
	if _, err := newReader(nil).Plain(missing + "2"); err == nil || err.Error() != "no such file or directory" {
		t.Errorf("no variable names it: %v", err)
	}
	_, err = os.Open(missing)
	unwrapped := errors.New("module: reading: " + err.Error())
	for _, err := range []error{err, unwrapped} {
		if got := WithVariable(err); !errors.Is(got, err) || got.Error() != err.Error()+"; the variable X_FIRST names the file" {
			t.Errorf("%v", got)
		}
	}
	other := errors.New("open the window: no")
	if got := WithVariable(other); got.Error() != other.Error() {
		t.Errorf("%v", got)
	}
}

// Files that the commands read, those with secrets that they write, and the one of
// scratch codes that they change.

package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// open opens a file to read. The name - stands for standard input.
func open(cmd *cobra.Command, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	return os.Open(name)
}

// secretFile is a file that appears under its name when all of it is written. It
// is begun before anything is sent, so that a folder that cannot be written to is
// found out in time.
type secretFile struct {
	name  string
	force bool
	tmp   *os.File
	out   io.Writer    // instead of a file, if its name is -
	shown bool         // the text was written to out
	seal  *commandSeal // nil: the text is written in clear text
}

// newSecretFile begins a file that only its owner can read. The name - stands for
// out. Without force a file that is there stays there.
func newSecretFile(name string, force bool, out io.Writer) (*secretFile, error) {
	f := &secretFile{name: name, force: force}
	if name == "-" {
		f.out = out
		return f, nil
	}
	if name == "" {
		return nil, errors.New("a file name is empty")
	}
	there, err := os.Lstat(name)
	switch {
	case err == nil && there.IsDir():
		return nil, fmt.Errorf("%s is a directory: a file name is required", name)
	case err == nil && !force:
		return nil, existsError(name)
	}
	f.tmp, err = os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".new-") // of mode 0600
	if err == nil && there != nil {
		keepOwner(f.tmp, there)
	}
	return f, err
}

// existsError is the name of a file that would have to be replaced.
type existsError string

func (name existsError) Error() string {
	return string(name) + " exists; --force replaces it"
}

// distinct refuses two options that name the same file: what is written last would
// replace the other. The arguments are options, each with its file behind it.
func distinct(optionsAndFiles ...string) error {
	options := map[string]string{}
	for pair := range slices.Chunk(optionsAndFiles, 2) {
		option, name := pair[0], pair[1]
		if name == "" || name == "-" {
			continue
		}
		place := whereabouts(name)
		if other, ok := options[place]; ok {
			return fmt.Errorf("%s and %s are the same file %s: each requires its own", other, option, name)
		}
		options[place] = option
	}
	return nil
}

// whereabouts is where a file lies, or will lie, without links.
func whereabouts(name string) string {
	name, _ = filepath.Abs(name)
	if resolved, err := filepath.EvalSymlinks(name); err == nil {
		return resolved
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(name)); err == nil {
		return filepath.Join(dir, filepath.Base(name))
	}
	return name
}

// prepare writes the text where it lasts, but not yet under its name. To an output it is
// written now: who reads there may be gone, and that has to be known in time.
func (f *secretFile) prepare(text string) error {
	if f.shown {
		return nil
	}
	text, err := f.seal.seal(text)
	if err != nil {
		return err
	}
	if f.out != nil {
		_, err = io.WriteString(f.out, text)
		f.shown = err == nil
		return err
	}
	if err := f.tmp.Truncate(0); err != nil {
		return err
	}
	if _, err := f.tmp.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return f.tmp.Sync()
}

// commit gives the file its name.
func (f *secretFile) commit(text string) error {
	if err := f.prepare(text); err != nil || f.out != nil {
		return err
	}
	if err := f.tmp.Close(); err != nil {
		return err
	}
	if err := f.publish(); err != nil {
		return err
	}
	f.tmp = nil
	return syncDir(filepath.Dir(f.name))
}

// publish renames the file. A link fails where a name exists, a rename does not.
func (f *secretFile) publish() error {
	if f.force {
		return os.Rename(f.tmp.Name(), f.name)
	}
	err := os.Link(f.tmp.Name(), f.name)
	switch {
	case err == nil:
		return os.Remove(f.tmp.Name())
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s was created meanwhile; nothing was replaced", f.name)
	}
	return os.Rename(f.tmp.Name(), f.name) // a file system without links
}

// discard takes the file away again, unless it has got its name.
func (f *secretFile) discard() {
	if f.tmp != nil {
		f.tmp.Close()
		os.Remove(f.tmp.Name())
		f.tmp = nil
	}
}

// pending is where the text is before commit.
func (f *secretFile) pending() string {
	if f.out != nil {
		return "standard output"
	}
	return f.tmp.Name()
}

// String is the name of the file in messages.
func (f *secretFile) String() string {
	if f.out != nil {
		return "standard output"
	}
	return f.name
}

func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	_ = dir.Sync() // not every file system knows this
	return nil
}

// usedMark begins the line of a scratch code that was used.
const usedMark = "used "

// scratchCodes is a file with one scratch code in each line. It may be sealed as a
// whole.
type scratchCodes struct {
	name  string
	seal  *commandSeal // nil: it is in clear text
	lines []string
	next  int // the line of the first unused code, -1 if there is none
}

// maxScratchCodes bounds what is read of the file.
const maxScratchCodes = 1 << 16

// readScratchCodes reads the codes. seal is asked for the key if they are sealed.
func readScratchCodes(name string, seal func() (*commandSeal, error)) (*scratchCodes, error) {
	name, err := filepath.EvalSymlinks(name) // the file is replaced, not the link
	if err != nil {
		return nil, err
	}
	content, err := secret.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if len(content) >= maxScratchCodes {
		return nil, notScratchCodes(name, 1)
	}
	codes := &scratchCodes{name: name, next: -1}
	text, err := codes.open(content, seal)
	if err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		unused := isScratchCode(lines.Text())
		if unused && codes.seal == nil && !likeScratchCode().MatchString(lines.Text()) {
			return nil, notScratchCodes(name, len(codes.lines)+1)
		}
		if unused && codes.next < 0 {
			codes.next = len(codes.lines)
		}
		codes.lines = append(codes.lines, lines.Text())
	}
	if codes.next < 0 {
		return nil, fmt.Errorf("%s has no unused scratch codes", name)
	}
	return codes, nil
}

// likeScratchCode is a line with a short word. Azure documents eight digits, others
// nothing. Another file that was named by mistake must be neither sent nor changed.
var likeScratchCode = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^\s*[0-9A-Za-z-]{4,24}\s*$`) })

func notScratchCodes(name string, line int) error {
	return fmt.Errorf("%s does not look like a file with scratch codes (line %d); nothing was sent, and the file was not changed", name, line)
}

// open returns the text of the file.
func (c *scratchCodes) open(content string, seal func() (*commandSeal, error)) (text string, err error) {
	if !account.IsSealed(content) {
		return content, nil
	}
	c.seal, err = seal()
	switch {
	case errors.Is(err, errNoSealKey):
		return "", fmt.Errorf("%s is sealed: set --key to the file of its key; %w", c.name, err)
	case err != nil:
		return "", fmt.Errorf("%s is sealed, and its key cannot be read: %w", c.name, err)
	}
	if text, err = c.seal.open(content); err != nil {
		return "", fmt.Errorf("%s cannot be opened with %s: it was sealed with another key (set --key), or for another account than %s (%s); nothing was sent",
			c.name, c.seal.from, c.seal.Account, c.seal.Product)
	}
	return text, nil
}

// isScratchCode reports whether a line holds an unused code: it is neither empty
// nor a comment nor marked.
func isScratchCode(line string) bool {
	line = strings.TrimSpace(line)
	return line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, usedMark)
}

// left is how many codes are unused.
func (c *scratchCodes) left() (n int) {
	for _, line := range c.lines {
		if isScratchCode(line) {
			n++
		}
	}
	return n
}

// take marks the next code as used, and returns it once that is on the disk.
func (c *scratchCodes) take() (secret.Value, error) {
	code := strings.TrimSpace(c.lines[c.next])
	c.lines[c.next] = usedMark + time.Now().UTC().Format(time.RFC3339) + " " + code
	file, err := newSecretFile(c.name, true, nil)
	if err != nil {
		return secret.Value{}, err
	}
	defer file.discard()
	file.seal = c.seal
	if err := file.commit(strings.Join(c.lines, "\n") + "\n"); err != nil {
		return secret.Value{}, err
	}
	return secret.New(code), nil
}

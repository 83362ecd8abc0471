// The tests of the commands of log chains.

package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/logchain"
)

// runLog runs `caddy veeam-auth log …` and returns what it printed and its exit code.
func runLog(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	cmd := newLogCommand()
	var printed bytes.Buffer
	cmd.SetOut(&printed)
	cmd.SetErr(&printed)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	if err != nil {
		code = 1
		_, _ = fmt.Sscanf(err.Error(), "exiting with status %d", &code)
	}
	return printed.String(), code
}

func TestLogVerifySaysWhereALogIsNotTheOneThatWasWritten(t *testing.T) {
	dir := t.TempDir()
	key, log, copies := filepath.Join(dir, "key.pem"), filepath.Join(dir, "Svc.ResAPI.log"), filepath.Join(dir, "copies.log")
	out, code := runLog(t, "keygen", key)
	public := strings.TrimSpace(out)
	if info, err := os.Stat(key); code != 0 || err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(out, code, err)
	}
	if out, code := runLog(t, "keygen", key); code != 1 || !strings.Contains(out, "exists: use another name") {
		t.Errorf("a second key: %d %s", code, out)
	}
	private, err := logchain.ReadKey(key)
	if err != nil {
		t.Fatal(err)
	}
	options := logchain.Options{Key: private, Every: 10, File: log, Of: "here:" + log}
	file, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	if options.Copies, err = os.Create(copies); err != nil {
		t.Fatal(err)
	}
	w := logchain.NewWriter(file, options)
	for line := range strings.Lines(strings.Repeat(svcHour, 6)) {
		if _, err := w.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}

	if out, code := runLog(t, "verify", "--key", public, "--copies", copies, log); code != 0 || !strings.HasSuffix(out, "proved to line 35, ended\nfiles: 1, lines: 35, findings: 0\n") {
		t.Errorf("whole: %d %s", code, out)
	}
	if out, code := runLog(t, "verify", "--key", key, filepath.Join(dir, "other.log")); code != 1 || !strings.Contains(out, "other.log") {
		t.Errorf("no such file: %d %s", code, out)
	}
	if out, code := runLog(t, "verify", log); code != 1 || !strings.Contains(out, "--key is missing") {
		t.Errorf("without a key: %d %s", code, out)
	}
	change := func(from, to string) {
		t.Helper()
		if err := os.WriteFile(log, bytes.Replace(text, []byte(from), []byte(to), 1), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	change("user 'bob'", "user 'bib'")
	if out, code := runLog(t, "verify", "--key", public, log); code != 2 || !strings.HasPrefix(out, log+":4: changed: ") {
		t.Errorf("changed: %d %s", code, out)
	}
	out, code = runLog(t, "verify", "--json", "--key", public, log)
	var reports []logchain.Report
	object, _, _ := strings.Cut(out, "\nError: ")
	if err := json.Unmarshal([]byte(object), &reports); err != nil || code != 2 || len(reports) != 1 || len(reports[0].Findings) != 1 || reports[0].Findings[0].Line != 4 {
		t.Errorf("as JSON: %v %d %s", err, code, out)
	}
	if err := os.WriteFile(log, text[:bytes.Index(text, []byte("checkpoint"))-len("[03.10.2022 10:30:00.020] <00> Info         Log chain ")], 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := runLog(t, "verify", "--key", public, "--copies", copies, log); code != 2 || !strings.Contains(out, copies+":2: removed: ") {
		t.Errorf("cut: %d %s", code, out)
	}
}

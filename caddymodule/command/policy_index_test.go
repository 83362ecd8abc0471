package command

// The command that makes an index file, and the file in a configuration.

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const ownDescription = `{"openapi": "3.0.1", "info": {"version": "1.4-rev0"}, "paths": {
	"/api/v1/jobs": {"get": {"operationId": "GetAllJobs", "responses": {}}},
	"/api/v1/newThings": {"get": {"operationId": "GetNewThings", "responses": {}}},
	"/api/v1/newThings/frob": {"post": {"operationId": "Frob"}},
	"/api/v1/{a}b": {"get": {}}
}}`

func policyIndex(t *testing.T, in string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := newPolicyIndexCommand()
	cmd.SetArgs(args)
	var out, errs bytes.Buffer
	cmd.SetIn(strings.NewReader(in))
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

func TestPolicyIndexMakesAFileThatASiteMayName(t *testing.T) {
	dir := t.TempDir()
	description, file := filepath.Join(dir, "openapi.json"), filepath.Join(dir, "own.tsv")
	if err := os.WriteFile(description, []byte(ownDescription), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, err := policyIndex(t, "", description, "--out", file); err != nil {
		t.Fatal(err, stderr)
	} else {
		for _, want := range []string{"no rule matches vbr POST /api/v1/newThings/frob", "left out: ", "a parameter must be a whole segment", "vbr 1.4-rev0: 2 read, 0 run,", "1 unknown"} {
			if !strings.Contains(stderr, want) {
				t.Errorf("standard error has no %q:\n%s", want, stderr)
			}
		}
	}
	printed, _, err := policyIndex(t, ownDescription, "-", "--product", "vbr")
	if written, _ := os.ReadFile(file); err != nil || printed != string(written) || !strings.HasPrefix(printed, "# product\tvbr\n# versions\t1.4-rev0\nread\tGET\t") {
		t.Errorf("%v\n%s", err, printed)
	}

	site, _, _ := strings.Cut(guarded, "https://azure")
	with := strings.Replace(site, "\t\tallow preset monitor\n", "\t\tallow preset monitor\n\t\tindex_file "+file+"\n", 1)
	if out, code := policyTest(t, site, "GET", "/api/v1/newThings"); code != exitFailed || !strings.Contains(out, "class unknown") {
		t.Errorf("without the file: %d\n%s", code, out)
	}
	if out, code := policyTest(t, with, "GET", "/api/v1/newThings"); code != 0 || !strings.Contains(out, "GetNewThings (-), class read") {
		t.Errorf("with the file: %d\n%s", code, out)
	}
	if out, code := policyTest(t, with, "POST", "/api/v1/newThings/frob"); code != exitFailed || !strings.Contains(out, "class unknown") {
		t.Errorf("without a rule: %d\n%s", code, out)
	}
	if err := os.WriteFile(file, []byte(printed+"harmless\tGET\t/x\tX\tX\ta\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := policyTest(t, with, "GET", "/api/v1/newThings"); code != exitUsage || !strings.Contains(out, file+": line 6: unknown class") {
		t.Errorf("a broken file: %d\n%s", code, out)
	}
}

func TestPolicyIndexRefusesWhatIsNoDescription(t *testing.T) {
	for in, want := range map[string]string{
		"<html>": "it is not an API description", `{"openapi": "3.0.1", "paths": {"/x": {"get": {}}}}`: "specify the product",
	} {
		if out, _, err := policyIndex(t, in, "-"); err == nil || !strings.Contains(err.Error(), want) || out != "" {
			t.Errorf("%s: %v %s", in, err, out)
		}
	}
	if _, _, err := policyIndex(t, "", filepath.Join(t.TempDir(), "missing.json")); err == nil {
		t.Error("no file, no error")
	}
}

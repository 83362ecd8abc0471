// What the commands answer to a wrong use, over the whole tree of them.

package command

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caddy-veeam/veeam-auth/internal/keys"
)

// use runs a command of a new tree as caddy would, and returns what it prints to standard
// error, and its exit code.
func use(t *testing.T, args ...string) (stderr string, code int) {
	t.Helper()
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	group := &cobra.Command{Use: Group}
	command.CobraFunc(group)
	root.AddCommand(group)
	root.SetArgs(append([]string{Group}, args...))
	var out, errOut bytes.Buffer
	root.SetIn(strings.NewReader(""))
	root.SetOut(&out)
	root.SetErr(&errOut)
	err := root.ExecuteContext(t.Context())
	if exit, ok := errors.AsType[*exitError](err); ok {
		return errOut.String(), exit.code
	}
	if err != nil {
		code = exitUsage
	}
	if strings.Contains(fmt.Sprint(err), "exiting with status") {
		_, _ = fmt.Sscanf(err.Error(), "exiting with status %d", &code)
	}
	return errOut.String(), code
}

// eachCommand calls do for each command of the tree with the words that call it.
func eachCommand(do func(cmd *cobra.Command, words []string)) {
	var walk func(cmd *cobra.Command, words []string)
	walk = func(cmd *cobra.Command, words []string) {
		do(cmd, words)
		for _, sub := range cmd.Commands() {
			walk(sub, append(slices.Clone(words), sub.Name()))
		}
	}
	for _, cmd := range commands() {
		walk(cmd, []string{cmd.Name()})
	}
}

func TestAWrongUseIsAnsweredWithWhatTheCommandTakes(t *testing.T) {
	const canary = "Hunter2-is-a-secret"
	tried := 0
	wrong := func(words []string, says string, args ...string) {
		t.Helper()
		tried++
		stderr, code := use(t, slices.Concat(words, args)...)
		path := "caddy veeam-auth " + strings.Join(words, " ")
		for _, want := range []string{"Error: " + says, "\nUsage: " + path, "\nSee " + path + " --help\n"} {
			if !strings.Contains(stderr, want) {
				t.Errorf("%q %q: %q is missing in %q", words, args, want, stderr)
			}
		}
		if code != exitUsage || strings.Contains(stderr, canary) || strings.Contains(stderr, "(s)") {
			t.Errorf("%q %q: %d, %s", words, args, code, stderr)
		}
	}
	many := slices.Repeat([]string{canary}, 9)
	eachCommand(func(cmd *cobra.Command, words []string) {
		wrong(words, "unknown option --no-such", "--no-such="+canary)
		wrong(words, "unknown option -Z", "-Z"+canary)
		wrong(words, "an option is not written as", "--="+canary)
		wrong(words, errSecretArgument.Error(), keys.Make())
		takes := cmd.Use[strings.LastIndexByte(cmd.Use, ' ')+1:]
		switch {
		case strings.Contains(cmd.Use, ">..."): // any number of them
		case cmd.HasSubCommands() && takes == cmd.Name():
			wrong(words, "unknown command; write one of ", many...)
		case words[0] == "sessions" && (cmd.Name() == "code" || cmd.Name() == "credential"), words[0] == "keys" && cmd.Name() == "hash":
			wrong(words, errSecretArgument.Error(), many...)
		default:
			wrong(words, "there are more arguments than the command takes", many...)
		}
		if _, argument, ok := strings.Cut(cmd.Use, " "); ok && (strings.HasPrefix(argument, "<") || strings.HasSuffix(argument, " <file>") || strings.HasSuffix(argument, ">...")) {
			wrong(words, "an argument is missing")
		}
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			switch kind := flag.Value.Type(); kind {
			case "bool", "int", "duration":
				wrong(words, "the value of --"+flag.Name+" is not of type "+kind, "--"+flag.Name+"="+canary)
			default:
				wrong(words, "--"+flag.Name+" requires a value", "--"+flag.Name)
			}
		})
	})
	wrong([]string{"enroll"}, "--out is required", "svc-monitor")
	wrong([]string{"health"}, "write only one of --live, --ready and --startup", "--live", "--ready")
	if tried < 200 {
		t.Errorf("only %d uses", tried)
	}
}

func TestOneThingIsCountedWithoutAnS(t *testing.T) {
	if got := count(0, "request") + ", " + count(1, "request") + ", " + count(2, "request"); got != "0 requests, 1 request, 2 requests" {
		t.Error(got)
	}
}

// There is one encoder of JSON for people: others write \u003c for <.
func TestJSONForPeopleHasItsAngleBrackets(t *testing.T) {
	var out bytes.Buffer
	if err := printKeys(&out, []keys.State{{Name: "<name>"}}, true); err != nil || !strings.Contains(out.String(), `"name": "<name>"`) {
		t.Errorf("%v: %s", err, &out)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	encoders := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(file, "_test.go") {
			encoders += bytes.Count(text, []byte("json.NewEncoder(")) + bytes.Count(text, []byte("json.MarshalIndent("))
		}
	}
	if encoders != 1 {
		t.Errorf("%d encoders: use printJSON or plainJSON", encoders)
	}
}

// What a running Caddy refuses has the exit code of docs/commands.md: 1 where the use of the
// command is wrong, otherwise 2.
func TestARefusalOfCaddyHasTheExitCodeOfItsKind(t *testing.T) {
	status := 0
	caddy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, `{"error":"no <name> is configured"}`)
	}))
	defer caddy.Close()
	for _, c := range []struct{ status, code int }{
		{http.StatusBadRequest, exitUsage},
		{http.StatusNotFound, exitUsage},
		{http.StatusForbidden, exitFailed},
		{http.StatusConflict, exitFailed},
		{http.StatusServiceUnavailable, exitFailed},
	} {
		for _, args := range [][]string{
			{"keys", "issue", "grafana", "--for", "90d", "--preset", "admin"},
			{"keys", "rotate", "x"},
			{"keys", "revoke", "x"},
			{"sessions", "login", "nobody"},
			{"tokens", "revoke", "nobody"},
			{"approvals", "deny", "apr_x"},
		} {
			status = c.status
			stderr, code := use(t, append(args, "--address", strings.TrimPrefix(caddy.URL, "http://"))...)
			if code != c.code || stderr != "Error: no <name> is configured\n" {
				t.Errorf("%q, %d: %d, %q", args, c.status, code, stderr)
			}
		}
	}
}

// Without an admin endpoint, commands that act use the listener of the page, or say what to
// write.
func TestWithoutAnAdminEndpointCommandsUseThePage(t *testing.T) {
	t.Parallel()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"error":"the page answers"}`)
	}))
	defer page.Close()
	for config, says := range map[string]string{
		`{"admin":{"disabled":true},"apps":{"veeam_auth":{"page":{"listen":"` + strings.TrimPrefix(page.URL, "http://") + `"}}}}`: "the page answers",
		`{"admin":{"disabled":true},"apps":{"veeam_auth":{"page":{}}}}`:                                                           "there is no page: write veeam_auth { page localhost:2021 } into the global options, or remove admin off, and restart Caddy",
		`{"admin":{"disabled":true}}`: "there is no page",
	} {
		file := filepath.Join(t.TempDir(), "caddy.json")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"sessions", "login", "svc", "--force"}, {"keys", "revoke", "x"}, {"tokens", "list"}, {"approvals", "list"}} {
			if stderr, _ := use(t, append(args, "--config", file)...); !strings.Contains(stderr, says) {
				t.Errorf("%q with %s: %s", args, config, stderr)
			}
		}
		if stderr, _ := use(t, "health", "--config", file); !strings.Contains(stderr, "this command requires it: remove admin off") {
			t.Errorf("health with %s: %s", config, stderr)
		}
	}
}

// An error would repeat the address.
func TestAPasswordInAnAddressIsRefusedAndNotRepeated(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"pin", "u:c4n4ry@127.0.0.1:1"},
		{"pin", "https://u:c4n4ry@127.0.0.1:1/x"},
		{"sessions", "--address", "http://u:c4n4ry@h:1"},
		{"check", "--upstream", "u:c4n4ry@h:1"},
		{"health", "--address=u:c4n4ry@h:1"},
		{"policy", "test", "-", "GET", "http://u:c4n4ry@h/x"},
	} {
		if stderr, code := use(t, args...); code != exitUsage || strings.Contains(stderr, "c4n4ry") || !strings.Contains(stderr, errPasswordInAddress.Error()) {
			t.Errorf("%v: %d, %s", args, code, stderr)
		}
	}
	for _, address := range []string{"h:1", "https://h:1/a@b", "http://localhost:9419/api/v1/x?user=svc@lab.local", "svc@lab.local", "/u:p@h", "[::1]:9419"} {
		if hasPassword(address) {
			t.Errorf("%s has no password", address)
		}
	}
}

// Package commands shows what a user who types the commands gets to see: each
// script of testdata runs the caddy of this module, in a process of its own,
// against emulated servers behind sockets.
package commands

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/pquerna/otp/totp"
	"github.com/rogpeppe/go-internal/testscript"

	_ "github.com/caddy-veeam/veeam-auth"
	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestMain(m *testing.M) {
	// Scripts that wait for a new verification code do not work meanwhile.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){"caddy": caddycmd.Main})
}

func TestCommands(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			w := &world{}
			env.Values[key{}] = w
			env.Defer(func() {
				for _, s := range w.servers {
					s.Close()
				}
			})
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("PASSWORD", veeamtest.DefaultPassword)
			env.Setenv("MFA_PASSWORD", veeamtest.DefaultMFAPassword)
			env.Setenv("TOTP", veeamtest.DefaultTOTPSecret)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"server": server, "fault": fault, "counter": counter, "mode": mode,
			"clean": clean, "seed": seed, "nofiles": nofiles, "scratchfile": scratchFile, "requests": requests,
			"code": code, "freshcode": freshCode, "pending": pending, "enrolled": enrolled, "terminate": terminate, "hides": hides, "until": until,
			"request": request, "authenticator": authenticator, "port": port, "approval": approval,
		},
	})
}

// world are the servers of one script. The last one is the one that the commands
// below are about.
type world struct {
	servers []*veeamtest.Server
	period  time.Duration // of the verification codes of the last one
}

type key struct{}

func current(ts *testscript.TestScript) *veeamtest.Server {
	w := ts.Value(key{}).(*world)
	if len(w.servers) == 0 {
		ts.Fatalf("no server")
	}
	return w.servers[len(w.servers)-1]
}

var options = map[string]func(value string) veeamtest.Option{
	"versions": func(v string) veeamtest.Option { return veeamtest.WithAPIVersions(strings.Split(v, ",")...) },
	"polls": func(v string) veeamtest.Option {
		n, _ := strconv.Atoi(v)
		return veeamtest.WithActionPolls(n)
	},
	"codes": func(v string) veeamtest.Option { // the period of a verification code
		d, _ := time.ParseDuration(v)
		return veeamtest.WithCodePeriod(d)
	},
	"throttle": func(v string) veeamtest.Option {
		d, _ := time.ParseDuration(v)
		return veeamtest.WithTokenStatus429(0, d)
	},
	"unlimited": func(string) veeamtest.Option { return veeamtest.WithLoopbackUnlimited() },
	"hidden":    func(string) veeamtest.Option { return veeamtest.WithHiddenServer() },
	"redirect": func(v string) veeamtest.Option {
		return veeamtest.WithAccount(veeamtest.Account{Username: "sso", Password: "x", RedirectTo: v})
	},
}

// server <profile> [option=value]... starts a server and sets URL, HOST and PIN.
func server(ts *testscript.TestScript, _ bool, args []string) {
	w := ts.Value(key{}).(*world)
	w.period = 30 * time.Second
	var opts []veeamtest.Option
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		if options[name] == nil {
			ts.Fatalf("no option %s", name)
		}
		if name == "codes" {
			w.period, _ = time.ParseDuration(value)
		}
		opts = append(opts, options[name](value))
	}
	s := veeamtest.New(veeamtest.Profile(args[0]), opts...)
	ts.Check(s.Start())
	w.servers = append(w.servers, s)
	ts.Setenv("URL", s.URL())
	ts.Setenv("HOST", strings.TrimPrefix(s.URL(), "https://"))
	ts.Setenv("PIN", harness.Pin(s))
}

// fault off | fault <match> [status=n] [count=n] [skip=n] [after] [reset] [token]
// [html] [stuck] disturbs the requests to operations that contain match.
func fault(ts *testscript.TestScript, _ bool, args []string) {
	s := current(ts)
	if args[0] == "off" {
		s.ClearFault()
		return
	}
	var faults []veeamtest.Fault
	f := veeamtest.Fault{Kind: veeamtest.FaultStatus, On: veeamtest.OnProtected | veeamtest.OnAnonymous, Match: args[0]}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		n, _ := strconv.Atoi(value)
		switch name {
		case "status":
			f.Status = n
		case "count":
			f.Count = n
		case "skip":
			f.Skip = n
		case "after":
			f.After = true
		case "reset":
			f.Kind = veeamtest.FaultReset
		case "html":
			f.Kind = veeamtest.FaultHTML
		case "token":
			f.On, f.Match = veeamtest.OnToken, ""
		case "stuck": // and MFA cannot be turned off again
			faults = append(faults, veeamtest.Fault{Kind: veeamtest.FaultStatus, On: veeamtest.OnProtected, Match: "disableMfa", Status: 500})
		default:
			ts.Fatalf("no setting %s", name)
		}
	}
	s.SetFault(append(faults, f)...)
}

// counter <name> <value> compares a counter of the server.
func counter(ts *testscript.TestScript, neg bool, args []string) {
	got := fmt.Sprint(reflect.ValueOf(current(ts).Counters()).FieldByName(args[0]))
	if (got == args[1]) == neg {
		ts.Fatalf("%s is %s", args[0], got)
	}
}

// requests resets the counters of the server.
func requests(ts *testscript.TestScript, _ bool, _ []string) { current(ts).ResetCounters() }

// mode <octal> <file>... compares permissions.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args[1:] {
		info, err := os.Stat(ts.MkAbs(name))
		ts.Check(err)
		if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
			ts.Fatalf("%s has mode %s", name, got)
		}
	}
}

// clean demands that neither the output nor the errors of the last command repeat
// a secret of any server or account.
func clean(ts *testscript.TestScript, _ bool, _ []string) {
	secrets := []string{veeamtest.DefaultPassword, veeamtest.DefaultMFAPassword, veeamtest.DefaultTOTPSecret, ts.Getenv("P12")}
	for _, s := range ts.Value(key{}).(*world).servers {
		secrets = append(secrets, s.Issued()...)
	}
	for _, stream := range []string{"stdout", "stderr"} {
		text := ts.ReadFile(stream)
		for _, secret := range secrets {
			if secret != "" && strings.Contains(text, secret) {
				ts.Fatalf("%s shows the secret %q", stream, secret)
			}
		}
	}
}

// hides <pattern>... demands that files hold no secret of any server, nor a key, in
// any usual encoding, and are one sealed line.
func hides(ts *testscript.TestScript, _ bool, args []string) {
	var secrets []string
	for _, s := range ts.Value(key{}).(*world).servers {
		secrets = append(secrets, s.Issued()...)
	}
	if len(secrets) < 6 {
		ts.Fatalf("%d secrets", len(secrets))
	}
	for _, arg := range args {
		names, err := filepath.Glob(ts.MkAbs(arg))
		ts.Check(err)
		if len(names) != 1 {
			ts.Fatalf("%s: %v", arg, names)
		}
		text := ts.ReadFile(names[0])
		encoded, sealed := strings.CutPrefix(text, "veeam-auth:sealed:v1:")
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if !sealed || strings.Count(text, "\n") != 1 || err != nil {
			ts.Fatalf("%s is not one sealed line: %q", arg, text)
		}
		for _, secret := range secrets {
			for _, form := range forms(secret) {
				if strings.Contains(text, form) || strings.Contains(string(raw), form) {
					ts.Fatalf("%s shows the secret %q as %q", arg, secret, form)
				}
			}
		}
	}
}

// forms are a secret and its encodings, in base64 at each place of a group.
func forms(secret string) []string {
	found := []string{secret, strings.ToLower(secret), hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret)))}
	for before := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", before) + secret))
		inner := strings.TrimRight(encoded, "=")
		inner = inner[min(4, 4*before) : len(inner)-2]
		found = append(found, inner, strings.NewReplacer("+", "-", "/", "_").Replace(inner))
	}
	return found
}

// seed <user> <file> | seed <user> compares the seed that the server has for a
// user with the content of a file, or with none.
func seed(ts *testscript.TestScript, neg bool, args []string) {
	want := ""
	if len(args) == 2 {
		want = strings.TrimSpace(ts.ReadFile(args[1]))
		if uri, err := url.Parse(want); err == nil && uri.Scheme == "otpauth" {
			want = uri.Query().Get("secret")
		}
	}
	if got := current(ts).TOTPSecret(args[0]); (got == want) == neg {
		ts.Fatalf("the server has %q, not %q", got, want)
	}
}

// enrolled waits until a user has a second factor.
func enrolled(ts *testscript.TestScript, _ bool, args []string) {
	if !harness.Until(func() bool { return current(ts).TOTPSecret(args[0]) != "" }) {
		ts.Fatalf("%s has none", args[0])
	}
}

// terminate <file> sends SIGTERM to the process whose number a file has.
func terminate(ts *testscript.TestScript, _ bool, args []string) {
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	process, err := os.FindProcess(pid)
	ts.Check(err)
	ts.Check(process.Signal(syscall.SIGTERM))
}

// nofiles demands that no unfinished file is left in the folder.
func nofiles(ts *testscript.TestScript, neg bool, _ []string) {
	found := []string{}
	ts.Check(fs.WalkDir(os.DirFS(ts.MkAbs(".")), ".", func(path string, _ fs.DirEntry, err error) error {
		if strings.Contains(path, ".new-") {
			found = append(found, path)
		}
		return err
	}))
	if (len(found) == 0) == neg {
		ts.Fatalf("left over: %v", found)
	}
}

// scratchfile <user> <file> writes the codes that the server has for a user.
func scratchFile(ts *testscript.TestScript, _ bool, args []string) {
	text := "# of " + args[0] + "\n\n" + strings.Join(current(ts).ScratchCodes(args[0]), "\n") + "\n"
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o644))
}

// freshcode waits for the next verification code. One that was used is refused, and
// check sends no other.
func freshCode(ts *testscript.TestScript, _ bool, _ []string) {
	period := int64(ts.Value(key{}).(*world).period / time.Second)
	for used := time.Now().Unix() / period; time.Now().Unix()/period == used; {
		time.Sleep(100 * time.Millisecond)
	}
}

// code <n> <command>... runs a command, which must end with the exit code n.
func code(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("the exit code is %d, not %d:\n%s%s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// pending <user> compares the seed that the server has for a user with the
// unfinished file of the secret.
func pending(ts *testscript.TestScript, _ bool, args []string) {
	found, err := filepath.Glob(ts.MkAbs(".totp.new-*"))
	ts.Check(err)
	if len(found) != 1 {
		ts.Fatalf("unfinished files: %v", found)
	}
	mode(ts, false, append([]string{"0600"}, found...))
	seed(ts, false, []string{args[0], found[0]})
}

// request <socket> <path> [<method> [<JSON>]] sends a request to a site and prints status and
// body of the answer. It is a GET by default.
func request(ts *testscript.TestScript, _ bool, args []string) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", ts.MkAbs(args[0]))
	}
	client := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	args = append(args, "", "")
	req, err := http.NewRequestWithContext(context.Background(), args[2], "http://"+strings.Replace(strings.TrimSuffix(args[0], ".sock")+".localhost", "site.", "", 1)+args[1], strings.NewReader(args[3]))
	ts.Check(err)
	if args[3] != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := client.Do(req)
	ts.Check(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%d %s\n", res.StatusCode, body)
}

var approvalID = regexp.MustCompile(`apr_[a-z2-7]{16}`)

// approval sets APPROVAL to the id of an approval in the last output.
func approval(ts *testscript.TestScript, _ bool, _ []string) {
	id := approvalID.FindString(ts.ReadFile("stdout"))
	if id == "" {
		ts.Fatalf("there is no id")
	}
	ts.Setenv("APPROVAL", id)
}

// authenticator <file> writes the verification code that a person would enter now.
func authenticator(ts *testscript.TestScript, _ bool, args []string) {
	code, err := totp.GenerateCode(veeamtest.DefaultTOTPSecret, time.Now())
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(code+"\n"), 0o600))
}

// until <command...> repeats a command until it succeeds, for as long as only one that
// hangs takes.
func until(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(harness.Patience); ; time.Sleep(50 * time.Millisecond) {
		err := ts.Exec(args[0], args[1:]...)
		switch {
		case err == nil:
			return
		case time.Now().After(end):
			ts.Fatalf("%q never succeeds: %v", args, err)
		}
	}
}

// port sets PORT to a port that nobody else gets.
func port(ts *testscript.TestScript, _ bool, _ []string) {
	found, err := harness.FreePorts(1)
	ts.Check(err)
	ts.Setenv("PORT", strconv.Itoa(found[0]))
}

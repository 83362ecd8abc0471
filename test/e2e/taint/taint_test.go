// The search, and the control that shows that it can find something.

package taint

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	trace "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/caddy-veeam/veeam-auth/internal/events"
	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// leastCanaries is how many kinds times forms are looked for at least.
const leastCanaries = 60

func TestNoSecretComesOutOfARealCaddy(t *testing.T) {
	s := start(t)
	s.drive()
	s.askAdmin()
	s.badConfigurations()
	s.bundle()
	s.settleEvents()
	s.settleSpans()
	s.end()

	logged := slices.Concat(s.configured, s.sent, s.issued())
	forms := 0
	for _, c := range logged {
		forms += len(c.forms())
	}
	if forms < leastCanaries {
		t.Fatalf("only %d forms of secrets to look for", forms)
	}
	t.Logf("%d secrets in %d forms", len(logged), forms)
	for where, text := range s.outputs() {
		if len(text) == 0 {
			t.Errorf("%s is empty: nothing was searched", where)
		}
		if hits := search(logged, text); len(hits) > 0 {
			t.Errorf("%s: %v", where, hits)
		}
		if s.holdsCodes(text) {
			t.Errorf("%s: scratch codes", where)
		}
		if strings.Contains(text, s.code) {
			t.Errorf("%s: the code that an operator has entered", where)
		}
	}
	stored := s.stored()
	if n := len(stored); n < 8 {
		t.Errorf("only %d files are stored", n)
	}
	for where, text := range stored {
		hits := search(logged, text)
		if filepath.Base(where) == "signing_keys.json" && filepath.Base(filepath.Dir(where)) != "locks" { // its place, and what the search must find
			if len(hits) != 1 || !strings.HasPrefix(hits[0], signingKey) {
				t.Errorf("%s: %v", where, hits)
			}
			continue
		}
		if len(hits) > 0 {
			t.Errorf("%s: %v", where, hits)
		}
	}
	// A client knows what it has sent and got; everything else is not for it.
	if hits := search(slices.Concat(s.configured, s.issued()), s.received.String()); len(hits) > 0 {
		t.Errorf("what clients received: %v", hits)
	}
}

// A Caddy whose masking is switched off when it is built must be found out.
func TestTheSearchFindsWhatIsNotMasked(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "caddy")
	build := exec.Command("go", slices.Concat([]string{"build", "-tags", "svclog_unmasked", "-o", binary}, flagsOfBuild(), []string{"github.com/caddy-veeam/veeam-auth/cmd/caddy"})...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	harness.Binary = binary
	t.Cleanup(func() { harness.Binary = "" })
	s := start(t)
	s.drive()
	s.end()
	outputs := s.outputs()
	for _, where := range []string{"svc.log", "svc.json"} {
		hits := search(s.sent, outputs[where])
		if len(hits) < 40 {
			t.Errorf("%s: only %d secrets found without masking", where, len(hits))
		}
		if !s.holdsCodes(outputs[where]) {
			t.Errorf("%s: no scratch codes found without masking", where)
		}
	}
	if hits := search(s.sent, s.admin.String()); len(hits) < 8 {
		t.Errorf("of approvals, only %d secrets found without masking", len(hits))
	}
}

// flagsOfBuild are those with which this program was built: with others everything would
// have to be compiled once more.
func flagsOfBuild() (flags []string) {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if slices.Contains([]string{"-race", "-gcflags", "-ldflags"}, s.Key) {
			flags = append(flags, s.Key+"="+s.Value)
		}
	}
	return flags
}

// issued are the tokens of the servers.
func (s *scene) issued() (tokens []canary) {
	for product, server := range s.servers {
		for _, token := range server.Issued() {
			tokens = append(tokens, canary{"token of " + product, token})
		}
		for _, seen := range server.Seen() {
			for _, field := range []string{"mfa_token", "code", "encrypted_code"} {
				if v := seen.Form.Get(field); len(v) >= 12 {
					tokens = append(tokens, canary{field + " at " + product, v})
				}
			}
		}
	}
	keys, err := os.ReadFile(filepath.Join(s.Dir, "data", "caddy", "veeam_auth", "signing_keys.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(keys), `"secret":"`)
	key, _, _ := strings.Cut(rest, `"`)
	if len(key) < 40 {
		s.t.Fatalf("no signing key found")
	}
	return append(tokens, canary{signingKey, key})
}

// signingKey is the one secret that has to be stored as it is.
const signingKey = "signing key"

// holdsCodes reports whether scratch codes are in the text. They have eight digits, so
// that one may be there by chance.
func (s *scene) holdsCodes(text string) bool {
	found := 0
	for _, code := range s.scratch {
		if strings.Contains(text, code) {
			found++
		}
	}
	return found >= len(s.scratch)/2
}

// operate asks the admin endpoint, and takes down its answer.
func (s *scene) operate(method, path, body string) {
	req, err := http.NewRequest(method, "http://"+s.Caddy.Admin+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		s.t.Fatal(err)
	}
	s.admin.Write(text)
	if res.StatusCode >= http.StatusInternalServerError {
		s.t.Errorf("%s %s: %d %s", method, path, res.StatusCode, text)
	}
}

// askAdmin reads what the admin endpoint has to say.
func (s *scene) askAdmin() {
	ask := s.operate
	for _, path := range []string{"/veeam_auth/startup", "/config/", "/metrics", "/reverse_proxy/upstreams", "/veeam_auth/sessions", "/veeam_auth/", "/veeam_auth/state", "/debug/vars", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline"} {
		ask(http.MethodGet, path, "")
	}
	wrong := s.canary("password for the admin endpoint")
	ask(http.MethodPost, "/veeam_auth/sessions/forget", `{"account":"svc-monitor","password":`+quote(wrong)+`}`)
	ask(http.MethodPost, "/veeam_auth/sessions/login", `{"account":"svc-monitor"}`)
	ask(http.MethodPost, "/veeam_auth/sessions/logout", `{"account":"svc-monitor"}`)
	s.do(http.MethodGet, s.coded+"/api/v8.1/echo", nil, nil, true)
	ask(http.MethodPost, "/veeam_auth/sessions/code", `{"account":"svc-code","code":"`+s.code+`"}`)
	ask(http.MethodPost, "/veeam_auth/sessions/code", `{"account":"svc-code","code":`+quote(wrong)+`}`)
	ask(http.MethodPost, "/veeam_auth/sessions/logout", `{"account":"restore"}`)
	ask(http.MethodPost, "/veeam_auth/sessions/credential", `{"account":"restore","secret":`+quote(s.canary("one-time secret"))+`}`)
	if c := s.servers["coded"].Counters(); c.MFAGrants < 2 || !strings.Contains(s.admin.String(), "the server refuses the code") {
		s.t.Errorf("no code was sent: %s", s.admin.String())
	}
	ask(http.MethodGet, "/veeam_auth/sessions", "")
	ask(http.MethodPost, "/veeam_auth/tokens/revoke", `{"client":"grafana"}`)
	ask(http.MethodPost, "/veeam_auth/tokens/revoke", `{"client":`+quote(wrong))
}

// bundle has the command make bundles for support, of the Caddy that runs and of a
// configuration with secrets in clear text, and takes down what is in them.
func (s *scene) bundle() {
	plain := newCanary("secret in clear text")
	s.configured = append(s.configured, plain)
	config := strings.ReplaceAll(`{
	storage file_system {
		root SECRET
	}
}
:0 {
	basic_auth {
		user SECRET
	}
	header X-Key SECRET
	@key header X-Key SECRET
	respond @key SECRET
	veeam_auth https://127.0.0.1:1 {
		account svc SECRET
		header_up X-Key SECRET
		allow `+"`"+`{http.request.header.X-Key} == SECRET`+"`"+`
		log_body_limit off
	}
}
`, "SECRET", quote(plain.text))
	path := filepath.Join(s.Dir, "plain.caddyfile")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		s.t.Fatal(err)
	}
	for _, b := range []struct{ name, address, config, contains string }{
		{"running", s.Caddy.Admin, "", `"kind":"login_failed" caddy_veeam_auth_grants_total "account":"svc-monitor" HOME= "encryption_key":`},
		{"plain", "127.0.0.1:1", path, `[removed] "handler": sessions.json.error`},
	} {
		file := filepath.Join(s.Dir, b.name+".tar.gz")
		cmd, err := harness.Command(s.Dir, nil, "veeam-auth", "support", "--output", file, "--address", b.address, "--config", b.config)
		if err != nil {
			s.t.Fatal(err)
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			s.t.Fatalf("%v: %s", err, out)
		}
		content, err := exec.Command("tar", "xzOf", file).Output()
		if err != nil {
			s.t.Fatal(err)
		}
		s.admin.Write(out)
		s.admin.Write(content)
		for part := range strings.FieldsSeq(b.contains) {
			if !strings.Contains(string(out)+string(content), part) {
				s.t.Errorf("bundle %s has no %s", b.name, part)
			}
		}
	}
}

// badConfigurations shows the commands configurations with mistakes near plain
// secrets, and one with placeholders that is right.
func (s *scene) badConfigurations() {
	plain := newCanary("plain password")
	s.configured = append(s.configured, plain)
	quoted := "`" + plain.text + "`"
	for name, account := range map[string]string{
		"blanks":        "account svc " + quoted + " " + quoted + " " + quoted,
		"grant":         "account svc " + quoted + " {\n\t\t\tgrant magic\n\t\t}",
		"seed":          "product aws\n\t\taccount svc {env.P} {\n\t\t\ttotp_secret " + quoted + "\n\t\t}",
		"client":        "account svc {env.P}\n\t\tclient grafana " + quoted,
		"no scheme":     "account svc " + quoted + "\n\t\tlb_policy nonsense",
		"unknown":       "account svc {env.P}\n\t\tpassword " + quoted,
		"twice":         "account svc " + quoted + " {\n\t\t\tpassword " + quoted + "\n\t\t}",
		"placeholder":   "account svc {env." + "NOT_SET_ANYWHERE" + "}",
		"tls_pin":       "account svc {env.P}\n\t\ttls_pin {env.X} " + "zz",
		"user_uid":      "product vspc\n\t\taccount p " + quoted + "\n\t\taccount t {\n\t\t\tgrant as\n\t\t\tparent p\n\t\t\tuser_uid 1\n\t\t}",
		"encryption":    "account svc " + quoted + "\n\t\tcache {\n\t\t\tencryption_key " + quoted + "\n\t\t}",
		"missing block": "account svc " + quoted + " {",
	} {
		file := filepath.Join(s.Dir, "bad.caddyfile")
		config := ":0 {\n\tveeam_auth https://127.0.0.1:1 {\n\t\t" + account + "\n\t}\n}\n"
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			s.t.Fatal(err)
		}
		for _, command := range []string{"validate", "adapt"} {
			cmd, err := harness.Command(s.Dir, nil, command, "--config", file, "--adapter", "caddyfile")
			if err != nil {
				s.t.Fatal(err)
			}
			out, err := cmd.CombinedOutput()
			if err == nil && name != "placeholder" {
				if command == "adapt" {
					continue // a configuration that is right, with its plain secret
				}
				s.t.Logf("%s %s passed", command, name)
			}
			s.admin.Write(out)
		}
	}
}

// settleSpans waits for the span of one more request: those before have arrived then.
func (s *scene) settleSpans() {
	const last = "0af7651916cd43dd8448eb211c80319c"
	s.do(http.MethodGet, s.sites["vbr"]+base("vbr")+"/echo", http.Header{"Traceparent": {"00-" + last + "-b7ad6b7169203331-01"}}, nil, false)
	harness.Eventually(s.t, "the last span has arrived", func() bool {
		spans, _ := s.spans.Received()
		return slices.ContainsFunc(spans, func(span *trace.Span) bool { return span.Name == "site" && hex.EncodeToString(span.TraceId) == last })
	})
	spans, _ := s.spans.Received()
	seen := map[string]bool{}
	for _, span := range spans {
		seen[span.Name] = true
	}
	for _, name := range []string{"veeam_auth.login", "veeam_auth.replay"} {
		if !seen[name] {
			s.t.Errorf("there is no span %s", name)
		}
	}
}

// settleEvents waits for events of three kinds: those before have been handled then.
func (s *scene) settleEvents() {
	for _, name := range []events.Name{events.CredentialHeld, events.CodeNeeded, events.ClientThrottled} {
		harness.Eventually(s.t, string(name)+" has run a command", func() bool {
			raised, _ := os.ReadFile(filepath.Join(s.Dir, "events"))
			told := strings.Contains(string(raised), string(name))
			if !told && name == events.ClientThrottled {
				s.form("vbr", url.Values{"grant_type": {"password"}, "username": {"grafana"}, "password": {s.canary("one of many guesses")}})
			}
			return told
		})
	}
}

// end has Caddy print all its goroutines and die.
func (s *scene) end() {
	if err := syscall.Kill(s.Caddy.Pid(), syscall.SIGUSR1); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	_ = syscall.Kill(s.Caddy.Pid(), syscall.SIGABRT)
	s.Caddy.Kill()
	for _, server := range s.servers {
		server.Close()
	}
}

// stored are all files that Caddy keeps for later: its storage, the shared cache and
// the copy of its configuration.
func (s *scene) stored() map[string]string {
	if records, err := filepath.Glob(filepath.Join(s.Dir, "data", "caddy", tokencache.BookFolder, "*", "*")); err != nil || len(records) < 3 {
		s.t.Errorf("records of open sessions are %q, %v", records, err)
	}
	all := map[string]string{}
	for _, folder := range []string{"data", "config", "cache"} {
		err := filepath.WalkDir(filepath.Join(s.Dir, folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			all[path] = path + string(text)
			return err
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
	return all
}

func quote(text string) string {
	quoted, _ := json.Marshal(text)
	return string(quoted)
}

// outputs are all files and streams that Caddy has written, apart from its own
// storage.
func (s *scene) outputs() map[string]string {
	all := map[string]string{"stderr": s.Caddy.Output(), "admin and commands": s.admin.String() + " "}
	_, all["spans"] = s.spans.Received()
	names := []string{"svc.log", "svc.json", "access.log"}
	if harness.Binary == "" {
		names = append(names, "events")
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(s.Dir, name))
		if err != nil {
			s.t.Fatal(err)
		}
		all[name] = string(text)
	}
	return all
}

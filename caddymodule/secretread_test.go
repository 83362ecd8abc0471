// Secrets as they lie in files: how they are read, and that none is sent which has
// been replaced.

package caddymodule

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-veeam/veeam-auth/caddymodule/records"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/placeholders"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// powerShell is a text as PowerShell writes it to a file: with a byte order mark, an encoding
// and a line end of its own. All forms there are, are tested with internal/secret.
func powerShell(text string) string {
	return "\xff\xfe" + strings.Join(strings.Split(text+"\r\n", ""), "\x00") + "\x00"
}

func TestAFileThatPowerShellWritesLogsIn(t *testing.T) {
	t.Setenv("VEEAM_AUTH_TEST_PASSWORD", "\ufeff"+veeamtest.DefaultPassword+"\n")
	inWorld(t, veeamtest.Azure, nil, func(w *world) {
		seed := &account.Account{Name: "seed", Password: "x", TOTPSecret: w.secret("totp", powerShell(veeamtest.DefaultTOTPSecret))}
		w.start(
			&account.Account{Name: "svc", Username: w.secret("user", powerShell(veeamtest.DefaultUser)), Password: w.secret("secret", powerShell(veeamtest.DefaultPassword))},
			&account.Account{Name: "env", Username: veeamtest.DefaultUser, Password: "{env.VEEAM_AUTH_TEST_PASSWORD}"},
			seed,
		)
		for _, account := range []string{"svc", "env"} {
			if got := w.ask(w.tr, "GET", "/echo", account); got.status != 200 {
				t.Errorf("%s: %v %s", account, got, got.body)
			}
		}
		if _, err := seed.Resolve(); err != nil {
			t.Error(err)
		}
	})
}

func TestAKeysetThatPowerShellWritesIsRead(t *testing.T) {
	t.Parallel()
	keyset, err := newKeys(t).Text()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(powerShell(keyset)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (&upstream.KeyFile{Text: "{file." + path + "}", Expand: expand}).Read(); err != nil {
		t.Error(err)
	}
}

func TestASecretThatIsLikelyWrongIsWarnedOfBeforeItIsSent(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ content, want string }{
		"blank":      {"canaryQ7 ", "ends with white space"},
		"zero width": {"canary\u200bQ7", "contains an invisible character (U+200B)"},
		"binary":     {"canaryQ7\xff", "is not valid UTF-8"},
		"assignment": {"VBR_PASSWORD=canaryQ7", "looks like an assignment"},
	} {
		inWorld(t, veeamtest.VBR13, nil, func(w *world) {
			tr := w.start(&account.Account{Name: veeamtest.DefaultUser, Password: w.secret("secret", tc.content)})
			core, logs := observer.New(zapcore.WarnLevel)
			tr.server.Log = zap.New(core)
			w.demand("503 credential_refused")
			sent := w.wire.grants()
			w.demand("503 credential_refused")
			var said []string
			for _, entry := range logs.All() {
				said = append(said, entry.Message)
			}
			if len(said) != 1 || !strings.Contains(said[0], "option password from {file."+w.dir+"/secret} "+tc.want) || strings.Contains(said[0], "canary") || sent != 1 {
				t.Errorf("%s: %q", name, said)
			}
		})
	}
}

func TestWhatCannotBeReadIsNamedWithItsReason(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "", "newline": "\n", "utf32": "\xff\xfe\x00\x00a\x00\x00\x00", "half": "\xff\xfea", "long": strings.Repeat("a", secret.MaxFile+1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"empty": "it is empty", "newline": "it is empty", "utf32": "UTF-32", "half": "not valid UTF-16", "long": "longer than 1 MiB",
		"missing": "no such file or directory", ".": "is a directory",
	} {
		path := filepath.Join(dir, name)
		_, err := ready(&account.Account{Name: "svc", Password: "{file." + path + "}"}).Resolve()
		if err == nil || !strings.Contains(err.Error(), "account svc: option password, {file."+path+"} cannot be used: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := ready(&account.Account{Name: "svc", Password: "{env.VEEAM_AUTH_NO_SUCH}"}).Resolve()
	if err == nil || !strings.Contains(err.Error(), "{env.VEEAM_AUTH_NO_SUCH} cannot be used: it is not set") {
		t.Error(err)
	}
}

// mounted is a folder as Kubernetes mounts a secret: the files are links into
// ..data, which is a link itself that is replaced when the secret changes.
type mounted struct {
	dir string
	n   int
}

func (m *mounted) swap(files map[string]string) {
	m.n++
	version := fmt.Sprintf("..version_%d", m.n)
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	check(os.Mkdir(filepath.Join(m.dir, version), 0o700))
	for name, content := range files {
		check(os.WriteFile(filepath.Join(m.dir, version, name), []byte(content), 0o600))
		if m.n == 1 {
			check(os.Symlink(filepath.Join("..data", name), filepath.Join(m.dir, name)))
		}
	}
	check(os.Symlink(version, filepath.Join(m.dir, "..data_tmp")))
	check(os.Rename(filepath.Join(m.dir, "..data_tmp"), filepath.Join(m.dir, "..data")))
	if m.n > 1 {
		check(os.RemoveAll(filepath.Join(m.dir, fmt.Sprintf("..version_%d", m.n-1))))
	}
}

func TestALoginRightAfterALinkSwapSendsTheNewSecret(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		m := &mounted{dir: w.dir}
		m.swap(map[string]string{"password": veeamtest.DefaultPassword})
		w.start(&account.Account{Name: veeamtest.DefaultUser, Password: "{file." + w.dir + "/password}"})
		w.demand("200")
		for i := range 200 {
			password := fmt.Sprintf("password-%03d", i)
			w.server.SetPassword(veeamtest.DefaultUser, password)
			w.server.RevokeAll()
			w.tr.server.InUse("").Session.Forget(w.Context())
			m.swap(map[string]string{"password": password})
			w.demand("200")
		}
		w.tried(201, 0)
	})
}

func TestTwoFilesThatAreReplacedTogetherAreNotMixed(t *testing.T) {
	t.Parallel()
	m := &mounted{dir: t.TempDir()}
	m.swap(map[string]string{"user": "user-0", "password": "password-0"})
	i := 0
	// The files are replaced between the two readings, twice.
	c, err := secret.ReadSettled(expand, func(r *secret.Reader) ([2]string, error) {
		user, err := r.Text("{file." + m.dir + "/user}")
		if err != nil {
			return [2]string{}, err
		}
		if i++; i <= 2 {
			m.swap(map[string]string{"user": fmt.Sprint("user-", i), "password": fmt.Sprint("password-", i)})
		}
		password, err := r.Text("{file." + m.dir + "/password}")
		return [2]string{user, password}, err
	})
	if want := [2]string{"user-2", "password-2"}; c != want || err != nil {
		t.Errorf("%q, %v", c, err)
	}
	_, err = secret.ReadSettled(expand, func(r *secret.Reader) (string, error) {
		defer m.swap(map[string]string{"user": "x", "password": "x"})
		return r.Text("{file." + m.dir + "/user}")
	})
	if !errors.Is(err, secret.ErrChanging) {
		t.Errorf("never settled: %v", err)
	}
}

func TestPlaceholdersThatNeverHaveAValueAreRefused(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"word", "{env.VBR_PW}", "{file./run/secrets/x}", "{file../x}", "{file.C:\\secrets\\x}", "DOMAIN\\{env.USER}", "{env.A}{env.B}", "{system.hostname}",
		`pa\{ss\}`, "pa{ss", "pa}ss", "}{", "{file./run/with blank}",
	} {
		if err := placeholders.Check("password", good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, tc := range []struct{ text, want string }{
		{"{VBR_PW}", "write {env.VBR_PW}"},
		{"${VBR_PW}", "write {env.VBR_PW}"},
		{"{env:VBR_PW}", "{env.VBR_PW}"},
		{"{env.}", "without a name"},
		{"{file.}", "without a name"},
		{"{file:/x}", "a dot after env and file"},
		{"{file=/x}", "a dot after env and file"},
		{"{{env.VBR_PW}}", "one brace on each side: {env.VBR_PW}"},
		{"{{ VBR_PW }}", "one brace on each side: {env.VBR_PW}"},
		{"{$VBR_PW}", "write {env.VBR_PW}"},
		{"{$X:default}", "a Caddyfile variable"},
		{"{env.{env.X}}", "a nested placeholder"},
		{"{file./run/{env.X}}", "a nested placeholder"},
		{"{env.X", "without a closing one"},
		{"{http.request.header.X}", "placeholder of a request"},
		{"{vars.x}", "placeholder of a request"},
		{"{time.now}", "placeholder of the time"},
		{"{env.X Y}", "write {env.NAME}"},
		{"{ENV.X}", "write {env.NAME}"},
		{"canary{Q7}canary", "write {env.NAME}"},
		{"{canaryQ7}", "write {env.NAME}"},
		{"{}", "write {env.NAME}"},
		{"{secrets.vault.canaryQ7}", "write {env.NAME}"},
	} {
		for _, option := range []string{"username", "password", "next_password", "totp_secret"} {
			a := &account.Account{Name: "svc", Password: "{env.P}"}
			*a.Option(option) = tc.text
			product, _ := LookupProduct("azure")
			err := a.Validate(product)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "account svc: "+option+" ") {
				t.Errorf("%s %q: %v", option, tc.text, err)
			} else if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "Q7") {
				t.Errorf("%s %q quotes the secret: %v", option, tc.text, err)
			}
		}
		if err := (&records.Cache{EncryptionKey: tc.text}).Check(); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("encryption_key %q: %v", tc.text, err)
		}
	}
	product, _ := LookupProduct("vspc")
	for _, option := range []string{"key", "key_passphrase", "public_key"} {
		a := &account.Account{Name: "svc", Grant: "public_key", Key: "/k"}
		*a.Option(option) = "{env:X}"
		if err := a.Validate(product); err == nil || !strings.Contains(err.Error(), "a dot after env and file") {
			t.Errorf("%s: %v", option, err)
		}
	}
}

// ready is an account that can be read without a transport.
func ready(a *account.Account) *account.Account {
	a.Prepare(account.Env{Product: "vbr", Expand: expand})
	return a
}

// Every grant of every product, and what comes of it: the table of docs/grants.md,
// each cell a test.

package caddymodule

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
	"github.com/caddy-veeam/veeam-auth/veeam"
)

// grantRow is a grant of a product.
type grantRow struct {
	product, grant string // as the table shows it
	profile        veeamtest.Profile
	options        []veeamtest.Option

	// accounts are those of the configuration; the first is the one that is asked
	// for. They read their secrets from files, of which wrong spoils one and right
	// mends it.
	accounts func(w *world) []*Account
	wrong    func(w *world)
	right    func(w *world)

	cells [outcomes]string
}

const tenantUID = "5f0d0c9c-0000-4000-8000-000000000001"

// seed is a TOTP seed that no other test uses: a code is good once in a process.
func seed() string {
	var random [20]byte
	_, _ = rand.Read(random[:])
	return base32.StdEncoding.EncodeToString(random[:])
}

// outcome is a column of the table.
type outcome int

const (
	outcomeRight outcome = iota
	outcomeWrong
	outcomeExpired
	outcomeRevoked
	outcomeServerFault
	outcomeMalformed
	outcomeSlow
	outcomeThrottled
	outcomes
)

var outcomeNames = [outcomes]string{
	"right", "wrong secret", "access token expired", "session revoked", "server 5xx", "malformed answer", "slow answer", "429",
}

// Cells that most grants have.
const (
	held      = "503 no_session, %d, held"
	faulty    = "502 unavailable, 1, paused"
	late      = "504 unavailable, 1, paused"
	throttled = "429 throttled, 1, as told"
)

// usual are the cells of a grant whose login takes so many requests.
func usual(login int) [outcomes]string {
	return [outcomes]string{
		fmt.Sprintf("200, %d", login), fmt.Sprintf(held, 1), "200, 1", fmt.Sprintf("200, %d", login),
		faulty, faulty, late, throttled,
	}
}

// with changes one cell.
func with(cells [outcomes]string, changed map[outcome]string) [outcomes]string {
	for o, text := range changed {
		cells[o] = text
	}
	return cells
}

// secretRow is a grant whose account is a name and a secret.
func secretRow(product, title string, profile veeamtest.Profile, grant veeam.Grant, value string, cells [outcomes]string, more ...veeamtest.Option) grantRow {
	return grantRow{
		product: product, grant: title, profile: profile, options: more, cells: cells,
		accounts: func(w *world) []*Account {
			return []*Account{{Name: veeamtest.DefaultUser, Grant: string(grant), Password: w.secret("secret", value)}}
		},
		wrong: func(w *world) { w.secret("secret", "wrong") },
		right: func(w *world) { w.secret("secret", value) },
	}
}

// refreshRow is the grant with a refresh token that somebody else has got.
func refreshRow(product string, profile veeamtest.Profile) grantRow {
	row := secretRow(product, "`refresh_token`", profile, veeam.GrantRefreshToken, "", with(usual(1), map[outcome]string{
		outcomeRevoked: fmt.Sprintf(held, 0), // it is sent once
	}))
	row.accounts = func(w *world) []*Account {
		return []*Account{{
			Name: veeamtest.DefaultUser, Grant: "refresh_token", Password: w.secret("secret", w.session().Refresh.Reveal()),
		}}
	}
	row.right = func(w *world) { w.secret("secret", w.session().Refresh.Reveal()) }
	return row
}

// session is one that somebody else has got from the server.
func (w *world) session() *veeam.Token {
	w.Helper()
	p, _ := veeam.Lookup(productOf(w.server.Profile()))
	c := &veeam.Client{Product: p, Transport: w.server.Transport(), BaseURL: "mem://somebody", APIVersion: "1.1-rev0"}
	tok, err := c.Login(w.Context(), &veeam.Account{Name: veeamtest.DefaultUser, Password: plain(veeamtest.DefaultPassword)})
	if err != nil {
		w.Fatal(err)
	}
	return tok
}

// mfaRow is the password grant of a user who is asked for a code.
func mfaRow(product string, profile veeamtest.Profile) grantRow {
	code := seed()
	return grantRow{
		product: product, grant: "`password` with `totp_secret`", profile: profile,
		options: []veeamtest.Option{veeamtest.WithAccount(veeamtest.Account{
			Username: veeamtest.DefaultMFAUser, Password: veeamtest.DefaultMFAPassword, TOTPSecret: code,
		})},
		accounts: func(w *world) []*Account {
			return []*Account{{
				Name: veeamtest.DefaultMFAUser, Password: w.secret("secret", veeamtest.DefaultMFAPassword),
				TOTPSecret: w.secret("totp", code),
			}}
		},
		wrong: func(w *world) { w.secret("totp", seed()) },
		right: func(w *world) { w.secret("totp", code) },
		cells: with(usual(2), map[outcome]string{
			outcomeWrong: fmt.Sprintf(held, 3), // the code of the next step is tried too
		}),
	}
}

// codeRow is the grant with a code that somebody else has had made.
func codeRow(product string, profile veeamtest.Profile) grantRow {
	row := secretRow(product, "`authorization_code` with `code`", profile, veeam.GrantAuthorizationCode, "", with(usual(1), map[outcome]string{
		outcomeRevoked: fmt.Sprintf(held, 0),
	}))
	code := func(w *world) string {
		p, _ := veeam.Lookup(productOf(profile))
		c := &veeam.Client{Product: p, Transport: w.server.Transport(), BaseURL: "mem://somebody", APIVersion: "1.1-rev0"}
		made, err := c.CreateCode(w.Context(), w.session())
		if err != nil {
			w.Fatal(err)
		}
		return made.Reveal()
	}
	row.options = []veeamtest.Option{veeamtest.WithCodeLifetime(time.Hour)} // the slow cell takes minutes
	row.accounts = func(w *world) []*Account {
		return []*Account{{Name: veeamtest.DefaultUser, Grant: "authorization_code", Code: w.secret("secret", code(w))}}
	}
	row.right = func(w *world) { w.secret("secret", code(w)) }
	return row
}

// parentRow is a grant that lives on the session of another account.
func parentRow(product, title string, profile veeamtest.Profile, account Account, cells [outcomes]string) grantRow {
	account.Name, account.Parent = "svc", "parent"
	return grantRow{
		product: product, grant: title, profile: profile, cells: cells,
		options: []veeamtest.Option{veeamtest.WithAccount(veeamtest.Account{Username: "tenant", Password: "x", UID: tenantUID})},
		accounts: func(w *world) []*Account {
			first := account
			return []*Account{&first, {
				Name: "parent", Username: veeamtest.DefaultUser, Password: w.secret("secret", veeamtest.DefaultPassword),
			}}
		},
		wrong: func(w *world) { w.secret("secret", "wrong") },
		right: func(w *world) { w.secret("secret", veeamtest.DefaultPassword) },
	}
}

// keyRow is the grant with a key pair.
func keyRow(product string, profile veeamtest.Profile) grantRow {
	return grantRow{
		product: product, grant: "`public_key`", profile: profile, cells: usual(2),
		options: []veeamtest.Option{veeamtest.WithPublicKey(veeamtest.DefaultUser, []byte(veeamtest.PublicKeyXML(&testKey().PublicKey)), false)},
		accounts: func(w *world) []*Account {
			return []*Account{{Name: veeamtest.DefaultUser, Grant: "public_key", Key: w.file("key", keyPEM(testKey()))}}
		},
		wrong: func(w *world) { w.file("key", keyPEM(otherKey())) },
		right: func(w *world) { w.file("key", keyPEM(testKey())) },
	}
}

const apiKey = "a-simple-key-of-many-letters"

func grantRows() []grantRow {
	password := func(product string, profile veeamtest.Profile) grantRow {
		return secretRow(product, "`password`", profile, veeam.GrantPassword, veeamtest.DefaultPassword, usual(1))
	}
	// Of a parent's grants the login of the parent comes first; when its session
	// was revoked, the server's no to it comes before that.
	code := with(usual(3), map[outcome]string{outcomeRevoked: "200, 4"})
	federated := func(title string, g veeam.Grant, value string) grantRow {
		return secretRow("Azure", title, veeamtest.Azure, g, value, usual(1))
	}
	rows := []grantRow{
		password("VBR", veeamtest.VBR13),
		refreshRow("VBR", veeamtest.VBR13),
		codeRow("VBR", veeamtest.VBR12),
		parentRow("VBR", "`authorization_code` with `parent`", veeamtest.VBR12, Account{Grant: "authorization_code"}, code),
		secretRow("VBR", "`vbr_token`", veeamtest.VBR12, veeam.GrantVBRToken, veeamtest.VBRToken, usual(1)),

		password("VSPC", veeamtest.VSPC),
		mfaRow("VSPC", veeamtest.VSPC),
		refreshRow("VSPC", veeamtest.VSPC),
		keyRow("VSPC", veeamtest.VSPC),
		parentRow("VSPC", "`as`", veeamtest.VSPC, Account{Grant: "as", UserUID: tenantUID}, with(usual(2), map[outcome]string{outcomeRevoked: "200, 3"})),
		secretRow("VSPC", "`api_key`", veeamtest.VSPC, veeam.GrantAPIKey, apiKey, [outcomes]string{
			"200, 0", fmt.Sprintf(held, 0), "200, 0", "401, 0; " + fmt.Sprintf(held, 0), "200, 0", "200, 0", "200, 0", "200, 0",
		}, veeamtest.WithAPIKey(veeamtest.DefaultUser, apiKey, false)),

		password("Azure", veeamtest.Azure),
		mfaRow("Azure", veeamtest.Azure),
		refreshRow("Azure", veeamtest.Azure),
		federated("`saml`", veeam.GrantSAML, veeamtest.AzureSAMLResponse),
		federated("`sso_token`", veeam.GrantSSOToken, veeamtest.AzureSSOToken),
		federated("`updater_token`", veeam.GrantUpdaterToken, veeamtest.AzureUpdaterToken),

		password("AWS", veeamtest.AWS),
		mfaRow("AWS", veeamtest.AWS),
		refreshRow("AWS", veeamtest.AWS),
		codeRow("AWS", veeamtest.AWS),
		parentRow("AWS", "`authorization_code` with `parent`", veeamtest.AWS, Account{Grant: "authorization_code"}, code),
	}
	return rows
}

func TestEveryGrantHasItsOutcome(t *testing.T) {
	for i, row := range grantRows() {
		for o := range outcomes {
			name := strings.NewReplacer("`", "", " ", "_").Replace(row.product + "/" + row.grant + "/" + outcomeNames[o])
			t.Run(name, func(t *testing.T) {
				row := grantRows()[i] // with a TOTP seed of its own
				inWorld(t, row.profile, row.options, func(w *world) {
					w.start(row.accounts(w)...)
					if got := row.play(w, o); got != row.cells[o] {
						t.Errorf("got %s, want %s\n%s", got, row.cells[o], w.said())
					}
				})
			})
		}
	}
}

// play makes an outcome come about, and tells in the words of the table what the
// client got, how many requests for a token or a code the server got, and what
// followed.
func (row *grantRow) play(w *world, o outcome) string {
	switch o {
	case outcomeRight:
		return w.counted("")
	case outcomeWrong:
		row.wrong(w)
		told := w.counted("held", row.right)
		if !strings.Contains(w.said(), " failed: credential refused") {
			w.Errorf("the log does not say what is wrong:\n%s", w.said())
		}
		return told
	case outcomeExpired:
		w.demand("200")
		time.Sleep(90 * time.Minute) // longer than any access token lives, shorter than any refresh token
		if row.cells[outcomeRight] == "200, 0" {
			time.Sleep(veeam.MaxLifetime)
		}
		return w.counted("")
	case outcomeRevoked:
		w.demand("200")
		w.revoke()
		if w.tr.Accounts[0].Grant == string(veeam.GrantAPIKey) {
			return w.counted("") + "; " + w.counted("held")
		}
		return w.counted(row.afterRevocation())
	case outcomeServerFault:
		w.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultStatus})
	case outcomeMalformed:
		w.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultHTML})
	case outcomeSlow:
		w.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultSlow})
	case outcomeThrottled:
		w.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultStatus, Status: http.StatusTooManyRequests, RetryAfter: 30 * time.Second})
	}
	mend := func(w *world) { w.server.ClearFault() }
	if o == outcomeThrottled {
		return w.counted("as told", mend)
	}
	return w.counted("paused", mend)
}

func (row *grantRow) afterRevocation() string {
	if strings.Contains(row.cells[outcomeRevoked], "held") {
		return "held"
	}
	return ""
}

// revoke ends every session at the server, and the API key.
func (w *world) revoke() {
	w.server.RevokeAll()
	w.wire.intercept(func(req *http.Request) (*http.Response, error) {
		if req.Header.Get("Authorization") == "Bearer "+apiKey {
			return canned(req, http.StatusUnauthorized, contentTypeJSON, "{}"), nil
		}
		return nil, nil
	})
}

// counted sends a request and tells what came of it. Where a fault is expected to
// have consequences, it checks them - no request while they last, success when
// the fault is mended - and adds their name.
func (w *world) counted(consequence string, mend ...func(*world)) string {
	w.Helper()
	before := w.wire.grants()
	got := w.get()
	told := fmt.Sprintf("%s, %d", got, w.wire.grants()-before)
	if got.status == http.StatusOK || got.reason == "" {
		return told
	}
	retry := got.header.Get("Retry-After")
	switch consequence {
	case "held":
		w.quiet(59*time.Second, got)
	case "as told":
		if retry != "30" {
			w.Errorf("Retry-After %q", retry)
		}
		w.quiet(29*time.Second, got)
	case "paused":
		w.quiet(100*time.Millisecond, got)
	}
	if retry == "" {
		w.Error("no Retry-After")
	}
	for _, m := range mend {
		m(w)
		switch consequence {
		case "held": // a new secret is used at once
		case "as told":
			time.Sleep(2 * time.Second)
		default:
			time.Sleep(20 * time.Second)
		}
		w.rest(1200 * time.Millisecond)
		if got := w.get(); got.status != http.StatusOK {
			w.Errorf("not mended: %v %s", got, got.body)
		}
	}
	return told + ", " + consequence
}

// quiet demands that for a while requests are answered like the first one, and
// that the server hears nothing of them.
func (w *world) quiet(d time.Duration, first answer) {
	w.Helper()
	before := w.wire.grants()
	for range 10 {
		w.rest(d / 10)
		if got := w.get(); got.String() != first.String() || got.header.Get("Retry-After") == "" {
			w.Errorf("then %v, Retry-After %q", got, got.header.Get("Retry-After"))
		}
	}
	if n := w.wire.grants() - before; n != 0 {
		w.Errorf("%d more token requests", n)
	}
}

func TestTheTableOfTheDocsIsTheTableOfTheTests(t *testing.T) {
	const page, begin, end = "../docs/grants.md", "<!-- table: begin -->\n", "<!-- table: end -->"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("docs/grants.md has no place for the table")
	}
	want := before + begin + grantTable() + end + after
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatal("docs/grants.md is not what the tests show; run: go test ./caddymodule -run TheTableOfTheDocs -update")
	}
	if err := os.WriteFile(page, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
}

// grantTable is the table in Markdown.
func grantTable() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| product | grant | %s |\n|---|---|%s\n", strings.Join(outcomeNames[:], " | "), strings.Repeat("---|", int(outcomes)))
	for _, row := range grantRows() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", row.product, row.grant, strings.Join(row.cells[:], " | "))
	}
	return b.String()
}

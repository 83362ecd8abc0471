// The rows of the table of grants.

package caddymodule

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// grantRow is a grant of a product.
type grantRow struct {
	product, grant string // as the table shows it
	profile        veeamtest.Profile
	options        []veeamtest.Option

	// accounts are those of the configuration; the first is the one that is asked
	// for. They read their secrets from files, of which wrong spoils one and right
	// mends it.
	accounts func(w *world) []*account.Account
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
	held      = "503 credential_refused, %d, held"
	faulty    = "502 server_fault, 1, paused"
	malformed = "502 unexpected_answer, 1, paused"
	late      = "504 timeout, 1, paused"
	throttled = "429 throttled, 1, as told"
)

// usual are the cells of a grant whose login takes so many requests.
func usual(login int) [outcomes]string {
	return [outcomes]string{
		fmt.Sprintf("200, %d", login), fmt.Sprintf(held, 1), "200, 1", fmt.Sprintf("200, %d", login),
		faulty, malformed, late, throttled,
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
		accounts: func(w *world) []*account.Account {
			return []*account.Account{{Name: veeamtest.DefaultUser, Grant: string(grant), Password: w.secret("secret", value)}}
		},
		wrong: func(w *world) { w.secret("secret", "wrong") },
		right: func(w *world) { w.secret("secret", value) },
	}
}

// refreshRow is the grant with a refresh token that somebody else has got.
func refreshRow(product string, profile veeamtest.Profile) grantRow {
	row := secretRow(product, "`refresh_token`", profile, veeam.GrantRefreshToken, "", with(usual(1), map[outcome]string{
		outcomeRevoked: fmt.Sprintf(held, 1), // it is sent once, the newer one that followed is tried
	}))
	row.accounts = func(w *world) []*account.Account {
		return []*account.Account{{
			Name: veeamtest.DefaultUser, Grant: "refresh_token", Password: w.secret("secret", w.session().Refresh.Reveal()),
		}}
	}
	row.right = func(w *world) { w.secret("secret", w.session().Refresh.Reveal()) }
	return row
}

// session is one that somebody else has got from the server.
func (w *world) session() *veeam.Token {
	w.Helper()
	p, _ := veeam.Lookup(w.server.Profile().Product())
	c := &veeam.Client{Product: p, Transport: w.server.Transport(), BaseURL: "mem://somebody", APIVersion: versionFor(p)}
	tok, err := c.Login(w.Context(), &veeam.Account{Name: veeamtest.DefaultUser, Password: plain(veeamtest.DefaultPassword)})
	if err != nil {
		w.Fatal(err)
	}
	return tok
}

// versionFor is a version that every emulated server of a product serves.
func versionFor(p *veeam.Product) string {
	if p.Version.Header == "" {
		return p.Version.Default
	}
	return "1.1-rev0"
}

// mfaRow is the password grant of a user who is asked for a code.
func mfaRow(product string, profile veeamtest.Profile) grantRow {
	code := seed()
	return grantRow{
		product: product, grant: "`password` with `totp_secret`", profile: profile,
		options: []veeamtest.Option{veeamtest.WithAccount(veeamtest.Account{
			Username: veeamtest.DefaultMFAUser, Password: veeamtest.DefaultMFAPassword, TOTPSecret: code,
		})},
		accounts: func(w *world) []*account.Account {
			return []*account.Account{{
				Name: veeamtest.DefaultMFAUser, Password: w.secret("secret", veeamtest.DefaultMFAPassword),
				TOTPSecret: w.secret("totp", code),
			}}
		},
		wrong: func(w *world) { w.secret("totp", seed()) },
		right: func(w *world) { w.secret("totp", code) },
		cells: with(with(usual(2), map[outcome]string{outcomeRevoked: "200, 3"}), map[outcome]string{
			outcomeWrong: "503 code_refused, 3, held", // the code of the next step is tried too
		}),
	}
}

// codeRow is the grant with a code that somebody else has had made.
func codeRow(product string, profile veeamtest.Profile) grantRow {
	row := secretRow(product, "`authorization_code` with `code`", profile, veeam.GrantAuthorizationCode, "", with(usual(1), map[outcome]string{
		outcomeRevoked: fmt.Sprintf(held, 1),
	}))
	code := func(w *world) string {
		p, _ := veeam.Lookup(profile.Product())
		c := &veeam.Client{Product: p, Transport: w.server.Transport(), BaseURL: "mem://somebody", APIVersion: "1.1-rev0"}
		made, err := c.CreateCode(w.Context(), w.session())
		if err != nil {
			w.Fatal(err)
		}
		return made.Reveal()
	}
	row.options = []veeamtest.Option{veeamtest.WithCodeLifetime(time.Hour)} // the slow cell takes minutes
	row.accounts = func(w *world) []*account.Account {
		return []*account.Account{{Name: veeamtest.DefaultUser, Grant: "authorization_code", Code: w.secret("secret", code(w))}}
	}
	row.right = func(w *world) { w.secret("secret", code(w)) }
	return row
}

// assertionRow is a grant with what an identity provider has issued.
func assertionRow(title string, grant veeam.Grant, more ...veeamtest.Option) grantRow {
	row := secretRow("VB365", title, veeamtest.VB365, grant, veeamtest.DefaultAssertion, usual(1), more...)
	row.accounts = func(w *world) []*account.Account {
		return []*account.Account{{
			Name: veeamtest.DefaultUser, Grant: string(grant), ClientID: veeamtest.DefaultClientID, Assertion: w.secret("secret", veeamtest.DefaultAssertion),
		}}
	}
	return row
}

// parentRow is a grant that lives on the session of another account.
func parentRow(product, title string, profile veeamtest.Profile, child account.Account, cells [outcomes]string) grantRow {
	child.Name, child.Parent = "svc", "parent"
	return grantRow{
		product: product, grant: title, profile: profile, cells: cells,
		options: []veeamtest.Option{veeamtest.WithAccount(veeamtest.Account{Username: "tenant", Password: "x", UID: tenantUID})},
		accounts: func(w *world) []*account.Account {
			first := child
			return []*account.Account{&first, {
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
		accounts: func(w *world) []*account.Account {
			return []*account.Account{{Name: veeamtest.DefaultUser, Grant: "public_key", Key: w.file("key", keyPEM(testKey()))}}
		},
		wrong: func(w *world) { w.file("key", keyPEM(otherKey())) },
		right: func(w *world) { w.file("key", keyPEM(testKey())) },
	}
}

// apiKeyRow is a key that nothing has to be granted for.
func apiKeyRow(product string, profile veeamtest.Profile) grantRow {
	return secretRow(product, "`api_key`", profile, veeam.GrantAPIKey, apiKey, [outcomes]string{
		"200, 0", fmt.Sprintf(held, 0), "200, 0", "401, 0; " + fmt.Sprintf(held, 0), "200, 0", "200, 0", "200, 0", "200, 0",
	}, veeamtest.WithAPIKey(veeamtest.DefaultUser, apiKey, false))
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
		parentRow("VBR", "`authorization_code` with `parent`", veeamtest.VBR12, account.Account{Grant: "authorization_code"}, code),
		secretRow("VBR", "`vbr_token`", veeamtest.VBR12, veeam.GrantVBRToken, veeamtest.VBRToken, usual(1)),

		password("VSPC", veeamtest.VSPC),
		mfaRow("VSPC", veeamtest.VSPC),
		refreshRow("VSPC", veeamtest.VSPC),
		keyRow("VSPC", veeamtest.VSPC),
		parentRow("VSPC", "`as`", veeamtest.VSPC, account.Account{Grant: "as", UserUID: tenantUID}, with(usual(2), map[outcome]string{outcomeRevoked: "200, 3"})),
		apiKeyRow("VSPC", veeamtest.VSPC),

		password("VSPC before API 3.6", veeamtest.VSPC35),
		mfaRow("VSPC before API 3.6", veeamtest.VSPC35),
		refreshRow("VSPC before API 3.6", veeamtest.VSPC35),
		keyRow("VSPC before API 3.6", veeamtest.VSPC35),
		apiKeyRow("VSPC before API 3.6", veeamtest.VSPC35),

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
		parentRow("AWS", "`authorization_code` with `parent`", veeamtest.AWS, account.Account{Grant: "authorization_code"}, code),

		password("Google Cloud", veeamtest.GCP),
		mfaRow("Google Cloud", veeamtest.GCP),
		refreshRow("Google Cloud", veeamtest.GCP),
		codeRow("Google Cloud", veeamtest.GCP),
		parentRow("Google Cloud", "`authorization_code` with `parent`", veeamtest.GCP, account.Account{Grant: "authorization_code"}, code),

		password("Veeam ONE", veeamtest.ONE),
		refreshRow("Veeam ONE", veeamtest.ONE),

		password("Enterprise Manager 12", veeamtest.EM12),
		password("Enterprise Manager", veeamtest.EM13),

		password("VB365", veeamtest.VB365),
		refreshRow("VB365", veeamtest.VB365),
		assertionRow("`jwt-bearer`", veeam.GrantJWTBearer),
		assertionRow("`operator`", veeam.GrantOperator, veeamtest.WithReusableRefresh()),
	}
	return rows
}

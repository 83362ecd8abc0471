// One emulated server with the sidecar in front of it.

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// product is a server to log in at.
type product struct {
	name    string
	profile veeamtest.Profile
	mfa     bool // the account is asked for a code
}

var vbr, vspc, one = productOf(veeamtest.VBR13), productOf(veeamtest.VSPC), productOf(veeamtest.ONE)

func productOf(profile veeamtest.Profile) product {
	p, ok := veeam.Lookup(profile.Product())
	return product{profile.Product(), profile, ok && p.Values[veeam.GrantMFA] != ""}
}

// every is every product.
func every() (all []product) {
	for _, profile := range veeamtest.Newest() {
		all = append(all, productOf(profile))
	}
	return all
}

// tokenRequests is how many one login takes.
func (p product) tokenRequests() int64 {
	if p.mfa {
		return 2
	}
	return 1
}

// setup is a running server and sidecar.
type setup struct {
	product product
	server  *veeamtest.Server
	caddy   *harness.Caddy
	dir     string
	port    int
}

// start starts a server, and a sidecar that has not logged in yet.
func start(p product, options ...veeamtest.Option) (*setup, error) {
	return startWith(p, "", options...)
}

// startWith has more options of the directive.
func startWith(p product, extra string, options ...veeamtest.Option) (s *setup, err error) {
	s = &setup{product: p, server: veeamtest.New(p.profile, options...)}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.dir, err = os.MkdirTemp("", "veeam-auth-load-"); err != nil {
		return s, err
	}
	if err := s.server.Start(); err != nil {
		return s, err
	}
	ports, err := harness.FreePorts(1)
	if err != nil {
		return s, err
	}
	s.port = ports[0]
	s.caddy, err = startCaddy(s.dir, s.caddyfile(extra))
	return s, err
}

// startCaddy starts Caddy with the text of a Caddyfile, or of a configuration as JSON.
func startCaddy(dir, text string, env ...string) (*harness.Caddy, error) {
	file := filepath.Join(dir, "Caddyfile")
	if json.Valid([]byte(text)) {
		file = filepath.Join(dir, "caddy.json")
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return harness.StartCaddy(dir, file, append(env,
		"LOAD_PASSWORD="+veeamtest.DefaultPassword, "LOAD_MFA_PASSWORD="+veeamtest.DefaultMFAPassword,
		"LOAD_TOTP_SECRET="+veeamtest.DefaultTOTPSecret))
}

// withoutLog is for global options: nothing is logged but errors.
const withoutLog = `
	log default {
		level ERROR
		exclude http.handlers.veeam_auth.svc
	}
`

// caddyfile is the configuration of the sidecar. extra goes among the options of
// the directive.
func (s *setup) caddyfile(extra string) string {
	return fmt.Sprintf("{%s}\n%s", withoutLog, s.site(s.port, extra))
}

// site is a site with the module.
func (s *setup) site(port int, extra string) string {
	account := veeamtest.DefaultUser + " {env.LOAD_PASSWORD}"
	if s.product.mfa {
		account = veeamtest.DefaultMFAUser + ` {
			password {env.LOAD_MFA_PASSWORD}
			totp_secret {env.LOAD_TOTP_SECRET}
		}`
	}
	return fmt.Sprintf(`
http://127.0.0.1:%d {
	bind 127.0.0.1
	veeam_auth %s {
		product %s
		account %s
		tls_pin %s
		%s
	}
}
`, port, s.server.URL(), s.product.name, account, harness.Pin(s.server), extra)
}

// plainSite is another site without the module, whose token is in the
// configuration.
func (s *setup) plainSite(port int, token string) string {
	return fmt.Sprintf(`
http://127.0.0.1:%d {
	bind 127.0.0.1
	reverse_proxy %s {
		header_up Authorization "Bearer %s"
		header_up X-Api-Version 1.1-rev0
		transport http {
			tls_insecure_skip_verify
		}
	}
}
`, port, s.server.URL(), token)
}

// url is the address of one of the server's test routes behind the sidecar.
func (s *setup) url(route string) string { return s.urlAt(s.port, route) }

func (s *setup) urlAt(port int, route string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s/%s", port, s.server.Base(), route)
}

// logIn gets a token from the emulated server itself.
func logIn(ctx context.Context, server *veeamtest.Server) (token string, err error) {
	client := &http.Client{Transport: server.Transport()}
	return tokenFrom(ctx, client, "https://"+string(server.Profile())+server.TokenPath())
}

// askForToken gets a token from the sidecar.
func askForToken(ctx context.Context, site string) (token string, err error) {
	return tokenFrom(ctx, http.DefaultClient, site+"/api/oauth2/token")
}

func tokenFrom(ctx context.Context, client *http.Client, address string) (token string, err error) {
	form := url.Values{"grant_type": {"password"}, "username": {veeamtest.DefaultUser}, "password": {veeamtest.DefaultPassword}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Api-Version", "1.1-rev0")
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return "", err
	}
	if answer.AccessToken == "" {
		return "", fmt.Errorf("no token from %s, status %d", address, res.StatusCode)
	}
	return answer.AccessToken, nil
}

// harmless is what Caddy's storage prints when the next holder of a lock writes its file
// just as the keeper of the last one, which has ended, looks at it.
var harmless = regexp.MustCompile(`(?m)^.*Keeping lock file fresh: unexpected end of JSON input.*$`)

// faults is what Caddy has printed, which is nothing if all is well.
func (s *setup) faults() error {
	if out := strings.TrimSpace(harmless.ReplaceAllString(s.caddy.Output(), "")); out != "" {
		const some = 2000
		if len(out) > some {
			out = out[:some] + " …"
		}
		return errors.New("caddy has printed: " + out)
	}
	return nil
}

func (s *setup) stop() {
	if s.caddy != nil {
		s.caddy.Stop()
	}
	s.server.Close()
	_ = os.RemoveAll(s.dir)
}

// The page for operators, in a real Chromium.

package browser

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/pquerna/otp/totp"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// pageScene is a world whose Caddy has the page, with accounts in several states.
type pageScene struct {
	*world
	mfa  *veeamtest.Server // asks for codes
	page string            // address of the page's listener
	site map[string]string // URLs, by the name of their account
}

// grafana is a client; its hash is that of basicPassword.
const grafana = "grafana"

func newPageScene(t *testing.T, more int) *pageScene {
	t.Helper()
	needChromium(t)
	w := &world{dir: t.TempDir(), executed: map[string]int{}}
	s := &pageScene{world: w, site: map[string]string{}}
	w.server = veeamtest.New(veeamtest.VBR13)
	s.mfa = veeamtest.New(veeamtest.Azure, veeamtest.WithAccount(veeamtest.Account{Username: "svc-azure", Password: "azure", TOTPSecret: pageSeed}))
	for _, server := range []*veeamtest.Server{w.server, s.mfa} {
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
	}
	w.attacker = httptest.NewServer(http.HandlerFunc(attack))
	t.Cleanup(w.attacker.Close)
	secret := func(text string) string {
		path := filepath.Join(w.dir, "secret-"+text)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "{file." + path + "}"
	}
	ports, err := harness.FreePorts(5)
	if err != nil {
		t.Fatal(err)
	}
	var config strings.Builder
	s.page = fmt.Sprintf("127.0.0.1:%d", ports[4])
	fmt.Fprintf(&config, "{\n\tdebug\n\tadmin {$CADDY_ADMIN}\n\tveeam_auth {\n\t\tpage %s\n\t}\n}\n", s.page)
	site := func(at int, name string, server *veeamtest.Server, product, body string) {
		s.site[name] = fmt.Sprintf("http://127.0.0.1:%d", ports[at])
		fmt.Fprintf(&config, "http://:%d {\n\tbind 127.0.0.1\n\tveeam_auth %s {\n\t\tproduct %s\n\t\ttls_pin %s\n%s\t}\n}\n", ports[at], server.URL(), product, harness.Pin(server), body)
	}
	accounts := "\t\taccount svc-monitor " + secret(veeamtest.DefaultPassword) + "\n"
	for i := range more {
		accounts += fmt.Sprintf("\t\taccount tenant-%03d %s\n", i+1, secret("tenant"))
	}
	site(0, "svc-monitor", w.server, "vbr", accounts+"\t\tclient "+grafana+" "+basicHash+"\n\t\tallow operation read\n\t\tapprove operation run\n\t\tact_as {http.request.header.X-Account}\n")
	site(1, "svc-restore", w.server, "vbr", "\t\taccount svc-restore "+secret("wrong")+"\n")
	site(2, "svc-azure", s.mfa, "azure", "\t\taccount svc-azure "+secret("azure")+"\n")
	fmt.Fprintf(&config, "http://:%d {\n\tbind 127.0.0.1\n\tbasic_auth {\n\t\t%s %s\n\t}\n\tveeam_auth_page\n}\n", ports[3], basicUser, basicHash)
	s.site["page"] = fmt.Sprintf("http://localhost:%d", ports[3])
	path := filepath.Join(w.dir, "Caddyfile")
	if err := os.WriteFile(path, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if w.caddy, err = harness.StartCaddy(w.dir, path, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.caddy.Stop)
	w.startBrowser(t)
	return s
}

// pageSeed is the seed of the account that has codes; the sidecar does not know it.
const pageSeed = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"

func (s *pageScene) url() string { return "http://" + s.page + "/" }

// request sends a request of a program to a site.
func (s *pageScene) request(t *testing.T, account, path string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.site[account]+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if account == "svc-monitor" {
		req.Header.Set("X-Account", account)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// shows waits until a condition holds in the page.
func (s *pageScene) shows(t *testing.T, condition string) {
	t.Helper()
	for deadline := time.Now().Add(harness.Patience); ; time.Sleep(50 * time.Millisecond) {
		if value, err := chromedp.Run(s.browser, chromedp.Evaluate[bool]("Boolean("+condition+")")); err == nil && value {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the page does not show %s: %s", condition, eval[string](t, s.world, "document.body.innerText"))
		}
	}
}

// click waits until an element is there, and clicks it.
func (s *pageScene) click(t *testing.T, element string) {
	t.Helper()
	s.shows(t, "((e) => { e?.click(); return e; })("+element+")")
}

// shot writes a picture of the page into the folder of VEEAM_AUTH_SHOTS, by default one
// that is removed after the test.
func (s *pageScene) shot(t *testing.T, name string) {
	t.Helper()
	picture, err := chromedp.Run(s.browser, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	folder := os.Getenv("VEEAM_AUTH_SHOTS")
	if folder == "" {
		folder = s.dir
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o600); err != nil {
		t.Fatal(err)
	}
}

// look chooses the size of the window, and dark or light.
func (s *pageScene) look(t *testing.T, width, height int64, scheme string) {
	t.Helper()
	for _, action := range []chromedp.Action[chromedp.Void]{
		chromedp.EmulateViewport(width, height),
		chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
			})
			return err
		}),
	} {
		if err := s.try(action); err != nil {
			t.Fatal(err)
		}
	}
}

func TestThePageShowsWhatOperatorsNeed(t *testing.T) {
	s := newPageScene(t, 0)
	s.look(t, 1200, 800, "light")
	s.request(t, "svc-monitor", "/api/v1/jobs")
	s.logIn(t)
	s.visit(t, s.url())
	s.shows(t, "document.querySelectorAll('[role=tabpanel] tbody').length == 3")
	s.shows(t, "['Version ', 'Configuration ', 'Started '].every((word) => document.getElementById('about').innerText.includes(word))")
	s.shot(t, "well")
	s.request(t, "svc-restore", "/api/v1/jobs")
	s.request(t, "svc-azure", "/api/v8.1/policies")
	for _, text := range []string{"2 of 3 accounts need attention", "Code needed", "Held for", "Logged in", "Enter a code", "1 of 2", "Pinned, ", "Expires in"} {
		s.shows(t, fmt.Sprintf("document.body.innerText.includes(%q)", text))
	}
	s.shot(t, "held")
	s.click(t, "document.querySelectorAll('.twist')[1]")
	s.shows(t, "document.body.innerText.includes('Certificate valid until')")
	s.shot(t, "details")
	s.accessible(t, "accounts", 1200, 800)
	s.accessible(t, "accounts on a phone", 390, 844)
	s.seesWhatIsIllegible(t)
	s.look(t, 1200, 800, "dark")
	s.shot(t, "dark")
	s.look(t, 390, 844, "light")
	s.shot(t, "phone")
	if wide := eval[int](t, s.world, "document.documentElement.scrollWidth"); wide > 390 {
		t.Errorf("the page is %d pixels wide on a phone of 390", wide)
	}
	s.look(t, 1200, 800, "light")
	if status := s.send(t, http.MethodDelete, s.site["svc-monitor"]+"/api/v1/jobs/x", nil); status != http.StatusForbidden {
		t.Errorf("a request that no rule allows: %d", status)
	}
	for view, texts := range map[string][]string{
		"clients": {grafana, "Yes, for "}, "decisions": {"/api/v1/jobs", "Allowed", "Refused", "Denied", "default", "403"}, "log": {"Login failed for user 'svc-restore'.", "is denied"},
	} {
		s.click(t, "document.getElementById('tab-"+view+"')")
		for _, text := range texts {
			s.shows(t, fmt.Sprintf("document.querySelector('[role=tabpanel]:not([hidden])').innerText.includes(%q)", text))
		}
		s.shot(t, view)
		s.accessible(t, view, 1200, 800)
		s.look(t, 390, 844, "dark")
		s.shot(t, view+" on a phone")
		if wide := eval[int](t, s.world, "document.documentElement.scrollWidth"); wide > 390 {
			t.Errorf("%s is %d pixels wide on a phone of 390", view, wide)
		}
		s.look(t, 1200, 800, "light")
	}
	s.carriesOut(t)
	s.approves(t)
	s.click(t, "document.getElementById('tab-log')")
	// The view that is open, the log, is the one that is filtered.
	eval[bool](t, s.world, "document.getElementById('find-line').value = 'svc-azure', document.getElementById('find-line').dispatchEvent(new Event('input')), true")
	s.shows(t, "((lines) => lines.length && lines.every((l) => l.innerText.includes('svc-azure')))([...document.querySelectorAll('#lines li')])")

	// What the page may not do, and what a screen reader needs.
	for what, script := range map[string]string{
		"a script of text":  "(() => { try { document.body.insertAdjacentHTML('beforeend', '<b>x</b>'); return true; } catch { return false; } })()",
		"another origin":    "fetch('" + s.origin("evil.test") + "/page').then(() => true, () => false)",
		"a nameless button": "[...document.querySelectorAll('button, input, select')].some((e) => !e.hidden && !(e.textContent || e.getAttribute('aria-label') || e.labels && e.labels.length))",
	} {
		if eval[bool](t, s.world, script) {
			t.Errorf("the page has or does: %s", what)
		}
	}

	// At a site it has no acts, and nobody sees it whom no handler knows.
	if status := s.request(t, "page", "/"); status != http.StatusUnauthorized {
		t.Errorf("without a password: %d", status)
	}
	s.visit(t, strings.Replace(s.site["page"], "://", "://"+basicUser+":"+basicPassword+"@", 1)+"/")
	s.visit(t, s.site["page"]+"/")
	s.shows(t, "document.body.innerText.includes('Read-only')")
	if eval[bool](t, s.world, "document.body.innerText.includes('Lift hold')") {
		t.Error("the read-only page offers an act")
	}
	if status := eval[int](t, s.world, "fetch('sessions/login', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{\"account\": \"svc-restore\"}'}).then((r) => r.status)"); status < http.StatusBadRequest {
		t.Errorf("the read-only page acts: %d", status)
	}
	s.followsReloads(t)
}

// logIn has the client get a token.
func (s *pageScene) logIn(t *testing.T) {
	t.Helper()
	form := url.Values{"grant_type": {"password"}, "username": {grafana}, "password": {basicPassword}}
	if status := s.send(t, http.MethodPost, s.site["svc-monitor"]+"/api/oauth2/token", form); status >= http.StatusBadRequest {
		t.Fatalf("the client gets %d", status)
	}
}

// send sends a form, or nothing.
func (s *pageScene) send(t *testing.T, method, to string, form url.Values) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, to, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("X-Account", "svc-monitor")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// carriesOut has the page do what it offers for a session and a client that are well: each
// act asks first, is carried out and logged.
func (s *pageScene) carriesOut(t *testing.T) {
	t.Helper()
	logged := func(act string) int { return strings.Count(s.caddy.Output(), "act of an operator: "+act+`"`) }
	confirm := func(act, button string) {
		t.Helper()
		s.click(t, button)
		s.shows(t, "document.querySelector('dialog[open] .main-act')")
		if n := logged(act); n != 0 {
			t.Errorf("%s is done before it is confirmed", act)
		}
		s.shot(t, "dialog "+act)
		s.click(t, "document.querySelector('dialog .main-act')")
		s.shows(t, "!document.querySelector('dialog[open]')")
		harness.Eventually(t, act+" is logged", func() bool { return logged(act) == 1 })
	}
	s.click(t, "document.getElementById('tab-accounts')")
	row := "[...document.querySelectorAll('#view-accounts tbody')].find((row) => row.textContent.includes('svc-monitor'))"
	s.click(t, row+".querySelector('.twist')")
	for _, act := range []struct{ name, label string }{{"renew", "Renew…"}, {"login", "Log in…"}, {"logout", "Log out…"}, {"forget", "Forget…"}} {
		if act.name == "forget" {
			s.request(t, "svc-monitor", "/api/v1/jobs") // for which there is a session again
		}
		s.shows(t, "["+"..."+row+".querySelectorAll('.more button')].some((b) => b.textContent === '"+act.label+"')")
		confirm(act.name, "[..."+row+".querySelectorAll('.more button')].find((b) => b.textContent === '"+act.label+"')")
	}
	s.click(t, "document.getElementById('tab-clients')")
	s.shows(t, "document.querySelector('#view-clients .button:not([hidden])')")
	confirm("revoke", "document.querySelector('#view-clients .button')")
	s.shows(t, "document.getElementById('view-clients').innerText.includes('None, revoked')")
}

// change sends a request that requires an approval, and returns the status of its answer.
func (s *pageScene) change(t *testing.T, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.site["svc-monitor"]+"/api/v1/jobs/3a4be1c7-1f2d-4a8a-b5f5-6d7c0f0d9b42/start", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Account", "svc-monitor")
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// approves has a request wait, be seen and approved on the page, and pass.
func (s *pageScene) approves(t *testing.T) {
	t.Helper()
	send := func() int { return s.change(t, `{"performActiveFull":true,"password":"s3cr3tt0ken"}`) }
	if status := send(); status != http.StatusForbidden {
		t.Errorf("a request that requires an approval: %d", status)
	}
	s.click(t, "document.getElementById('tab-approvals')")
	for _, text := range []string{"1 request waits for an approval", "/start", "hmac-sha256:", `"performActiveFull":true`, "loopback", "Approve…"} {
		s.shows(t, fmt.Sprintf("document.body.innerText.includes(%q)", text))
	}
	s.shows(t, "!document.body.innerText.includes('s3cr3t')")
	s.shot(t, "approvals")
	s.accessible(t, "approvals", 1200, 800)
	s.accessible(t, "approvals on a phone", 390, 844)
	s.look(t, 1200, 800, "light")
	s.click(t, "[...document.querySelectorAll('#view-approvals button')].find((e) => e.innerText == 'Approve…')")
	s.shows(t, "document.querySelector('dialog[open]').innerText.includes('/start of loopback')")
	s.shot(t, "approve")
	s.click(t, "[...document.querySelectorAll('dialog button')].find((e) => e.innerText == 'Approve')")
	s.shows(t, "!document.querySelector('dialog[open]') && document.querySelector('#view-approvals').innerText.includes('to be used in')")
	if status := send(); status == http.StatusForbidden {
		t.Error("the approved request is refused")
	}
	s.shows(t, "document.querySelector('#view-approvals').innerText.includes('Used')")
}

// followsReloads shows that the listener outlives a reload, and ends with the option.
func (s *pageScene) followsReloads(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	config := strings.ReplaceAll(string(text), "{$CADDY_ADMIN}", s.caddy.Admin)
	answers := func() bool {
		res, err := http.Get(s.url() + "veeam_auth/state")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	}
	if err := s.caddy.Load(t.Context(), []byte(config)); err != nil || !answers() {
		t.Errorf("after a reload the page does not answer: %v", err)
	}
	without := strings.ReplaceAll(strings.ReplaceAll(config, "\tveeam_auth_page\n", "\trespond 204\n"), "\tveeam_auth {\n\t\tpage "+s.page+"\n\t}\n", "")
	if err := s.caddy.Load(t.Context(), []byte(without)); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the listener ends with the option", func() bool { http.DefaultClient.CloseIdleConnections(); return !answers() })
}

// The page is painted, and says so, while Caddy does not answer what it asks. Of many accounts
// all are shown.
func TestThePageShowsManyAccounts(t *testing.T) {
	s := newPageScene(t, 100)
	s.look(t, 1200, 1000, "light")
	var silent page.ScriptIdentifier
	if err := s.try(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		added, err := cdp.Call(ctx, target, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: "self.asked = 0, self.fetch = () => { self.asked++; return new Promise(() => {}); }"})
		silent = added.Identifier
		return err
	})); err != nil {
		t.Fatal(err)
	}
	s.visit(t, s.url())
	s.shows(t, "performance.getEntriesByName('first-contentful-paint').length && document.getElementById('summary').innerText == 'Loading…' && document.querySelectorAll('[role=tab]').length == 5 && self.asked == 1")
	if err := s.try(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, page.RemoveScriptToEvaluateOnNewDocument, page.RemoveScriptToEvaluateOnNewDocumentParams{Identifier: silent})
		return err
	})); err != nil {
		t.Fatal(err)
	}
	s.visit(t, s.url())
	s.shows(t, "document.querySelectorAll('[role=tabpanel] tbody').length == 103")
	s.shot(t, "many")
}

// press presses keys.
func (s *pageScene) press(t *testing.T, keys string) {
	t.Helper()
	if err := s.try(chromedp.KeyEvent(keys)); err != nil {
		t.Fatal(err)
	}
}

// tabTo presses the tab key until what has the focus fulfils a condition.
func (s *pageScene) tabTo(t *testing.T, condition string) {
	t.Helper()
	for range 60 {
		if eval[bool](t, s.world, "((e) => Boolean("+condition+"))(document.activeElement)") {
			return
		}
		s.press(t, kb.Tab)
	}
	t.Fatalf("the tab key does not lead to %s", condition)
}

func TestAnOperatorActsByTheKeyboardAlone(t *testing.T) {
	s := newPageScene(t, 0)
	s.look(t, 1200, 800, "light")
	s.request(t, "svc-restore", "/api/v1/jobs")
	s.request(t, "svc-azure", "/api/v8.1/policies")
	s.visit(t, s.url())
	s.shows(t, "document.body.innerText.includes('Code needed')")
	// What the page tells of an act it tells for some seconds, in which nobody may look here.
	eval[bool](t, s.world, "self.said = '', new MutationObserver((all) => { self.said += all[0].target.innerText; }).observe(document.getElementById('toast'), {childList: true}), true")

	// A code.
	s.tabTo(t, "(e.getAttribute('aria-label') || '').startsWith('Enter code: svc-azure')")
	s.press(t, kb.Enter)
	s.shows(t, "document.querySelector('dialog[open]') && document.activeElement.id == 'code'")
	s.press(t, "000000"+kb.Enter)
	s.shows(t, "document.querySelector('dialog [role=alert]:not([hidden])') && document.querySelector('dialog').innerText.includes('2 of 3 tries left')")
	s.shows(t, "document.querySelector('dialog .cost').innerText.includes('2 tries of 3 left')")
	s.shot(t, "refused")
	s.accessible(t, "a dialog with an error", 1200, 800)
	code, err := totp.GenerateCode(pageSeed, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.press(t, code+kb.Enter)
	s.shows(t, "!document.querySelector('dialog[open]') && self.said.includes('svc-azure')")
	s.shows(t, "document.body.innerText.includes('1 of 3 accounts need')")
	if got := s.request(t, "svc-azure", "/api/v8.1/echo"); got >= http.StatusInternalServerError {
		t.Errorf("after the code: %d", got)
	}

	// A hold with one try left: the act says so, and sends nothing without the tick.
	before := s.server.Counters().TokenRequests
	s.tabTo(t, "(e.getAttribute('aria-label') || '').startsWith('Lift hold: svc-restore')")
	s.press(t, kb.Enter)
	s.shows(t, "document.querySelector('dialog').innerText.includes('1 try of 2 left')")
	s.shot(t, "last try")
	s.tabTo(t, "e.innerText == 'Lift hold'")
	s.press(t, kb.Enter)
	s.shows(t, "document.querySelector('dialog [role=alert]:not([hidden])').innerText.includes('Nothing was sent')")
	s.tabTo(t, "e.id == 'force'")
	s.press(t, " ")
	s.tabTo(t, "e.innerText == 'Lift hold'")
	s.press(t, kb.Enter)
	s.shows(t, "self.said.includes('svc-restore')")
	if after := s.server.Counters().TokenRequests; after != before {
		t.Errorf("%d token requests for lifting a hold", after-before)
	}
	for _, act := range []string{"act of an operator: code", "act of an operator failed: code", "act of an operator: lift", "act of an operator failed: lift"} {
		if !strings.Contains(s.caddy.Output(), act) {
			t.Errorf("the log does not say: %s", act)
		}
	}

	// The views, by the arrow keys.
	s.tabTo(t, "e.id == 'tab-accounts'")
	s.press(t, kb.ArrowRight+kb.ArrowRight)
	s.shows(t, "document.activeElement.id == 'tab-decisions' && !document.getElementById('view-decisions').hidden")
}

func TestNoPageButItsOwnActs(t *testing.T) {
	s := newPageScene(t, 0)
	attempts, departures := s.names(t)
	s.request(t, "svc-monitor", "/api/v1/jobs")
	before, admin := s.server.Counters(), "http://"+s.page
	acts := func() int { return strings.Count(s.caddy.Output(), "act of an operator") }
	rebound := fmt.Sprintf("http://evil.test:%d", startRelay(t, nil, func() (net.Conn, error) { return net.Dial("tcp", s.page) }, s.attacker.URL))
	sent := 0
	for page, base := range map[string]string{s.origin("evil.test") + "/page?admin": admin, s.origin("127.0.0.1") + "/page?admin": admin, rebound + "/page?admin": rebound} {
		s.open(t, page)
		for _, path := range []string{"sessions/login", "tokens/revoke"} {
			var calls []string
			for _, name := range without(attempts, "redirect") {
				calls = append(calls, call(name, base, "/veeam_auth/"+path, name))
			}
			eval[bool](t, s.world, "Promise.all(["+strings.Join(calls, ", ")+"]).then(() => true)")
			sent += len(calls)
		}
		for _, name := range without(departures, "redirect")[:2] {
			s.open(t, page)
			_ = s.try(chromedp.Evaluate[chromedp.Void]("setTimeout(() => " + call(name, base, "/veeam_auth/sessions/login", name) + "); 1"))
			sent++
		}
		s.open(t, page)
		if got := eval[string](t, s.world, "fetch('"+base+"/veeam_auth/state').then((r) => r.text(), (e) => 'failed')"); strings.Contains(got, "svc-monitor") {
			t.Errorf("%s has read %.200s", page, got)
		}
		// A frame of the page: its script must not run.
		asked := strings.Count(s.caddy.Output(), `"uri":"/veeam_auth/state`)
		framed := eval[bool](t, s.world, `new Promise((resolve) => {
			const frame = document.createElement('iframe');
			frame.onload = () => setTimeout(() => { try { resolve(Boolean(frame.contentDocument && frame.contentDocument.getElementById('summary'))); } catch { resolve(false); } }, 200);
			frame.src = '`+base+`/veeam_auth/';
			document.body.append(frame);
		})`)
		if now := strings.Count(s.caddy.Output(), `"uri":"/veeam_auth/state`); framed || now != asked {
			t.Errorf("%s: the page runs in a frame: %v, %d questions", page, framed, now-asked)
		}
	}
	after := s.server.Counters()
	arrived := strings.Count(s.caddy.Output(), `"uri":"/veeam_auth/`)
	t.Logf("%d attempts, %d requests, %d acts", sent, arrived, acts())
	if arrived < sent/2 {
		t.Errorf("%d of %d attempts have arrived", arrived, sent)
	}
	if n := acts(); n != 0 || after.TokenRequests != before.TokenRequests || after.Logouts != before.Logouts || after.LiveSessions != before.LiveSessions {
		t.Errorf("%d acts after %d attempts: %+v, before: %+v", n, sent, after, before)
	}
	// The test would notice: the page itself acts.
	s.visit(t, s.url())
	status := eval[int](t, s.world, "fetch('sessions/login', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{\"account\": \"svc-monitor\"}'}).then((r) => r.status)")
	if status != http.StatusOK || acts() != 1 {
		t.Errorf("the page's own act: %d, %d acts", status, acts())
	}
}

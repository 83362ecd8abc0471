// What others say, on the page: names, paths and lines of the log that are markup, or
// characters that hide something.

package browser

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// poisoned has every text that the page gets begin with markup and characters that are not
// seen, except times and what the page only compares.
const poisoned = `(() => {
	const kept = new Set(['started', 'now', 'at', 'last_success', 'last_failure', 'secret_accepted', 'not_after', 'until', 'expires', 'first_issued', 'last_issued', 'last_used', 'revoked', 'status', 'asked', 'state', 'decided', 'used']);
	const evil = (self.longer || '') + '<img src=x onerror="self.hacked=1"><script>self.hacked=1<\/script>&lt;b&gt;\u202e\u0007\u200b\r\n';
	const poison = (value, key) => typeof value === 'string' ? (kept.has(key) || value === 'code_needed' ? value : evil + value)
		: Array.isArray(value) ? value.map((v) => poison(v, key))
		: value && typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, poison(v, k)])) : value;
	const real = self.fetch;
	self.fetch = async (target, ...rest) => {
		const answer = await real(target, ...rest);
		if (!String(target).startsWith('state')) return answer;
		const got = await answer.json(), at = (minutes) => new Date(Date.now() + 60000 * minutes).toISOString();
		if (self.asking) got.approvals = ['waiting', 'approved', 'denied', 'expired', 'used'].map((status) => ({ id: 'apr_' + status, status: status, product: 'vbr', client: 'agent', account: 'svc', rule: 'Caddyfile:7',
			method: 'POST', path: '/api/v1/jobs', query: 'a=b', operation: 'StartJob', class: 'run', content_type: 'application/json', content_encoding: 'gzip', body_bytes: 5e6, body_digest: 'sha256:0',
			body: status === 'waiting' ? ('{"a":\n\u001b[2J\u001b[31m\u05d0\u05d1\u0627 <script>self.hacked=1<\/script>' + 'x'.repeat(200) + '}\n').repeat(50) : '', asked: at(-9), expires: at(5), decided: at(-1), used: at(-1), by: 'bob' }));
		const state = poison(got);
		Object.assign(state.accounts[0], { lost_early: 3, next_password: true, lease_holder: evil + 'host/1234', shared: true, loaded: true, purpose: evil, takes_secret: true });
		return new Response(JSON.stringify(state));
	};
})()`

// harmed counts what is on the page that must not be there.
const harmed = `(self.hacked ? 1 : 0) + document.querySelectorAll('img, b, iframe, main script, dialog script, header script, footer script').length +
	(/[\u0000-\u0008\u200b-\u200f\u202a-\u202e]/.test(document.title + [...document.querySelectorAll('main, header, footer, dialog')].map((e) => e.textContent + [...e.querySelectorAll('[aria-label]')].map((l) => l.getAttribute('aria-label')).join('')).join('')) ? 1 : 0)`

func TestNothingThatOthersSayBecomesMarkup(t *testing.T) {
	s := newPageScene(t, 0)
	s.look(t, 1200, 1000, "light")
	// What a caller can choose, through all of Caddy.
	for _, path := range []string{"/api/v1/%3Cimg%20src=x%20onerror=self.hacked=1%3E", "/api/v1/jobs?name=%3Cscript%3E", "/api/v1/%E2%80%AEgnp.exe"} {
		s.request(t, "svc-monitor", path)
	}
	for _, user := range []string{`<img src=x onerror="self.hacked=1">`, "gr\u202eafana", "grafana\x1b[2J"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.site["svc-monitor"]+"/api/oauth2/token",
			strings.NewReader(url.Values{"grant_type": {"password"}, "username": {user}, "password": {"guessed"}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("User-Agent", `<img src=x onerror="self.hacked=1">`)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	s.request(t, "svc-restore", "/api/v1/jobs")
	s.request(t, "svc-azure", "/api/v8.1/policies")
	s.visit(t, s.url())
	for view, text := range map[string]string{"decisions": "img", "log": "<img src=x"} {
		s.click(t, "document.getElementById('tab-"+view+"')")
		s.shows(t, "document.querySelector('[role=tabpanel]:not([hidden])').innerText.includes('"+text+"')")
		if n := eval[int](t, s.world, harmed); n != 0 {
			t.Errorf("%s: %d", view, n)
		}
	}

	// What a caller cannot choose, as if it could.
	if err := s.try(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: poisoned})
		return err
	})); err != nil {
		t.Fatal(err)
	}
	s.visit(t, s.url())
	s.shows(t, "document.querySelectorAll('#view-accounts tbody').length == 3")
	for _, view := range []string{"clients", "decisions", "log", "accounts"} {
		s.click(t, "document.getElementById('tab-"+view+"')")
		s.shows(t, `((text) => text.includes('<img src=x onerror="self.hacked=1"><script>') && text.includes('&lt;b&gt;\\u202e\\u0007\\u200b'))(document.querySelector('[role=tabpanel]:not([hidden])').textContent)`)
	}
	eval[bool](t, s.world, "document.querySelectorAll('.twist').forEach((e) => e.click()), true")
	s.shows(t, "document.querySelectorAll('.facts').length == 3")
	for _, text := range []string{"next_password is in use", "3 tokens in a row ended early", "host/1234", "the shared cache", "Lock-out budget", "Last error"} {
		s.shows(t, fmt.Sprintf("document.getElementById('view-accounts').textContent.includes(%q)", text))
	}
	fields := map[string]int{}
	for i := range eval[int](t, s.world, "document.querySelectorAll('#view-accounts .button').length") {
		s.click(t, fmt.Sprintf("document.querySelectorAll('#view-accounts .button')[%d]", i))
		s.shows(t, "document.querySelector('dialog[open]')")
		if n := eval[int](t, s.world, harmed); n != 0 {
			t.Errorf("dialog %d: %d", i, n)
		}
		fields[eval[string](t, s.world, "((e) => e ? e.id + ' ' + e.type + ' ' + e.autocomplete : '')(document.querySelector('dialog input:not([type=checkbox])'))")]++
		eval[bool](t, s.world, "document.querySelector('dialog').close(), true")
	}
	if n := eval[int](t, s.world, harmed); n != 0 {
		t.Errorf("details: %d", n)
	}
	if fields["code text one-time-code"] == 0 || fields["secret password off"] == 0 || fields[""] == 0 {
		t.Errorf("the dialogs have %v", fields)
	}
	s.shot(t, "hostile")
	// The search would notice.
	if n := eval[int](t, s.world, "document.querySelector('main').append(document.createElement('img'), '\\u202e'), "+harmed); n != 2 {
		t.Errorf("an image and a character are %d", n)
	}
}

// longTexts has every text of the page begin with a word that nobody can break, in several
// scripts, and requests wait for approvals.
const longTexts = `self.asking = true, self.longer = '\u05d0\u05d1\u05d2\u0627\u0644'.repeat(8) + 'W'.repeat(400) + '\u001b[31m'`

// outside lists what reaches beyond the window to the right, whatever cuts it off.
const outside = `(() => {
	const found = [], width = document.documentElement.clientWidth;
	if (document.documentElement.scrollWidth > width) found.push('the page is ' + document.documentElement.scrollWidth + ' wide');
	for (const e of document.querySelectorAll('header *, nav, main *, footer *, dialog[open], dialog[open] *, #toast')) {
		if (!e.checkVisibility({ contentVisibilityAuto: true }) || e.closest('.unseen, thead, .skip, select') || getComputedStyle(e).position === 'fixed' && !e.textContent) continue;
		const box = e.getBoundingClientRect();
		if (box.right > width + 1 || box.left < -1) found.push(e.tagName + '.' + e.className + ' ' + Math.round(box.left) + ' to ' + Math.round(box.right) + ': ' + e.textContent.slice(0, 40));
		else if (e.scrollWidth > e.clientWidth + 1 && e.clientWidth && getComputedStyle(e).overflowX !== 'visible' && !e.matches('[role=tablist], input, .state')) found.push(e.tagName + '.' + e.className + ' holds ' + e.scrollWidth + ' in ' + e.clientWidth);
	}
	return found.slice(0, 5);
})()`

// Text of any length, in any script, with any character stays text, and within the window of
// a small phone and of a desk.
func TestHostileTextKeepsThePageInShape(t *testing.T) {
	s := newPageScene(t, 0)
	s.request(t, "svc-monitor", "/api/v1/jobs")
	s.request(t, "svc-monitor", "/api/v1/"+strings.Repeat("x", 4000))
	s.request(t, "svc-restore", "/api/v1/jobs")
	s.request(t, "svc-azure", "/api/v8.1/policies")
	s.logIn(t)
	// A request with a body of a megabyte waits.
	body := `{"names":["` + strings.Repeat(`<img src=x onerror='self.hacked=1'>`+"\u202e\u05d0\u05d1\u0627\u0644"+`\u001b[31m","`, 15_000) + `"]}`
	if status := s.change(t, body); status != http.StatusForbidden {
		t.Errorf("a request that requires an approval: %d", status)
	}
	look := func(name string) {
		t.Helper()
		for _, size := range []struct{ width, height int64 }{{360, 740}, {1200, 800}} {
			s.look(t, size.width, size.height, "light")
			what := fmt.Sprintf("%s, %d pixels", name, size.width)
			if found := eval[[]string](t, s.world, outside); len(found) > 0 {
				t.Errorf("%s: %q", what, found)
			}
			if n := eval[int](t, s.world, harmed); n != 0 {
				t.Errorf("%s: %d", what, n)
			}
			s.shot(t, "hostile "+what)
		}
	}
	s.visit(t, s.url())
	s.click(t, "document.getElementById('tab-approvals')")
	s.shows(t, "document.querySelector('#view-approvals pre').textContent.includes('<img src=x') && document.getElementById('view-approvals').innerText.includes('bytes')")
	look("a megabyte that waits")

	if err := s.try(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: longTexts + ";" + poisoned})
		return err
	})); err != nil {
		t.Fatal(err)
	}
	s.visit(t, s.url())
	s.shows(t, "document.querySelectorAll('#view-accounts tbody').length == 3")
	for _, view := range []string{"clients", "decisions", "log", "approvals", "accounts"} {
		s.click(t, "document.getElementById('tab-"+view+"')")
		s.shows(t, "document.querySelector('[role=tabpanel]:not([hidden])').textContent.includes('WWWW')")
		look(view)
	}
	eval[bool](t, s.world, "document.querySelectorAll('#view-accounts .twist').forEach((e) => e.click()), true")
	s.shows(t, "document.querySelectorAll('#view-accounts .facts').length == 3")
	look("details")
	s.click(t, "document.querySelector('#view-accounts .button')")
	s.shows(t, "document.querySelector('dialog[open]')")
	look("a dialog")
	s.accessible(t, "hostile text on a phone", 360, 740)
	// The search would notice.
	if found := eval[[]string](t, s.world, "document.querySelector('dialog').close(), document.getElementById('summary').style.whiteSpace = 'nowrap', document.getElementById('summary').textContent = 'W'.repeat(400), "+outside); len(found) == 0 {
		t.Error("a line that is too long is not found")
	}
}

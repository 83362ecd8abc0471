// The matrix: each way in which a page can have a request sent, from each page of
// an attacker's, to each site that lets the browser's user in.

package browser

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

const echo = "/api/v1/echo"

// names are the attempts of page.js: those that leave the page where it is, and
// those that replace it.
func (w *world) names(t *testing.T) (attempts, departures []string) {
	t.Helper()
	w.open(t, w.origin("evil.test")+"/page")
	attempts = eval[[]string](t, w, "Object.keys(attempts)")
	departures = eval[[]string](t, w, "Object.keys(departures)")
	if len(attempts) < 30 || len(departures) < 5 {
		t.Fatalf("%q, %q", attempts, departures)
	}
	return attempts, departures
}

// attack makes the attempts at a page, and returns their marks when all of them
// have been answered.
func (w *world) attack(t *testing.T, page, base, path, run string, names []string) (marks []string) {
	t.Helper()
	missing := names
	for range tries {
		w.open(t, page)
		var calls []string
		for _, name := range missing {
			calls = append(calls, call(name, base, path, run+": "+name))
		}
		eval[bool](t, w, "Promise.all(["+strings.Join(calls, ", ")+"]).then(() => true)")
		marks = marks[:0]
		for _, name := range names {
			marks = append(marks, run+": "+name)
		}
		missing = w.await(t, marks)
		for i, mark := range missing {
			missing[i] = strings.TrimPrefix(mark, run+": ")
		}
		if len(missing) == 0 {
			return marks
		}
	}
	t.Fatalf("%s: these were never sent: %q", run, missing)
	return nil
}

// depart makes attempts that replace the page, one after the other.
func (w *world) depart(t *testing.T, page, base, path, run string, names []string) (marks []string) {
	t.Helper()
next:
	for _, name := range names {
		mark := run + ": " + name
		for range tries {
			w.open(t, page)
			// The page may be gone before it can say that the attempt was made.
			_ = w.try(chromedp.Evaluate[chromedp.Void]("setTimeout(() => " + call(name, base, path, mark) + "); 1"))
			if len(w.await(t, []string{mark})) == 0 {
				marks = append(marks, mark)
				continue next
			}
		}
		t.Fatalf("%s: never sent", mark)
	}
	return marks
}

// typed visits an address as its user would, and waits until the sidecar has
// answered. The browser takes a refusal for a page that cannot be shown.
func (w *world) typed(t *testing.T, address, mark string) {
	t.Helper()
	for range tries {
		_ = w.try(chromedp.Navigate(address))
		if len(w.await(t, []string{mark})) == 0 {
			return
		}
	}
	t.Fatalf("%s: never sent", mark)
}

func call(name, base, path, mark string) string {
	return fmt.Sprintf("run(%q, %q, %q, %q)", name, base, path, mark)
}

// without leaves out what needs a redirect of the attacker's.
func without(names []string, word string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return strings.Contains(name, word) })
}

// signIn types the password of basic_auth at a site.
func (w *world) signIn(t *testing.T, base string) {
	t.Helper()
	scheme, rest, _ := strings.Cut(base, "://")
	w.visit(t, scheme+"://"+basicUser+":"+basicPassword+"@"+rest+"/api/v1/serverTime?mark=sign+in")
}

func TestNoPageOfAnotherSiteUsesAnAccount(t *testing.T) {
	w := newWorld(t)
	attempts, departures := w.names(t)
	pages := map[string]string{
		"other site": w.origin("evil.test") + "/page",
		"other port": w.origin("localhost") + "/page",
	}
	for _, way := range ways {
		unseenSent := map[string]int{} // with what the browser holds, by attempt
		for _, name := range []string{way, way + " unseen"} {
			if way == byPassword {
				w.signIn(t, w.bases[name])
			}
			executed, sent := map[string]int{}, 0
			for from, page := range pages {
				run := name + ", " + from
				marks := w.attack(t, page, w.bases[name], echo, run, attempts)
				marks = append(marks, w.depart(t, page, w.bases[name], echo, run, departures)...)
				sent += len(marks)
				for _, mark := range marks {
					executed[mark[len(run)+2:]] += w.count(mark)
				}
			}
			mark := name + ", typed"
			w.typed(t, w.origin("evil.test")+"/redirect?to="+url.QueryEscape(w.bases[name]+echo+"?mark="+url.QueryEscape(mark)), mark)
			executed["redirect of a typed address"] = w.count(mark)

			page := w.rebound[name] + "/page"
			run := name + ", rebound"
			for _, mark := range append(
				w.attack(t, page, w.rebound[name], echo, run, without(attempts, "redirect")),
				w.depart(t, page, w.rebound[name], echo, run, without(departures, "redirect"))...) {
				sent++
				executed["rebound name"] += w.count(mark)
			}
			total := 0
			for _, n := range executed {
				total += n
			}
			t.Logf("%s: %d attempts, %d requests executed with an account", name, sent+1, total)
			if name == way {
				for what, n := range executed {
					if n > 0 {
						t.Errorf("%s: %s: %d requests were executed with the account", name, what, n)
					}
				}
				continue
			}
			unseenSent = executed
		}
		// The test would notice: without what browsers say, these are executed.
		for what, n := range unseenSent {
			if n == 0 && !harmless(way, what) {
				t.Errorf("%s: %s is not executed even where the module sees nothing of the browser", way, what)
			}
		}
	}
	t.Run("tokens", func(t *testing.T) {
		for _, way := range ways {
			before := w.server.Counters().TokenRequests
			for from, page := range pages {
				run := way + ", token, " + from
				for mark, requests := range w.at(t, w.attack(t, page, w.bases[way], "/api/oauth2/token", run, without(attempts, "websocket"))) {
					for _, r := range requests {
						if r.Status < http.StatusBadRequest {
							t.Errorf("%s: %d", mark, r.Status)
						}
					}
				}
			}
			if after := w.server.Counters().TokenRequests; after != before {
				t.Errorf("%s: %d token requests", way, after-before)
			}
		}
	})
}

// at are the answered requests with these marks.
func (w *world) at(t *testing.T, marks []string) map[string][]seen {
	t.Helper()
	all := w.answered(t)
	maps.DeleteFunc(all, func(mark string, _ []seen) bool { return !slices.Contains(marks, mark) })
	return all
}

// harmless are attempts that come without what the browser holds: it remembers a
// password for one name, sends it neither with questions about a request (CORS) nor
// for a sandbox, and a page's own Authorization header takes its place.
func harmless(way, what string) bool {
	return way == byPassword && slices.Contains([]string{
		"rebound name", "fetch of a sandbox", "fetch cors junk token", "fetch cors JSON", "fetch cors DELETE",
	}, what)
}

func TestPagesOfTheSiteAndOfAllowedOriginsReachIt(t *testing.T) {
	w := newWorld(t)
	attempts, _ := w.names(t)
	for _, way := range ways {
		base := w.bases[way+" allowed"]
		if way == byPassword {
			w.signIn(t, base)
		}
		named := []string{"fetch cors GET", "fetch cors POST", "fetch no-cors POST", "XMLHttpRequest", "websocket", "EventSource", "form POST", "beacon"}
		for _, mark := range w.attack(t, w.allowed(way)+"/page", base, echo, way+", tools", named) {
			if w.count(mark) == 0 {
				t.Errorf("%s: not executed", mark)
			}
		}
		// It can read the answers, too, and send what the browser asks about first.
		got := eval[string](t, w, fmt.Sprintf("fetch(%q, {method: 'POST', credentials: 'include', body: '{}', headers: {'Content-Type': 'application/json'}}).then((r) => r.text())",
			base+echo+"?mark=read"))
		if !strings.Contains(got, `"method":"POST"`) || !strings.Contains(got, "svc-monitor") {
			t.Errorf("%s: the page has read %.200q", way, got)
		}
		for _, mark := range w.attack(t, w.origin("evil.test")+"/page", base, echo, way+", not listed", attempts) {
			if w.count(mark) != 0 {
				t.Errorf("%s: executed", mark)
			}
		}

		// A page of the site itself, here an answer of a route that needs no token.
		base = w.bases[way]
		if way == byPassword {
			w.signIn(t, base)
		} else {
			w.visit(t, base+"/api/v1/serverTime")
		}
		for method, mark := range map[string]string{http.MethodGet: way + ", own GET", http.MethodDelete: way + ", own DELETE"} {
			status := eval[int](t, w, fmt.Sprintf("fetch(location.origin + '%s?mark=' + encodeURIComponent(%q), {method: %q}).then((r) => r.status)", echo, mark, method))
			if status != http.StatusOK || w.count(mark) != 1 {
				t.Errorf("%s: %d, executed %d times", mark, status, w.count(mark))
			}
		}
		mark := way + ", own websocket"
		opened := eval[bool](t, w, fmt.Sprintf(`new Promise((resolve) => {
			const s = new WebSocket(location.origin.replace(/^http/, 'ws') + '/api/v1/websocket?mark=' + encodeURIComponent(%q));
			s.onopen = () => { s.close(); resolve(true); };
			s.onerror = () => resolve(false);
		})`, mark))
		if !opened || w.count(mark) != 1 {
			t.Errorf("%s: opened %v, executed %d times", mark, opened, w.count(mark))
		}
	}
}

func TestNoPageReachesTheAdminEndpoints(t *testing.T) {
	w := newWorld(t)
	attempts, departures := w.names(t)
	w.visit(t, w.bases[byAddress]+"/api/v1/serverTime")
	if status := eval[int](t, w, "fetch('"+echo+"').then((r) => r.status)"); status != http.StatusOK {
		t.Fatalf("the account has no session: %d", status)
	}
	before, sessions := w.server.Counters(), w.adminAnswer(t, http.MethodGet, "/veeam_auth/sessions", "")
	admin := "http://" + w.caddy.Admin
	rebound := fmt.Sprintf("http://evil.test:%d", startRelay(t, nil, func() (net.Conn, error) { return net.Dial("tcp", w.caddy.Admin) }, w.attacker.URL))
	sent := 0
	for _, path := range []string{"sessions", "sessions/login", "sessions/logout", "sessions/forget", "tokens/revoke"} {
		for page, base := range map[string]string{
			w.origin("evil.test") + "/page?admin": admin, w.origin("127.0.0.1") + "/page?admin": admin, rebound + "/page?admin": rebound,
		} {
			names := without(attempts, "redirect")
			w.open(t, page)
			var calls []string
			for _, name := range names {
				calls = append(calls, call(name, base, "/veeam_auth/"+path, name))
			}
			eval[bool](t, w, "Promise.all(["+strings.Join(calls, ", ")+"]).then(() => true)")
			sent += len(names)
			for _, name := range without(departures, "redirect")[:4] {
				w.open(t, page)
				_ = w.try(chromedp.Evaluate[chromedp.Void]("setTimeout(() => " + call(name, base, "/veeam_auth/"+path, name) + "); 1"))
				sent++
			}
		}
	}
	w.open(t, rebound+"/page?admin")
	if got := eval[string](t, w, "fetch('/veeam_auth/sessions').then((r) => r.text(), (e) => 'failed: ' + e)"); strings.Contains(got, "svc-monitor") {
		t.Errorf("a page has read %s", got)
	}
	after := w.server.Counters()
	if after.TokenRequests != before.TokenRequests || after.Logouts != before.Logouts || after.LiveSessions != before.LiveSessions {
		t.Errorf("after %d attempts: %+v, before: %+v", sent, after, before)
	}
	if got := w.adminAnswer(t, http.MethodGet, "/veeam_auth/sessions", ""); strings.Count(got, `"account"`) != strings.Count(sessions, `"account"`) {
		t.Errorf("the sessions were %s, and are %s", sessions, got)
	}
	arrived := strings.Count(w.caddy.Output(), `"uri":"/veeam_auth/`)
	if arrived < sent/2 {
		t.Errorf("%d of %d attempts have arrived", arrived, sent)
	}
	t.Logf("admin endpoints: %d attempts, %d requests, %d logins and logouts", sent, arrived, after.TokenRequests-before.TokenRequests+after.Logouts-before.Logouts)
	// The test would notice: a program's request does log in.
	if w.adminAnswer(t, http.MethodPost, "/veeam_auth/sessions/login", adminPayload); w.server.Counters().TokenRequests == after.TokenRequests {
		t.Error("a login by the admin endpoint is not counted")
	}
}

// adminPayload is what the admin endpoints want to know.
const adminPayload = `{"account": "svc-monitor", "client": "svc-monitor"}`

func (w *world) adminAnswer(t *testing.T, method, path, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+w.caddy.Admin+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= http.StatusInternalServerError {
		t.Fatalf("%s: %d %s %v", path, res.StatusCode, text, err)
	}
	return string(text)
}

// Every grant of every product, and what comes of it: the table of docs/grants.md,
// each cell a test.

package caddymodule

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestEveryGrantHasItsOutcome(t *testing.T) {
	t.Parallel()
	for i, row := range grantRows() {
		for o := range outcomes {
			name := strings.NewReplacer("`", "", " ", "_").Replace(row.product + "/" + row.grant + "/" + outcomeNames[o])
			t.Run(name, func(t *testing.T) {
				row := grantRows()[i] // with a TOTP seed of its own
				inWorld(t, row.profile, row.options, func(w *world) {
					accounts := row.accounts(w)
					if o == outcomeExpired && accounts[0].Grant == string(veeam.GrantAPIKey) {
						accounts[0].Password = apiKey // its file would be looked at for a day
					}
					w.start(accounts...)
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
	case "for a minute":
		if retry != "60" {
			w.Errorf("Retry-After %q", retry)
		}
		w.quiet(59*time.Second, got)
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
		case "as told", "for a minute":
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
func (w *world) quiet(d time.Duration, first received) {
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
	t.Parallel()
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

// grantTable is the table in Markdown, in two parts. Rows with the same outcomes are
// one.
func grantTable() string {
	const answered = outcomeServerFault // from here on the server gives no token
	var b strings.Builder
	fmt.Fprintf(&b, "| grant | products | %s |\n|---|---|%s\n", strings.Join(outcomeNames[:answered], " | "), strings.Repeat("---|", int(answered)))
	writeGrouped(&b, func(row grantRow) (string, string, string) {
		return row.product, row.grant, strings.Join(row.cells[:answered], " | ")
	}, func(products []string, grant, cells string) string {
		return fmt.Sprintf("| %s | %s | %s |\n", grant, strings.Join(products, ", "), cells)
	})
	fmt.Fprintf(&b, "\n| grant | %s |\n|---|%s\n", strings.Join(outcomeNames[answered:], " | "), strings.Repeat("---|", int(outcomes-answered)))
	writeGrouped(&b, func(row grantRow) (string, string, string) {
		return row.grant, "", strings.Join(row.cells[answered:], " | ")
	}, func(grants []string, _, cells string) string {
		return fmt.Sprintf("| %s | %s |\n", strings.Join(grants, ", "), cells)
	})
	return b.String()
}

// writeGrouped writes a line for all rows that share two of the three texts that key
// gives; the first ones are collected.
func writeGrouped(b *strings.Builder, key func(grantRow) (collected, shared, cells string), line func(collected []string, shared, cells string) string) {
	type group struct{ shared, cells string }
	var order []group
	members := make(map[group][]string)
	for _, row := range grantRows() {
		collected, shared, cells := key(row)
		g := group{shared, cells}
		if members[g] == nil {
			order = append(order, g)
		}
		if !slices.Contains(members[g], collected) {
			members[g] = append(members[g], collected)
		}
	}
	for _, g := range order {
		b.WriteString(line(members[g], g.shared, g.cells))
	}
}

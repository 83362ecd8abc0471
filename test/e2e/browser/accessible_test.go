// What the page owes to those who see little, or nothing, or use no mouse.

package browser

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"
)

// contrasts lists the texts on the page that have a contrast to what is behind them of less
// than 4.5 (WCAG 2.2, 1.4.3), and how many texts there are.
const contrasts = `(() => {
	const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
	const rgba = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); const d = canvas.getImageData(0, 0, 1, 1).data; return [d[0], d[1], d[2], d[3] / 255]; };
	const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
	const behind = (e) => {
		const layers = [];
		for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); layers.push(c); if (c[3] === 1) break; }
		return layers.reverse().reduce((below, top) => over(top, below), rgba('Canvas'));
	};
	const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
	const found = [];
	let texts = 0;
	const look = (e, text, style) => {
		const below = behind(e), own = over(rgba(style.color), below), a = light(own), b = light(below);
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		texts++;
		if (ratio < 4.5) found.push(text.trim().slice(0, 40) + ' ' + ratio.toFixed(2));
	};
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let node; (node = walker.nextNode());) {
		const e = node.parentElement;
		if (!node.data.trim() || ['SCRIPT', 'STYLE', 'NOSCRIPT'].includes(e.tagName) || e.closest('.unseen, .skip') || !e.checkVisibility() || e.matches(':disabled')) continue;
		look(e, node.data, getComputedStyle(e));
	}
	for (const e of document.querySelectorAll('input[placeholder]')) if (e.checkVisibility()) look(e, e.placeholder, getComputedStyle(e, '::placeholder'));
	for (const e of document.querySelectorAll('.state')) if (e.checkVisibility()) look(e, getComputedStyle(e, '::before').content, getComputedStyle(e, '::before'));
	return { found: [...new Set(found)], texts };
})()`

// legibility is what contrasts returns.
type legibility struct {
	Found []string `json:"found"`
	Texts int      `json:"texts"`
}

// seesWhatIsIllegible shows that the search for contrasts finds something.
func (s *pageScene) seesWhatIsIllegible(t *testing.T) {
	t.Helper()
	eval[bool](t, s.world, "document.documentElement.style.setProperty('--soft', '#8b929c'), true")
	if got := eval[legibility](t, s.world, contrasts); len(got.Found) == 0 {
		t.Error("a grey on white with a contrast of 3.1 is not found")
	}
	eval[bool](t, s.world, "document.documentElement.style.removeProperty('--soft'), true")
}

// accessible fails the test unless all texts that the page shows now are legible, dark and
// light, and all that takes the focus has a role and a name.
func (s *pageScene) accessible(t *testing.T, what string, width, height int64) {
	t.Helper()
	for _, scheme := range []string{"dark", "light"} {
		s.look(t, width, height, scheme)
		got := eval[legibility](t, s.world, contrasts)
		if len(got.Found) > 0 || got.Texts < 15 {
			t.Errorf("%s, %s: of %d texts have too little contrast: %q", what, scheme, got.Texts, got.Found)
		}
	}
	nodes, err := chromedp.Run(s.browser, chromedp.Action[[]*accessibility.Node](func(ctx context.Context, target *chromedp.Target) ([]*accessibility.Node, error) {
		tree, err := cdp.Call(ctx, target, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
		return tree.Nodes, err
	}))
	if err != nil {
		t.Fatal(err)
	}
	controls := 0
	for _, node := range nodes {
		if node.Ignored || node.Role == nil {
			continue
		}
		role, name := string(node.Role.Value), ""
		if node.Name != nil {
			name = string(node.Name.Value)
		}
		focusable := slices.ContainsFunc(node.Properties, func(p *accessibility.Property) bool {
			return p.Name == "focusable" && p.Value != nil && string(p.Value.Value) == "true"
		})
		if !focusable || role == `"RootWebArea"` || role == `"main"` {
			continue
		}
		controls++
		if strings.Trim(name, `"`) == "" || role == `"generic"` || role == `"none"` {
			t.Errorf("%s: a control with the role %s has the name %s", what, role, name)
		}
	}
	if controls < 4 {
		t.Errorf("%s: only %d controls", what, controls)
	}
	for rule, broken := range map[string]string{
		"the tab key follows the order on the page": "[...document.querySelectorAll('[tabindex]')].filter((e) => e.tabIndex > 0).length",
		"the state is announced":                    "['summary', 'toast'].filter((id) => { const e = document.getElementById(id); return e.getAttribute('role') !== 'status' || e.getAttribute('aria-live') !== 'polite'; }).length",
		"an open dialog is named and modal":         "[...document.querySelectorAll('dialog[open]')].filter((e) => !e.matches(':modal') || !document.getElementById(e.getAttribute('aria-labelledby'))).length",
		"every id is there once":                    "(() => { const ids = [...document.querySelectorAll('[id]')].map((e) => e.id); return ids.length - new Set(ids).size; })()",
		"what is controlled is there":               "[...document.querySelectorAll('[aria-controls]')].filter((e) => !document.getElementById(e.getAttribute('aria-controls'))).length",
	} {
		if n := eval[int](t, s.world, broken); n != 0 {
			t.Errorf("%s: not true %d times: %s", what, n, rule)
		}
	}
}

//go:build figures

// The figures of the page: make page-figures, make page-growth.

package browser

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// TestPageFigures measures and judges nothing: 103 accounts, 1,000 decisions before the
// page is opened, and 300 updates, as many as in 10 minutes, with 10 requests between two.
func TestPageFigures(t *testing.T) {
	s := newPageScene(t, 100)
	s.look(t, 1200, 1000, "light")
	for range 1000 {
		s.request(t, "svc-monitor", "/api/v1/jobs")
	}
	s.processor(t) // begins to count
	const visits = 9
	marks := []struct{ what, script string }{
		{"the answer", "performance.getEntriesByType('navigation')[0].responseEnd"},
		{"the document", "performance.getEntriesByType('navigation')[0].domInteractive"},
		{"the first paint", "performance.getEntriesByName('first-contentful-paint')[0].startTime"},
		{"the first screen of rows", "((m) => m.startTime + m.duration)(performance.getEntriesByName('veeam-auth-update')[0])"},
		{"all rows", "((m) => m.startTime + m.duration)(performance.getEntriesByName('veeam-auth-rows')[0])"},
	}
	taken := make([][]float64, len(marks)+1)
	for range visits {
		s.visit(t, s.url())
		s.shows(t, "document.querySelectorAll('[role=tabpanel] tbody').length >= 103 && ['first-contentful-paint', 'veeam-auth-update', 'veeam-auth-rows'].every((name) => performance.getEntriesByName(name).length)")
		taken[len(marks)] = append(taken[len(marks)], s.processor(t)) // it begins at 0
		for i, mark := range marks {
			taken[i] = append(taken[i], eval[float64](t, s.world, mark.script))
		}
	}
	t.Logf("the first paints of %d visits, the first one of a new browser: %.0f ms", visits, taken[2])
	for _, of := range taken {
		slices.Sort(of)
	}
	for i, mark := range marks {
		t.Logf("%d visits, ms until %s: %.0f to %.0f, median %.0f", visits, mark.what, taken[i][0], taken[i][visits-1], taken[i][visits/2])
	}
	work := taken[len(marks)]
	t.Logf("processor time of the renderer for a visit, all rows shown: %.1f to %.1f ms, median %.1f ms", work[0], work[visits-1], work[visits/2])
	for _, view := range []string{"accounts", "decisions", "log"} {
		var used []float64
		eval[bool](t, s.world, "document.getElementById('tab-"+view+"').click(), self.took = [], self.tasks = [0], true")
		eval[bool](t, s.world, `self.observer || (self.observer = new PerformanceObserver((list) => {
			for (const e of list.getEntries()) if (e.name !== 'veeam-auth-rows') (e.entryType === 'measure' ? self.took : self.tasks).push(e.duration);
		}), self.observer.observe({type: 'measure'}), self.observer.observe({type: 'longtask'})), true`)
		for round := range 11 {
			for range 100 {
				s.request(t, "svc-monitor", "/api/v1/jobs")
			}
			for range 10 { // of which the first brings 100 requests
				before := s.processor(t)
				eval[bool](t, s.world, "document.dispatchEvent(new Event('visibilitychange')), new Promise((resolve) => { setTimeout(() => resolve(true), 100); })")
				used = append(used, s.processor(t)-before)
			}
			if round == 0 || round == 10 {
				t.Logf("%s, after %d updates: %v", view, 10*(round+1), s.usage(t))
			}
		}
		slices.Sort(used)
		t.Logf("%s: processor time of the renderer for an update: median %.1f ms, the most %.1f ms, of %d", view, used[len(used)/2], used[len(used)-1], len(used))
		t.Logf("%s: %d updates, from the answer until painted: the slowest %.1f ms, the median %.1f ms; the longest task over 50 ms: %.0f ms", view, eval[int](t, s.world, "self.took.length"),
			eval[float64](t, s.world, "Math.max(...self.took)"), eval[float64](t, s.world, "self.took.sort((a, b) => a - b)[self.took.length >> 1]"),
			eval[float64](t, s.world, "Math.max(...self.tasks)"))
	}
}

var growFor = flag.Duration("grow", 10*time.Minute, "how long TestPageGrowth has the page updated")

// TestPageGrowth updates the page for a while, as it does by itself, with requests between
// two updates and another view after each: memory and nodes stay what they were.
func TestPageGrowth(t *testing.T) {
	s := newPageScene(t, 100)
	s.look(t, 1200, 1000, "light")
	for range 1000 {
		s.request(t, "svc-monitor", "/api/v1/jobs")
	}
	s.visit(t, s.url())
	s.shows(t, "document.querySelectorAll('[role=tabpanel] tbody').length >= 103")
	views := []string{"accounts", "decisions", "log"}
	open := func(i int) {
		s.click(t, "document.getElementById('tab-"+views[i%len(views)]+"')")
	}
	for i := range views { // all rows there are
		open(i)
		s.shows(t, "document.querySelectorAll('[role=tabpanel]:not([hidden]) tbody, [role=tabpanel]:not([hidden]) li').length >= 100")
	}
	s.shows(t, "document.querySelectorAll('#lines li').length == 1000 && document.querySelectorAll('#view-decisions tbody').length == 200")
	sent := 0
	update := func(round int) {
		for range 10 {
			s.request(t, "svc-monitor", "/api/v1/jobs")
			sent++
		}
		time.Sleep(2 * time.Second) // as long as the page waits between two questions
		open(round)
	}
	for round := range 30 { // the browser compiles, and fills its caches
		update(round)
	}
	start, began := s.usage(t), time.Now()
	t.Logf("at the start: %v", start)
	for round := 0; time.Since(began) < *growFor; round++ {
		if update(round); round%28 == 27 {
			t.Logf("after %v: %v", time.Since(began).Round(time.Second), s.usage(t))
		}
	}
	end := s.usage(t)
	t.Logf("at the end, after %v and %d requests: %v", time.Since(began).Round(time.Second), sent, end)
	if end.nodes > start.nodes+start.nodes/20 || end.listeners > start.listeners+start.listeners/20 || end.heap > 1.25*start.heap {
		t.Errorf("the page grows: %v, then %v", start, end)
	}
}

// usage is what a page uses after its garbage is collected.
type usage struct {
	heap             float64 // bytes
	nodes, listeners int
}

func (u usage) String() string {
	return fmt.Sprintf("heap %.2f MB, %d DOM nodes, %d listeners", u.heap/1e6, u.nodes, u.listeners)
}

func (s *pageScene) usage(t *testing.T) usage {
	t.Helper()
	heap := s.heap(t)
	return usage{heap, int(s.metric(t, "Nodes")), int(s.metric(t, "JSEventListeners"))}
}

// processor is the processor time of the main thread of the page's renderer so far, in ms.
func (s *pageScene) processor(t *testing.T) float64 { return s.metric(t, "TaskDuration") * 1000 }

// metric is one of Chromium's own, for the page.
func (s *pageScene) metric(t *testing.T, name string) float64 {
	t.Helper()
	used, err := chromedp.Run(s.browser, chromedp.Action[float64](func(ctx context.Context, target *chromedp.Target) (float64, error) {
		if _, err := cdp.Call(ctx, target, performance.Enable, performance.EnableParams{TimeDomain: performance.EnableTimeDomainThreadTicks}); err != nil {
			return 0, err
		}
		got, err := cdp.Call(ctx, target, performance.GetMetrics, cdp.Empty{})
		if err != nil {
			return 0, err
		}
		for _, m := range got.Metrics {
			if m.Name == name {
				return m.Value, nil
			}
		}
		return 0, errors.New("there is no metric " + name)
	}))
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// heap is what the page uses after the garbage is collected, in bytes.
func (s *pageScene) heap(t *testing.T) float64 {
	t.Helper()
	used, err := chromedp.Run(s.browser, chromedp.Action[float64](func(ctx context.Context, target *chromedp.Target) (float64, error) {
		if _, err := cdp.Call(ctx, target, heapprofiler.CollectGarbage, cdp.Empty{}); err != nil {
			return 0, err
		}
		usage, err := cdp.Call(ctx, target, runtime.GetHeapUsage, cdp.Empty{})
		return usage.UsedSize, err
	}))
	if err != nil {
		t.Fatal(err)
	}
	return used
}

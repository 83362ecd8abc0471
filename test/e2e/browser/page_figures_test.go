//go:build figures

// The figures of the page: make page-figures.

package browser

import (
	"context"
	"errors"
	"slices"
	"testing"

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
	var paints, firsts, work []float64
	if err := s.try(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, performance.Enable, performance.EnableParams{TimeDomain: performance.EnableTimeDomainThreadTicks})
		return err
	})); err != nil {
		t.Fatal(err)
	}
	for range 9 {
		s.visit(t, s.url())
		s.shows(t, "document.querySelectorAll('[role=tabpanel] tbody').length >= 103 && performance.getEntriesByName('first-contentful-paint').length")
		paints = append(paints, eval[float64](t, s.world, "performance.getEntriesByName('first-contentful-paint')[0].startTime"))
		work = append(work, s.processor(t)) // it begins at 0
		firsts = append(firsts, eval[float64](t, s.world, "performance.getEntriesByName('veeam-auth-update')[0].duration"))
	}
	slices.Sort(paints)
	slices.Sort(firsts)
	slices.Sort(work)
	t.Logf("processor time of the renderer for a visit, all rows shown: %.1f to %.1f ms, median %.1f ms", work[0], work[8], work[4])
	t.Logf("9 visits: first paint after %.1f to %.1f ms, median %.1f ms; the first update took %.1f to %.1f ms, median %.1f ms",
		paints[0], paints[8], paints[4], firsts[0], firsts[8], firsts[4])
	for _, view := range []string{"accounts", "decisions", "log"} {
		busy, updates := s.processor(t), 110
		eval[bool](t, s.world, "document.getElementById('tab-"+view+"').click(), self.took = [], true")
		eval[bool](t, s.world, "self.observer || (self.observer = new PerformanceObserver((list) => { for (const e of list.getEntries()) self.took.push(e.duration); }), self.observer.observe({type: 'measure'})), true")
		for round := range 11 {
			for range 100 {
				s.request(t, "svc-monitor", "/api/v1/jobs")
			}
			eval[bool](t, s.world, `(async () => {
				for (let i = 0; i < 10; i++) {
					document.dispatchEvent(new Event('visibilitychange'));
					await new Promise((resolve) => { setTimeout(resolve, 60); });
				}
				return true;
			})()`)
			if round == 0 || round == 10 {
				t.Logf("%s, after %d updates: heap %.2f MB, %d nodes", view, 10*(round+1), s.heap(t)/1e6, eval[int](t, s.world, "document.querySelectorAll('*').length"))
			}
		}
		t.Logf("%s: processor time of the renderer for an update %.2f ms, mean of %d", view, (s.processor(t)-busy)/float64(updates), updates)
		t.Logf("%s: %d updates, the slowest %.1f ms, the median %.1f ms", view, eval[int](t, s.world, "self.took.length"),
			eval[float64](t, s.world, "Math.max(...self.took)"), eval[float64](t, s.world, "self.took.sort((a, b) => a - b)[self.took.length >> 1]"))
	}
}

// processor is the processor time of the main thread of the page's renderer so far, in ms.
func (s *pageScene) processor(t *testing.T) float64 {
	t.Helper()
	used, err := chromedp.Run(s.browser, chromedp.Action[float64](func(ctx context.Context, target *chromedp.Target) (float64, error) {
		got, err := cdp.Call(ctx, target, performance.GetMetrics, cdp.Empty{})
		if err != nil {
			return 0, err
		}
		for _, m := range got.Metrics {
			if m.Name == "TaskDuration" {
				return m.Value * 1000, nil
			}
		}
		return 0, errors.New("there is no TaskDuration")
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

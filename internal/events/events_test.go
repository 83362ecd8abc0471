package events

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestEveryEventHasTheFieldsOfItsRow(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.FixedZone("", 3600))
	account := Account{Product: "vbr", Name: "svc", Origin: "https://vbr01:9419"}
	made := []Event{
		account.Held("credential_refused", now, 1), account.Lifted(CauseAccepted), account.Rotated(), account.NextInUse(), account.CodeNeeded(),
		account.Interference(3, 90*time.Second), PinMismatched("vbr", "https://vbr01:9419", "AB"), CertificateExpires("vbr", "https://vbr01:9419", "AB", now, now.Add(time.Hour)),
		Throttled("vbr", "grafana", "10.0.0.1", 5*time.Second), KeyExpires("grafana", "ci", now, now.Add(-time.Hour)), KeysFailing("k8s", "timeout", time.Time{}),
		NeedsApproval("vbr", "agent", "apr_x", "POST", "POST /jobs/{id}/start", now, now.Add(-time.Hour)), Mismatched("vbr", "grafana", "GET /jobs/{id}", "path"),
		account.SessionLeft(now),
	}
	if len(made) != len(rows) {
		t.Fatalf("%d events, %d rows", len(made), len(rows))
	}
	for i, e := range made {
		if e.Name() != rows[i].Name || len(e.Data()) != len(rows[i].Fields) || !strings.HasPrefix(string(e.Name()), "veeam_auth_") || strings.ToLower(string(e.Name())) != string(e.Name()) {
			t.Errorf("%s %v, want %+v", e.Name(), e.Data(), rows[i])
		}
		for _, field := range rows[i].Fields {
			if _, ok := e.Data()[field]; !ok {
				t.Errorf("%s has no %s", e.Name(), field)
			}
		}
	}
	if got := made[0].Data()["until"]; got != "2026-11-01T11:00:00Z" {
		t.Errorf("until is %v", got)
	}
	if got := made[7].Data()["expires_in_seconds"]; got != -3600 {
		t.Errorf("expires_in_seconds is %v", got)
	}
	made[0].Data()["until"] = "changed"
	if made[0].Data()["until"] == "changed" {
		t.Error("a reader can change an event")
	}
}

func TestTheDocsHaveTheTableOfEvents(t *testing.T) {
	text, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "| `veeam_auth_") {
			documented = append(documented, strings.TrimSpace(line))
		}
	}
	var want []string
	for _, row := range Rows() {
		want = append(want, fmt.Sprintf("| `%s` | %s | `%s` |", row.Name, row.When, strings.Join(row.Fields, "`, `")))
	}
	if !slices.Equal(documented, want) {
		t.Errorf("docs/events.md has\n%s\nwant\n%s", strings.Join(documented, "\n"), strings.Join(want, "\n"))
	}
}

// collector takes down what is delivered.
type collector struct {
	mu  sync.Mutex
	got []string
}

func (c *collector) take(e Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, e.Data()["client"].(string))
}

func numbered(i int) Event { return Throttled("vbr", fmt.Sprint(i), "", 0) }

func TestEventsAreDeliveredInOrderAlsoThoseFromBeforeTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Emitter
		var c collector
		m.Emit(numbered(-1)) // nobody is there
		q := NewQueue(func(e Event) { t.Errorf("dropped %v", e) })
		m.Use(q)
		m.Emit(numbered(0))
		q.Open(c.take)
		for i := 1; i < 100; i++ {
			m.Emit(numbered(i))
		}
		synctest.Wait()
		if len(c.got) != 100 || c.got[0] != "0" || c.got[99] != "99" {
			t.Errorf("delivered %v", c.got)
		}
	})
}

func TestAHandlerThatHangsStopsNobodyAndWhatIsTooMuchIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Emitter
		dropped, release := 0, make(chan struct{})
		q := NewQueue(func(Event) { dropped++ })
		q.Open(func(Event) { <-release })
		m.Use(q)
		m.Emit(numbered(0))
		synctest.Wait()
		for i := range maxQueued + 10 {
			m.Emit(numbered(i))
		}
		if dropped != 10 {
			t.Errorf("%d were dropped", dropped)
		}
		var c collector // the next configuration does not wait for it
		next := NewQueue(func(e Event) { t.Errorf("dropped %v", e) })
		next.Open(c.take)
		m.Use(next)
		m.Leave(q)
		q.Close()
		m.Emit(numbered(7))
		synctest.Wait()
		if !slices.Equal(c.got, []string{"7"}) {
			t.Errorf("the next configuration got %v", c.got)
		}
		close(release)
	})
}

func TestAHandlerThatPanicsGetsTheNextEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Emitter
		var c collector
		var dropped collector
		q := NewQueue(dropped.take)
		q.Open(func(e Event) {
			if e.Data()["client"] == "0" {
				panic("handler")
			}
			c.take(e)
		})
		m.Use(q)
		m.Emit(numbered(0))
		m.Emit(numbered(1))
		synctest.Wait()
		if !slices.Equal(c.got, []string{"1"}) || !slices.Equal(dropped.got, []string{"0"}) {
			t.Errorf("delivered %v, dropped %v", c.got, dropped.got)
		}
	})
}

func TestAConfigurationThatFailsToStartLeavesTheEventsToTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Emitter
		var c collector
		fail := func(e Event) { t.Errorf("dropped %v", e) }
		first, second := NewQueue(fail), NewQueue(fail)
		m.Use(first)
		first.Open(c.take)
		m.Use(second)
		m.Leave(second)
		second.Close()
		second.Open(func(Event) { t.Error("it has ended") })
		m.Emit(numbered(1))
		synctest.Wait()
		m.Leave(first)
		m.Emit(numbered(2))
		synctest.Wait()
		if !slices.Equal(c.got, []string{"1"}) {
			t.Errorf("delivered %v", c.got)
		}
	})
}

func TestAnEpisodeBeginsOnceAndAgainAfterAMinuteOfQuiet(t *testing.T) {
	e, now := NewEpisodes(), time.Now()
	for i, step := range []struct {
		kind   string
		after  time.Duration
		begins bool
	}{
		{"a", 0, true}, {"a", 50 * time.Second, false}, {"b", 0, true}, {"a", 59 * time.Second, false}, {"a", QuietFor, true}, {"b", 0, true},
	} {
		if now = now.Add(step.after); e.Begins(step.kind, now) != step.begins {
			t.Errorf("step %d: %+v", i, step)
		}
	}
}

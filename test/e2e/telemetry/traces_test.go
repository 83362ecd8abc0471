// Spans of what requests cause.

package telemetry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	trace "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/harness/otlp"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const clientTrace = "4bf92f3577b34da6a3ce929d0e0e4736"

// traced sends a request with a trace of the client's own.
func traced(t *testing.T, site *harness.Site, number int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site.URL()+site.Server.Base()+"/echo", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Traceparent", fmt.Sprintf("00-%s%02x-00f067aa0ba902b7-01", clientTrace[:30], number))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var echo veeamtest.Echo
	if err := json.NewDecoder(res.Body).Decode(&echo); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("status %d, %v", res.StatusCode, err)
	}
	if got := echo.Headers["Traceparent"]; len(got) != 1 || !strings.HasPrefix(got[0], fmt.Sprintf("00-%s%02x-", clientTrace[:30], number)) || strings.Contains(got[0], "00f067aa0ba902b7") {
		t.Errorf("the server got the traceparent %v", got)
	}
}

// tracedJob asks for a job by its id, in the trace of the client.
func tracedJob(t *testing.T, site *harness.Site, id string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site.URL()+"/api/v1/jobs/"+id, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Traceparent", "00-"+clientTrace+"-00f067aa0ba902b7-01")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode == http.StatusUnauthorized || res.StatusCode >= http.StatusInternalServerError {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestWhatARequestCausesIsInItsTrace(t *testing.T) {
	t.Parallel()
	receiver, env := otlp.Receive(t)
	w := harness.New(t)
	w.Env = []string{
		"TELEMETRY_PASSWORD=" + veeamtest.DefaultMFAPassword, "TELEMETRY_TOTP=" + veeamtest.DefaultTOTPSecret, "TELEMETRY_OTHER=" + veeamtest.DefaultPassword,
	}
	w.Env = append(w.Env, env...)
	w.Global = "order tracing first"
	site := &harness.Site{
		Server: harness.StartServer(t, veeamtest.Azure), Before: "tracing {\n\t\tspan site\n\t}",
		Account: "account " + veeamtest.DefaultMFAUser + " {env.TELEMETRY_PASSWORD} {\n\t\ttotp_secret {env.TELEMETRY_TOTP}\n\t}", Options: "pace 1/s",
	}
	other := &harness.Site{Server: harness.StartServer(t, veeamtest.VBR13), Before: "tracing {\n\t\tspan other\n\t}", Account: "account " + veeamtest.DefaultUser + " {env.TELEMETRY_OTHER}"}
	w.Sites = []*harness.Site{site, other}
	w.Run(t)
	site.Server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultHold})
	var cold sync.WaitGroup
	for i := range 8 {
		cold.Go(func() { traced(t, site, i) })
	}
	harness.Eventually(t, "eight requests wait for one login", func() bool {
		n, err := w.Caddy.Metric("waiters", `product="azure"`)
		return err == nil && n == 8
	})
	site.Server.ClearFault()
	cold.Wait()
	site.Server.RevokeAccess()
	traced(t, site, 8)
	const id = "0f1e2d3c-4b5a-4678-9012-3456789abcde"
	for range 2 { // a login, then a replay
		tracedJob(t, other, id)
		other.Server.RevokeAccess()
	}

	count := func(name string) (found []*trace.Span) {
		spans, _ := receiver.Received()
		for _, s := range spans {
			if s.Name == name {
				found = append(found, s)
			}
		}
		return found
	}
	harness.Eventually(t, "all spans have arrived", func() bool {
		return len(count("site")) == 9 && len(count("other")) == 2 && len(count("veeam_auth.replay")) == 2 && len(count("veeam_auth.renewal")) > 0
	})
	spans, raw := receiver.Received()
	byID := make(map[string]*trace.Span)
	for _, s := range spans {
		byID[string(s.SpanId)] = s
	}
	templates := false // an operation is shown by its template
	allowed := map[string]bool{"veeam_auth.product": true, "veeam_auth.account": true, "veeam_auth.grant": true, "veeam_auth.operation": true, "veeam_auth.reason": true}
	for _, s := range spans {
		if !strings.HasPrefix(s.Name, "veeam_auth.") {
			continue
		}
		parent := byID[string(s.ParentSpanId)]
		if parent == nil || string(parent.TraceId) != string(s.TraceId) || !strings.HasPrefix(fmt.Sprintf("%x", s.TraceId), clientTrace[:30]) {
			t.Errorf("%s: its parent is %v", s.Name, parent)
			continue
		}
		want := map[string][]string{"veeam_auth.code": {"veeam_auth.login", "veeam_auth.renewal"}, "veeam_auth.pace": {"veeam_auth.login", "veeam_auth.renewal"}}[s.Name]
		if want == nil {
			want = []string{"site", "other"}
		}
		if !slices.Contains(want, parent.Name) {
			t.Errorf("%s is below %s", s.Name, parent.Name)
		}
		for _, a := range s.Attributes {
			if !allowed[a.Key] || strings.Contains(a.Value.GetStringValue(), id) {
				t.Errorf("%s has the attribute %s: %v", s.Name, a.Key, a.Value)
			}
			templates = templates || a.Key == "veeam_auth.operation" && strings.Contains(a.Value.GetStringValue(), "/jobs/{id}")
		}
	}
	if !templates {
		t.Error("no span has an operation with a parameter")
	}
	if logins, waits := count("veeam_auth.login"), count("veeam_auth.wait"); len(logins) == 0 || len(waits) != 7 {
		t.Errorf("%d logins, %d waits", len(logins), len(waits))
	} else {
		for _, wait := range waits {
			if len(wait.Links) != 1 || string(wait.Links[0].SpanId) != string(logins[0].SpanId) {
				t.Errorf("a wait has the links %v", wait.Links)
			}
		}
	}
	for _, secret := range append(slices.Concat(site.Server.Issued(), other.Server.Issued()), veeamtest.DefaultPassword, veeamtest.DefaultMFAPassword, veeamtest.DefaultTOTPSecret) {
		if strings.Contains(raw, secret) {
			t.Error("a secret is in a trace")
		}
	}
	for _, seen := range site.Server.Seen() {
		if seen.Header.Get("Traceparent") != "" {
			t.Error("a token request has a traceparent")
		}
	}
	if len(count("veeam_auth.pace")) == 0 {
		t.Error("no token request has waited for its turn")
	}
}

// The second site has the option and not tracing: nothing is a trace there, whatever the
// client says. The third has no option.
func TestTheLogNamesTheTraceOfARequest(t *testing.T) {
	t.Parallel()
	receiver, env := otlp.Receive(t)
	w := harness.New(t)
	w.Env = append(env, "TELEMETRY_PASSWORD="+veeamtest.DefaultPassword)
	w.Global = "order tracing first"
	server := harness.StartServer(t, veeamtest.VBR13)
	const tracing = "tracing {\n\t\tspan site\n\t}"
	const account = "account " + veeamtest.DefaultUser + " {env.TELEMETRY_PASSWORD}"
	with := &harness.Site{Server: server, Before: tracing, Account: account, Options: "log_trace_id"}
	untraced := &harness.Site{Server: server, Account: account, Options: "log_trace_id"}
	without := &harness.Site{Server: server, Before: tracing, Account: account}
	w.Sites = []*harness.Site{with, untraced, without}
	w.Run(t)
	for _, sent := range []struct {
		site        *harness.Site
		traceparent string
	}{
		{with, ""},
		{with, "00-" + clientTrace + "-00f067aa0ba902b7-01"},
		{with, "00-" + strings.ToUpper(clientTrace) + "-no trace-01"},
		{untraced, "00-" + clientTrace + "-00f067aa0ba902b7-01"},
		{without, "00-" + clientTrace + "-00f067aa0ba902b7-01"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, sent.site.URL()+server.Base()+"/echo", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if sent.traceparent != "" {
			req.Header.Set("Traceparent", sent.traceparent)
		}
		req.Header.Set("Trace-Id", "11111111111111111111111111111111")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	var logged []string
	harness.Eventually(t, "five requests are logged", func() bool {
		text, err := w.SvcLog()
		if err != nil {
			return false
		}
		logged = nil
		if err := svclog.Read(t.Context(), strings.NewReader(text), svclog.Filter{}, func(r svclog.Record) error {
			if r.Kind == svclog.KindRequest {
				logged = append(logged, r.TraceID)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return len(logged) == 5
	})
	var exported []string
	harness.Eventually(t, "the spans of four requests have arrived", func() bool {
		exported = nil
		spans, _ := receiver.Received()
		for _, s := range spans {
			if s.Name == "site" {
				exported = append(exported, fmt.Sprintf("%x", s.TraceId))
			}
		}
		return len(exported) == 4
	})
	if len(logged[0]) != 32 || logged[1] != clientTrace || len(logged[2]) != 32 || logged[2] == logged[0] || logged[2] == clientTrace {
		t.Errorf("the log has %q", logged)
	}
	if logged[3] != "" || logged[4] != "" {
		t.Errorf("without tracing or the option the log has %q", logged[3:])
	}
	for _, id := range logged[:3] {
		if !slices.Contains(exported, id) {
			t.Errorf("the log has %s, the spans have %s", id, exported)
		}
	}
}

// Probes of a real Caddy: what they answer, that they cause nothing, and that a reload
// goes unnoticed.

package sidecar

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// probed is the answer to a probe.
type probed struct {
	code     int
	Status   string `json:"status"`
	Error    string `json:"error"`
	Accounts []struct {
		Account, Product, Origin, Reason string
		Ready, Required                  bool
	} `json:"accounts"`
}

// probe asks a running Caddy, on a new connection if the one that it used was dropped.
func probe(t *testing.T, url string) (p probed) {
	t.Helper()
	var res *http.Response
	var err error
	for range 5 {
		if res, err = (&http.Client{Timeout: harness.Patience}).Get(url); !harness.Dropped(err) {
			break
		}
	}
	if err != nil {
		t.Error(err)
		return p
	}
	defer res.Body.Close()
	p.code = res.StatusCode
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
		t.Errorf("%s: %v", url, err)
	}
	return p
}

// probesAt adds a site of its own for probes, and returns its URL.
func (w *world) probesAt() string {
	w.t.Helper()
	ports, err := harness.FreePorts(1)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Layout = func() string {
		var b strings.Builder
		b.WriteString(w.Preamble())
		for _, s := range w.Sites {
			b.WriteString(s.Block())
		}
		fmt.Fprintf(&b, "http://127.0.0.1:%d {\n\tveeam_auth_health /veeam_auth/*\n}\n", ports[0])
		return b.String()
	}
	return fmt.Sprintf("http://127.0.0.1:%d/veeam_auth", ports[0])
}

func TestHealth_LoginsAtTheStartMakeReady(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range []*product{vbr, vspc, azure, one} {
		s := w.add(p)
		s.Options = "login_at start"
	}
	held := w.add(aws)
	held.Options = "login_at start"
	held.Account = "account wrong " + held.secret("password", "wrong-pass-0")
	site := w.probesAt()
	w.start()
	harness.Eventually(t, "the start is over", func() bool { return probe(t, site+"/startup").code == http.StatusOK })
	for _, url := range []string{site, "http://" + w.Caddy.Admin + "/veeam_auth"} {
		p := probe(t, url+"/ready")
		if p.code != http.StatusServiceUnavailable || p.Status != "not_ready" || len(p.Accounts) != 5 {
			t.Errorf("%s: %+v", url, p)
		}
		for _, a := range p.Accounts {
			if a.Ready != (a.Account != "wrong") || (a.Reason == "ok") != a.Ready || (a.Origin == "") != (url == site) {
				t.Errorf("%s: %+v", url, a)
			}
		}
		if p := probe(t, url+"/ready?account="+veeamtest.DefaultUser); p.code != http.StatusOK || len(p.Accounts) != 4 {
			t.Errorf("%s: %+v", url, p)
		}
		if p := probe(t, url+"/ready?account=nobody"); p.code != http.StatusNotFound || strings.Contains(p.Error, "wrong") == (url == site) {
			t.Errorf("%s: %+v", url, p)
		}
		if p := probe(t, url+"/live"); p.code != http.StatusOK || p.Status != "live" {
			t.Errorf("%s: %+v", url, p)
		}
	}
	for _, s := range w.sites {
		if c := s.Server.Counters(); c.TokenRequests != 1 {
			t.Errorf("%s: %d token requests", s.Name, c.TokenRequests)
		}
	}
	// The account is not required any more: a reload is enough.
	held.Account = strings.Replace(held.Account, "{file", "{\n\t\trequired off\n\t\tpassword {file", 1) + "\n\t\t}"
	if err := w.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := probe(t, site+"/ready"); p.code != http.StatusOK || p.Status != "ready" || len(p.Accounts) != 5 {
		t.Errorf("%+v", p)
	}
}

func TestHealth_ReloadsGoUnnoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	atStart := w.add(vbr)
	atStart.Options = "login_at start"
	w.add(vspc)
	site := w.probesAt()
	w.start()
	harness.Eventually(t, "ready", func() bool { return probe(t, site+"/ready").code == http.StatusOK })
	stop, probes := make(chan struct{}), 0
	var prober sync.WaitGroup
	prober.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			probes++
			for _, name := range []string{"ready", "startup"} {
				if p := probe(t, site+"/"+name); p.code != http.StatusOK || len(p.Accounts) != 2 {
					t.Errorf("%s: %+v", name, p)
				}
			}
		}
	})
	for i := range 6 {
		atStart.Options = fmt.Sprintf("login_at start\n\t\trefresh_before %ds", 30+i)
		if err := w.Reload(t.Context()); err != nil {
			t.Error(err)
		}
	}
	// A configuration that does not start leaves everything as it is.
	broken := []byte(strings.ReplaceAll(w.Caddyfile(), "{$CADDY_ADMIN}", w.Caddy.Admin) + "http://192.0.2.1:1 {\n\tbind 192.0.2.1\n}\n")
	if err := w.Caddy.Load(t.Context(), broken); err == nil {
		t.Error("a configuration with an address of another machine has started")
	}
	close(stop)
	prober.Wait()
	if probes < 6 {
		t.Errorf("%d probes", probes)
	}
	if c := atStart.Server.Counters(); c.Logins != 1 {
		t.Errorf("%d logins", c.Logins)
	}
}

func TestHealth_FollowsTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.add(vbr, veeamtest.WithLatency(300*time.Millisecond))
	s.Options = "login_at start"
	idle := w.add(vspc)
	site := w.probesAt()
	s.Server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultStatus, On: veeamtest.OnToken, Status: http.StatusBadGateway})
	w.start()
	harness.Eventually(t, "the first result is there", func() bool { return probe(t, site+"/startup").code == http.StatusOK })
	if p := probe(t, site+"/ready"); p.code != http.StatusServiceUnavailable || p.Accounts[0].Reason != "server_fault" {
		t.Errorf("%+v", p)
	}
	s.Server.ClearFault()
	harness.Eventually(t, "ready without any request", func() bool { return probe(t, site+"/ready").code == http.StatusOK })
	s.Server.Close()
	if a := s.client.get(t, s.protected); a.status != http.StatusBadGateway {
		t.Errorf("status %d", a.status)
	}
	if p := probe(t, site+"/ready"); p.code != http.StatusServiceUnavailable {
		t.Errorf("a server that is down: %+v", p)
	}
	if c := idle.Server.Counters(); c.TokenRequests != 0 {
		t.Errorf("probes have caused %d token requests", c.TokenRequests)
	}
}

// Outages of a real Caddy in front of emulated servers, and the alert that each raises in a
// real Prometheus.

package alerts

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// With -earnest the alerts wait as long as they say, and Prometheus scrapes every 15 s as in
// deploy/compose. Without, none waits longer than a second.
var earnest = flag.Bool("earnest", false, "let the alerts wait as long as they say: takes some minutes")

// outage is one thing that goes wrong with one account.
type outage struct {
	name    string
	alert   string // the only one that it may raise
	profile veeamtest.Profile
	server  []veeamtest.Option
	site    string // subdirectives beside the account
	trust   string
	happens func(o *outage)

	product bool   // the alert is about the product
	global  bool   // it is about neither account nor product
	about   string // it is about the client or the provider of this name
	before  bool   // it happens before Prometheus runs

	t     *testing.T
	world *harness.World
	on    *harness.Site
	began time.Time
	took  time.Duration
}

// fires is how prometheusServer.firing shows the alert of the outage.
func (o *outage) fires() string {
	switch {
	case o.global:
		return o.alert
	case o.about != "":
		return o.alert + " " + o.about
	case o.product:
		return o.alert + " " + o.profile.Product()
	}
	return o.alert + " " + o.profile.Product() + " " + o.name
}

// password is the file with the password of the account.
func (o *outage) password() string { return o.world.File(o.name + "-password") }

func (o *outage) write(file, text string) {
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

// ask sends a request of a client and wants the status.
func (o *outage) ask(want int) {
	o.t.Helper()
	if got := send(o.t, http.MethodGet, o.on.URL()+o.on.Server.Base()+"/echo", "", nil); got.status != want {
		o.t.Errorf("%s: status %d, not %d: %s", o.name, got.status, want, got.body)
	}
}

type got struct {
	status int
	body   string
}

func send(t *testing.T, method, to, token string, form url.Values) got {
	t.Helper()
	client := http.Client{Timeout: harness.Patience}
	var res *http.Response
	for {
		req, err := http.NewRequestWithContext(t.Context(), method, to, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		if form != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		if res, err = client.Do(req); err == nil {
			break
		}
		if !harness.Dropped(err) { // by a reload
			t.Fatal(err)
		}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got{res.StatusCode, string(body)}
}

// outages is the table: what happens, and the one alert that fires.
func outages() []*outage {
	return []*outage{
		{
			name: "session-left", alert: "VeeamSessionLeft", profile: veeamtest.VB365, product: true, before: true,
			happens: func(o *outage) {
				o.on.Server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultHang, After: true, Count: 1})
				go func() {
					if res, err := http.Get(o.on.URL() + o.on.Server.Base() + "/echo"); err == nil {
						_ = res.Body.Close()
					}
				}()
				harness.Eventually(o.t, "the server has logged in", func() bool { return o.on.Server.Counters().Logins == 1 })
				o.world.Kill()
				if err := o.world.Start(); err != nil {
					o.t.Fatal(err)
				}
			},
		},
		{
			name: "key-near-end", alert: "VeeamKeyNearEnd", profile: veeamtest.VBR13, about: "pipeline",
			happens: func(o *outage) {
				o.reload("client pipeline {\n\t\t\tkey one sha256:" + strings.Repeat("ab", 32) + " {\n\t\t\t\tuntil " + time.Now().AddDate(0, 0, 3).Format(time.DateOnly) + "\n\t\t\t}\n\t\t}")
			},
		},
		{
			name: "jwks-missing", alert: "VeeamJWKSMissing", profile: veeamtest.VBR13, about: "missing",
			happens: func(o *outage) { o.reload(trusting("missing", o.world.File("no-keys"))) },
		},
		{
			name: "jwks-stale", alert: "VeeamJWKSStale", profile: veeamtest.VBR13, about: "stale", site: trusting("stale", "keys.json"),
			happens: func(o *outage) { o.write(o.world.File("keys.json"), "no keys") },
		},
		{
			name: "approval-waits", alert: "VeeamApprovalWaits", profile: veeamtest.GCP, product: true, site: "approve *\n\t\tapprovals {\n\t\t\twait 24h\n\t\t}",
			happens: func(o *outage) { o.ask(http.StatusForbidden) },
		},
		{
			name: "approval-near-end", alert: "VeeamApprovalNearEnd", profile: veeamtest.ONE, product: true, site: "approve *\n\t\tapprovals {\n\t\t\twait 4m\n\t\t}",
			happens: func(o *outage) { o.ask(http.StatusForbidden) },
		},
		{
			name: "wrong-password", alert: "VeeamCredentialRefused", profile: veeamtest.VBR13,
			happens: func(o *outage) { o.write(o.password(), "wrong"); o.ask(http.StatusServiceUnavailable) },
		},
		{
			name: "unreadable-secret", alert: "VeeamSecretUnreadable", profile: veeamtest.VBR13,
			happens: func(o *outage) { _ = os.Remove(o.password()); o.ask(http.StatusServiceUnavailable) },
		},
		{
			name: "server-down", alert: "VeeamServerDown", profile: veeamtest.VBR13,
			happens: func(o *outage) {
				o.ask(http.StatusOK) // a token lives
				o.on.Server.Close()
				o.ask(http.StatusBadGateway)
			},
		},
		{
			name: "expired-certificate", alert: "VeeamCertificateRefused", profile: veeamtest.VBR13, trust: "transport http {\n\t\t\ttls_trust_pool file ca.pem\n\t\t}",
			happens: func(o *outage) {
				o.restart(time.Now().Add(-time.Minute))
				o.ask(http.StatusBadGateway)
			},
		},
		{
			name: "certificate-near-end", alert: "VeeamCertificateNearEnd", profile: veeamtest.VBR13, trust: "transport http {\n\t\t\ttls_trust_pool file ca.pem\n\t\t}",
			happens: func(o *outage) {
				o.restart(time.Now().AddDate(0, 0, 10))
				o.ask(http.StatusOK)
			},
		},
		{
			name: "hold", alert: "VeeamLockoutNear", profile: veeamtest.VBR13, site: "lockout_budget 1 15m",
			happens: func(o *outage) { o.write(o.password(), "wrong"); o.ask(http.StatusServiceUnavailable) },
		},
		{
			name: "interference", alert: "VeeamInterference", profile: veeamtest.VBR13,
			happens: func(o *outage) {
				o.ask(http.StatusOK)
				for range 3 { // another program logs in
					o.on.Server.RevokeAll()
					o.ask(http.StatusOK)
				}
			},
		},
		{
			name: "storage-gone", alert: "VeeamStorageDown", profile: veeamtest.VBR13, global: true,
			site: "cache {\n\t\t\tencryption_key {file.key}\n\t\t\tstorage file_system storage\n\t\t}",
			happens: func(o *outage) {
				if err := os.RemoveAll(o.world.File("storage")); err != nil {
					o.t.Fatal(err)
				}
				o.write(o.world.File("storage"), "no folder")
				o.ask(http.StatusOK) // it goes on in memory
			},
		},
		{
			name: "pace-refused", alert: "VeeamPaceRefused", profile: veeamtest.VSPC, product: true, site: "pace 2/m",
			happens: func(o *outage) {
				for range 2 {
					o.ask(http.StatusOK)
					o.on.Server.RevokeAll()
				}
				o.ask(http.StatusTooManyRequests)
			},
		},
		{
			name: "code-needed", alert: "VeeamCodeNeeded", profile: veeamtest.AWS, server: []veeamtest.Option{
				veeamtest.WithAccount(veeamtest.Account{Username: "code", Password: veeamtest.DefaultPassword, TOTPSecret: "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"}),
			},
			happens: func(o *outage) { o.ask(http.StatusServiceUnavailable) },
		},
	}
}

// trusting is the option for an identity provider whose keys are in a file.
func trusting(provider, file string) string {
	return fmt.Sprintf("trust_jwt %s {\n\t\t\tissuer https://%[1]s.lab.local\n\t\t\taudience veeam-auth\n\t\t\tjwks_file %s\n\t\t}", provider, file)
}

// publicKeys is the key set of a provider.
const publicKeys = `{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`

// reload gives the site other options.
func (o *outage) reload(options string) {
	o.on.Options = options
	if err := o.world.Reload(o.t.Context()); err != nil {
		o.t.Fatal(err)
	}
}

// restart gives the server another certificate, before there is a connection to it: one that
// breaks in a request would be another outage.
func (o *outage) restart(end time.Time) {
	o.on.Server.Close()
	o.on.Server.SetCertificateEnd(end)
	if err := o.on.Server.Start(); err != nil {
		o.t.Fatal(err)
	}
}

// healthySite works all the time: a client with a name, rules that allow and deny, and a
// session that is renewed.
func healthySite(t *testing.T, w *harness.World) *harness.Site {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("reports' password"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return &harness.Site{
		Server:  harness.StartServer(t, veeamtest.VBR13, veeamtest.WithAccessLifetime(10*time.Second)),
		Account: fmt.Sprintf("account healthy {\n\t\t\tusername %s\n\t\t\tpassword {file.%s}\n\t\t}", veeamtest.DefaultUser, w.File("healthy-password")),
		Options: "client reports " + string(hash) + "\n\t\tallow {\n\t\t\tmethod GET\n\t\t}\n\t\tpace off",
	}
}

// traffic sends requests of a client, and of one that is denied, until stop is closed.
func traffic(t *testing.T, site *harness.Site, stop <-chan struct{}) {
	t.Helper()
	login := send(t, http.MethodPost, site.URL()+site.Server.TokenPath(), "", url.Values{
		"grant_type": {"password"}, "username": {"reports"}, "password": {"reports' password"},
	})
	_, token, _ := strings.Cut(strings.ReplaceAll(login.body, " ", ""), `"access_token":"`)
	token, _, _ = strings.Cut(token, `"`)
	for {
		for method, want := range map[string]int{http.MethodGet: http.StatusOK, http.MethodDelete: http.StatusForbidden} {
			if got := send(t, method, site.URL()+site.Server.Base()+"/echo", token, nil); got.status != want {
				t.Errorf("%s of the healthy account: %d %s", method, got.status, got.body)
				return
			}
		}
		select {
		case <-stop:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Each outage raises its alert and no other one, the healthy account none, and all queries
// of the dashboard have had data.
func TestEachOutageRaisesItsAlertAndNoOther(t *testing.T) {
	need(t, "prometheus")
	w := harness.New(t)
	table := outages()
	set := func(file, text string) {
		if err := os.WriteFile(w.File(file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("key", harness.Keyset(t))
	set("ca.pem", string(veeamtest.CAPEM()))
	set("healthy-password", veeamtest.DefaultPassword)
	set("keys.json", publicKeys)
	healthy := healthySite(t, w)
	w.Sites = []*harness.Site{healthy}
	for _, o := range table {
		o.t, o.world = t, w
		o.write(o.password(), veeamtest.DefaultPassword)
		user := veeamtest.DefaultUser
		if o.server != nil {
			user = "code"
		}
		here := strings.NewReplacer("{file.key}", "{file."+w.File("key")+"}", "file_system storage", "file_system "+w.File("storage"), "file ca.pem", "file "+w.File("ca.pem"), "jwks_file keys.json", "jwks_file "+w.File("keys.json"))
		o.on = &harness.Site{
			Server: harness.StartServer(t, o.profile, o.server...), Trust: here.Replace(o.trust), Options: here.Replace(o.site),
			Account: fmt.Sprintf("account %s {\n\t\t\tusername %s\n\t\t\tpassword {file.%s}\n\t\t}", o.name, user, o.password()),
		}
		w.Sites = append(w.Sites, o.on)
	}
	w.Run(t)
	expected := map[string]*outage{}
	happen := func(before bool) {
		for _, o := range table {
			if o.before == before {
				o.began = time.Now()
				o.happens(o)
				expected[o.fires()] = o
			}
		}
	}
	happen(true)

	stop := make(chan struct{})
	var busy sync.WaitGroup
	busy.Go(func() { traffic(t, healthy, stop) })
	began := time.Now()
	p := startPrometheus(t, w.Dir, w.Caddy.Admin, *earnest)
	if !harness.Until(func() bool { return p.points(t, `caddy_veeam_auth_cache_up == 1`, began, time.Second) > 0 }) {
		t.Fatalf("nothing was scraped: %s", p.out.String())
	}
	firing, _ := p.firing(t)
	if firing = slices.DeleteFunc(firing, func(name string) bool { return expected[name] != nil }); len(firing) > 0 {
		t.Errorf("before the outages %q fire", firing)
	}

	happen(false)
	// What an outage raises beside its alert comes with one of the next scrapes, in earnest
	// after ten minutes.
	calm, limit, interval := 2*time.Second, harness.Patience, "10s"
	if *earnest {
		calm, limit, interval = 11*time.Minute, 20*time.Minute, "1m"
	}
	happened, missing := time.Now(), len(table)
	for last := happened; missing > 0 || time.Since(last) < calm; time.Sleep(50 * time.Millisecond) {
		if time.Since(happened) > limit {
			t.Fatalf("%d of the alerts never fire\n%s", missing, p.out.String())
		}
		firing, _ := p.firing(t)
		for _, name := range firing {
			o := expected[name]
			switch {
			case o == nil:
				t.Fatalf("%s fires, which no outage should raise", name)
			case o.took == 0:
				o.took = time.Since(o.began)
				if missing--; !*earnest {
					last = time.Now()
				}
			}
		}
	}
	firing, _ = p.firing(t)
	for _, o := range table {
		t.Logf("%-20s %-24s after %4.1f s, still fires: %v", o.name, o.alert, o.took.Seconds(), slices.Contains(firing, o.fires()))
	}
	close(stop)
	busy.Wait()
	for _, query := range dashboardQueries(t, interval) {
		if p.points(t, query, began, time.Second) == 0 {
			t.Errorf("a query of the dashboard has never had data: %s", query)
		}
	}
	named := map[string][]string{"account": {"healthy"}, "product": {"vbr", "vspc", "aws"}, "instance": {w.Caddy.Admin}}
	for _, o := range table {
		named["account"] = append(named["account"], o.name)
	}
	offersValues(t, p, began, named)
}

// Events that run a command.

package telemetry

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// get asks a site for a protected resource.
func get(t *testing.T, site *harness.Site) (status int) {
	t.Helper()
	res, err := http.Get(site.URL() + site.Server.Base() + "/echo")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

func TestEventsRunCommandsAlsoAfterAReload(t *testing.T) {
	t.Parallel()
	w := harness.New(t)
	const script = `echo "$@" >> "$0"`
	bind := func(file string) string {
		run := " exec /bin/sh -c `" + script + "` " + w.File(file) + " {event.name} "
		return "events {\n" +
			"on veeam_auth_credential_held" + run + "{event.data.account} {event.data.reason} {event.data.tries_left}\n" +
			"on veeam_auth_credential_lifted" + run + "{event.data.account} {event.data.cause}\n" +
			"on veeam_auth_pin_mismatch" + run + "{event.data.product}\n" +
			"on veeam_auth_client_throttled" + run + "{event.data.client} {event.data.source}\n}"
	}
	said := func(file string) []string {
		text, _ := os.ReadFile(w.File(file))
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		slices.Sort(lines)
		return lines
	}
	secret := func(value string) string {
		placeholder, err := w.Secret("password", value)
		if err != nil {
			t.Fatal(err)
		}
		return placeholder
	}
	held := &harness.Site{Server: harness.StartServer(t, veeamtest.VBR13), Account: "account " + veeamtest.DefaultUser + " " + secret("wrong"), Options: "rate_limit 0.01 2"}
	other := &harness.Site{
		Server: harness.StartServer(t, veeamtest.VSPC), Account: "account " + veeamtest.DefaultUser + " {env.TELEMETRY_PASSWORD}",
		Trust: "tls_pin " + strings.Repeat("AB", 32),
	}
	w.Env = []string{"TELEMETRY_PASSWORD=" + veeamtest.DefaultPassword}
	w.Sites, w.Global = []*harness.Site{held, other}, bind("first")
	w.Run(t)
	for _, want := range []int{http.StatusServiceUnavailable, http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusTooManyRequests} {
		if got := get(t, held); got != want {
			t.Errorf("status %d, want %d", got, want)
		}
	}
	for range 3 {
		if got := get(t, other); got != http.StatusBadGateway {
			t.Errorf("status %d at a server with another certificate", got)
		}
	}
	want := []string{
		"veeam_auth_client_throttled loopback 127.0.0.1", "veeam_auth_credential_held svc-monitor credential_refused 1", "veeam_auth_pin_mismatch vspc",
	}
	harness.Eventually(t, "the commands have run", func() bool { return len(said("first")) >= len(want) })

	held.Options, w.Global = "", bind("second")
	if err := w.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	get(t, other)
	secret(veeamtest.DefaultPassword)
	harness.Eventually(t, "the new password is used", func() bool { return get(t, held) == http.StatusOK })
	harness.Eventually(t, "the command of the new configuration has run", func() bool { return said("second")[0] != "" })
	if got := said("first"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := said("second"), []string{"veeam_auth_credential_lifted svc-monitor accepted"}; !slices.Equal(got, want) {
		t.Errorf("after the reload got %q, want %q", got, want)
	}
}

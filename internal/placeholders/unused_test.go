package placeholders

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestVariablesWithoutAnEffectAreNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Caddyfile")
	text := `{
	admin {$VEEAM_AUTH_ADMIN:localhost:2019}
}
(VEEAM_AUTH_TRUST=system) {
}
(VEEAM_AUTH_TRUST=pin) {
	tls_pin {$VEEAM_AUTH_TLS_PIN}
}
(VEEAM_AUTH_TRUST=ca) {
	transport http {
		tls_trust_pool file {$VEEAM_AUTH_CA_FILE:/run/secrets/ca.pem}
	}
}
(VEEAM_AUTH_CALLERS=loopback/bind) {
	bind 127.0.0.1
}
(VEEAM_AUTH_CALLERS=client/bind) {
	bind {$VEEAM_AUTH_BIND:0.0.0.0}
}
:9419 {
	import VEEAM_AUTH_CALLERS={$VEEAM_AUTH_CALLERS:loopback}/bind
	veeam_auth {$VEEAM_AUTH_SERVER} {
		import VEEAM_AUTH_TRUST={$VEEAM_AUTH_TRUST:system}
	}
}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	pinOnly := "the variable VEEAM_AUTH_TLS_PIN has no effect: it is used only with VEEAM_AUTH_TRUST=pin"
	for name, tt := range map[string]struct{ set, want []string }{
		"nothing is set":               {},
		"what is used":                 {set: []string{"VEEAM_AUTH_SERVER=canary", "VEEAM_AUTH_TRUST=pin", "VEEAM_AUTH_TLS_PIN=canary"}},
		"a pin and the default":        {set: []string{"VEEAM_AUTH_TLS_PIN=canary"}, want: []string{pinOnly}},
		"a pin and another value":      {set: []string{"VEEAM_AUTH_TRUST=ca", "VEEAM_AUTH_TLS_PIN=canary", "VEEAM_AUTH_CA_FILE=/canary"}, want: []string{pinOnly}},
		"an empty one":                 {set: []string{"VEEAM_AUTH_TLS_PIN="}},
		"a file, as the image sets it": {set: []string{"VEEAM_AUTH_CA_FILE=/run/secrets/ca.pem"}},
		"an address without clients":   {set: []string{"VEEAM_AUTH_BIND=0.0.0.0"}, want: []string{"the variable VEEAM_AUTH_BIND has no effect: it is used only with VEEAM_AUTH_CALLERS=client"}},
		"another address":              {set: []string{"VEEAM_AUTH_BIND=10.0.0.1"}, want: []string{"the variable VEEAM_AUTH_BIND has no effect: it is used only with VEEAM_AUTH_CALLERS=client"}},
		"an address with clients":      {set: []string{"VEEAM_AUTH_BIND=10.0.0.1", "VEEAM_AUTH_CALLERS=client"}},
		"a misspelled one":             {set: []string{"VEEAM_AUTH_CALLER=client"}, want: []string{"the variable VEEAM_AUTH_CALLER has no effect: " + file + " does not use it; did you mean VEEAM_AUTH_CALLERS?"}},
		"an unknown one":               {set: []string{"VEEAM_AUTH_PASSWORD=canary"}, want: []string{"the variable VEEAM_AUTH_PASSWORD has no effect: " + file + " does not use it"}},
		"one of the program":           {set: []string{"VEEAM_AUTH_FORWARD=nested"}},
		"what Kubernetes sets":         {set: []string{"VEEAM_AUTH_SERVICE_HOST=10.0.0.1", "VEEAM_AUTH_PORT=tcp://10.0.0.1:9419", "VEEAM_AUTH_PORT_9419_TCP_ADDR=10.0.0.1", "VEEAM_AUTH_SERVICE_PORT_HTTPS=9419"}},
		"a value that nothing defines": {set: []string{"VEEAM_AUTH_TRUST=other"}},
	} {
		clearOurs(t)
		for _, variable := range tt.set {
			name, value, _ := strings.Cut(variable, "=")
			t.Setenv(name, value)
		}
		got := unused(file)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
		if strings.Contains(strings.Join(got, " "), "canary") {
			t.Errorf("%s: a value is repeated: %q", name, got)
		}
	}
}

// clearOurs takes all variables of the image out of the environment until the test ends.
func clearOurs(t *testing.T) {
	t.Helper()
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, ourPrefix) {
			t.Setenv(name, "") // restores it at the end
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestACaddyfileWithoutChoicesIsNotLookedAt(t *testing.T) {
	t.Setenv("VEEAM_AUTH_OTHER", "x")
	dir := t.TempDir()
	plain := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(plain, []byte(":9419 {\n\tveeam_auth {$VEEAM_AUTH_SERVER}\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{plain, dir, filepath.Join(dir, "none")} {
		if got := unused(file); got != nil {
			t.Errorf("%s: %q", file, got)
		}
	}
}

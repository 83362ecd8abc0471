package policy

import "testing"

func TestNamesOfHostsAreChecked(t *testing.T) {
	for _, name := range []string{"vbr", "vbr-sidecar.lab.local", "xn--bcher-kva.example", "localhost"} {
		if err := CheckHosts([]string{"first", name}); err != nil || !LocalHost(name, []string{name}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{
		"", "vbr:9419", "https://vbr", "vbr/", "*.lab.local", "*", "192.0.2.7", "2001:db8::1", "[2001:db8::1]", "user@vbr", "vbr.lab.local.", "v b r", "{env.HOST}",
	} {
		if err := CheckHosts([]string{"first", name}); err == nil {
			t.Errorf("%q is accepted", name)
		}
	}
}

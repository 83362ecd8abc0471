package answer

import (
	"net/http"
	"slices"
	"testing"
)

func TestReferencesToTheServerLeadHere(t *testing.T) {
	t.Parallel()
	const server, base, site = "https://vspc01:1280/veeam", "/veeam", "http://site:1"
	for name, values := range map[string][][2]string{
		"Location": {
			{"https://vspc01:1280/veeam/api/v3/x?y#z", "http://site:1/api/v3/x?y#z"},
			{"HTTPS://VSPC01:1280/veeam", "http://site:1"},
			{"//vspc01:1280/veeam/api", "http://site:1/api"},
			{"/veeam/api", "/api"},
			{"/veeam", "/"},
			{"/veeamother", "/veeamother"},
			{"https://vspc01:1280/veeam@evil/x", "https://vspc01:1280/veeam@evil/x"},
			{"https://vspc01:12800/veeam/x", "https://vspc01:12800/veeam/x"},
			{"https://other/?to=https://vspc01:1280/veeam/x", "https://other/?to=https://vspc01:1280/veeam/x"},
			{"//other/x", "//other/x"},
			{"x", "x"},
			{"", ""},
		},
		"Content-Location": {
			{"https://vspc01:1280/veeam/api/v3/x", "http://site:1/api/v3/x"},
			{"/veeam/api", "/api"},
		},
		"Link": {
			{`<https://vspc01:1280/veeam/api?page=2>; rel="next", < /veeam/api?page=9>; rel=last`, `<http://site:1/api?page=2>; rel="next", < /api?page=9>; rel=last`},
			{`<https://vspc01:1280/veeam>; rel=up`, `<http://site:1>; rel=up`},
			{`<https://other/x>; title="https://vspc01:1280/veeam/x"`, `<https://other/x>; title="https://vspc01:1280/veeam/x"`},
		},
		"Refresh": {
			{"0; url=https://vspc01:1280/veeam/api", "0; url=http://site:1/api"},
			{`5;URL = "/veeam/api"`, `5;URL = "/api"`},
			{"0; url=https://other/?to=https://vspc01:1280/veeam/x", "0; url=https://other/?to=https://vspc01:1280/veeam/x"},
			{"30", "30"},
		},
		"X-Other": {{"https://vspc01:1280/veeam/x", "https://vspc01:1280/veeam/x"}},
	} {
		header := http.Header{}
		var want []string
		for _, value := range values {
			header.Add(name, value[0])
			want = append(want, value[1])
		}
		before := header[name]
		first := before[0]
		if Refers(header) != (name != "X-Other") {
			t.Errorf("%s: Refers says %v", name, Refers(header))
		}
		LeadHere(header, server, base, site)
		if !slices.Equal(header[name], want) || before[0] != first {
			t.Errorf("%s: %q, want %q", name, header[name], want)
		}
	}
}

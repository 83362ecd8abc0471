// The search for secrets is shown to find some, lest its silence mean nothing.

package sidecar

import (
	"net/http"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestTheSearchForSecretsFindsThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.add(vbr)
	w.start()
	s.client.ok(t, s.protected)
	found := func() int { return len(w.leaks.scan(w)) }
	if n := found(); n != 0 {
		t.Fatalf("%d secrets before any is out", n)
	}
	token, password := s.Server.Issued()[0], veeamtest.DefaultPassword
	received := w.leaks.received.Len()
	for where, leak := range map[string]func(){
		"a header": func() {
			w.leaks.receive(&http.Response{Header: http.Header{"X-Token": {token}}}, nil)
		},
		"a body":  func() { w.leaks.receive(&http.Response{}, []byte(`{"password":"`+password+`"}`)) },
		"metrics": func() { w.leaks.admin = append(w.leaks.admin, `x{token="`+token+`"} 1`) },
	} {
		leak()
		if n := found(); n != 1 {
			t.Errorf("%d secrets found in %s", n, where)
		}
		w.leaks.received.Truncate(received)
		w.leaks.admin = nil
	}
	w.leaks.keepFromLogs(s.protected) // which is in the log
	if n := found(); n != 1 {
		t.Errorf("%d secrets found in the log", n)
	}
	w.leaks.unlogged = nil
}

// Approvals over the wire: exactly the request that was approved passes, once, and to the
// server that it was approved for.

package access

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// decides approves or denies what an answer says that waits.
func (w *world) decides(t *testing.T, waiting *answer, act string) {
	t.Helper()
	id := waiting.header.Get("Veeam-Auth-Approval")
	if waiting.status != http.StatusForbidden || id == "" || !strings.Contains(waiting.body, "approval_required") {
		t.Fatalf("it does not wait: %v", waiting)
	}
	res, err := http.Post("http://"+w.Caddy.Admin+"/veeam_auth/approvals/"+act, "application/json", strings.NewReader(fmt.Sprintf(`{"id": %q}`, id)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d %s", act, id, res.StatusCode, text)
	}
}

func TestAnApprovalIsForOneRequestToOneServer(t *testing.T) {
	other := veeamtest.New(veeamtest.VBR13, veeamtest.WithAccount(veeamtest.Account{Username: operator, Password: "operator-pass-1"}))
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	here := func(server *veeamtest.Server) string { return strings.TrimPrefix(server.URL(), "https://") }
	options := "\n\t\tclient agent HASH\n\t\tclient second HASH\n\t\tallow method GET\n\t\tapprove *\n\t\tapprovals {\n\t\t\tmax_waiting_per_client 100\n\t\t}\n\t}\n}\n"
	block := func(name, begin, account string) neighbour {
		return neighbour{host: name + ".test", block: "http://" + name + ".test:PORT {\n\tbind 127.0.0.1\n\t" + begin + "\n\t\taudience joined\n\t\t" + account + options}
	}
	trusting := fmt.Sprintf("\n\t\tproduct vbr\n\t\ttls_pin %s", harness.Pin(other))
	w, clients := neighbours(t, "vbr", []neighbour{
		block("first", "VEEAM", "MONITOR"),
		block("server", "veeam_auth "+other.URL()+" {"+trusting, "MONITOR"),
		block("account", "VEEAM", "OPERATOR"),
		block("joined", "VEEAM", "MONITOR"),
		// The request chooses the server.
		block("chosen", "map {header.X-Server} {server} {\n\t\tother "+here(other)+"\n\t\tdefault SERVER\n\t}\n\tCHOSEN "+harness.Pin(other), "MONITOR"),
	})
	first := clients[0]
	token := first.tokens("agent", password)
	const body = `{"name": "nightly"}`
	request := func(c *client, edits ...edit) *answer {
		t.Helper()
		return c.do(http.MethodPost, "/api/v1/echo?b=1&a=2", body, append([]edit{bearer(token.Access), header("Content-Type", "application/json"), header("X-Api-Version", "1.1-rev0")}, edits...)...)
	}
	with := func(text string) edit {
		return func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
		}
	}
	set := func(name, value string) edit { return func(r *http.Request) { r.Header.Set(name, value) } }
	var packed bytes.Buffer
	pack := gzip.NewWriter(&packed)
	_, _ = pack.Write([]byte(body))
	_ = pack.Close()

	waiting := request(first)
	id := waiting.header.Get("Veeam-Auth-Approval")
	w.decides(t, waiting, "approve")
	executed := func() int64 { return w.site("site").Server.Counters().Protected + other.Counters().Protected }
	before := executed()
	for name, a := range map[string]*answer{
		"a blank":                request(first, with(`{"name":"nightly"}`)),
		"a line break":           request(first, with(body+"\n")),
		"a name twice":           request(first, with(`{"name": "nightly", "name": "nightly"}`)),
		"a longer body, chunked": request(first, func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body+" ")), -1 }),
		"no body":                request(first, func(r *http.Request) { r.Body, r.ContentLength = http.NoBody, 0 }),
		"compressed":             request(first, with(packed.String()), set("Content-Encoding", "gzip")),
		"said to be compressed":  request(first, set("Content-Encoding", "gzip")),
		"said to be as it is":    request(first, set("Content-Encoding", "identity")),
		"another charset":        request(first, set("Content-Type", "application/json; charset=utf-16")),
		"another type":           request(first, set("Content-Type", "application/xml")),
		"two types":              request(first, header("Content-Type", "application/json")),
		"another version":        request(first, set("X-Api-Version", "1.2-rev0")),
		"two versions":           request(first, header("X-Api-Version", "1.2-rev0")),
		"another order":          request(first, func(r *http.Request) { r.URL.RawQuery = "a=2&b=1" }),
		"more parameters":        request(first, func(r *http.Request) { r.URL.RawQuery += "&a=2" }),
		"another value":          request(first, func(r *http.Request) { r.URL.RawQuery = "b=1&a=02" }),
		"another path":           request(first, func(r *http.Request) { r.URL.Path = "/api/v1/echo/1" }),
		"another method":         request(first, func(r *http.Request) { r.Method = http.MethodPut }),
		"another client":         request(first, set("Authorization", "Bearer "+first.tokens("second", password).Access)),
		"another server":         request(clients[1]),
		"another account":        request(clients[2]),
	} {
		if a.status != http.StatusForbidden || a.header.Get("Veeam-Auth-Approval") == id {
			t.Errorf("%s: %v", name, a)
		}
	}
	if a := request(first, set("Veeam-Auth-Approval", "apr_0000000000000000")); a.status != http.StatusBadRequest {
		t.Errorf("the id of another one: %v", a)
	}
	if n := executed() - before; n != 0 {
		t.Errorf("%d requests were executed", n)
	}

	// In another form of HTTP it is the same request, and nothing beside it reaches the server.
	a := request(clients[3], func(r *http.Request) {
		r.Body, r.ContentLength, r.Trailer = io.NopCloser(strings.NewReader(body)), -1, http.Header{"X-Http-Method": {"DELETE"}}
	}, set("X-Http-Method-Override", "DELETE"), set("Idempotency-Key", "1"), set("X-Original-Url", "/api/v1/jobs"), set("Veeam-Auth-Approval", id)).want(http.StatusOK)
	var got echoed
	if a.into(&got); got.Method != http.MethodPost || got.Query != "b=1&a=2" || got.Headers.Get("X-Http-Method-Override")+got.Headers.Get("X-Original-Url")+got.Headers.Get("Idempotency-Key")+got.Headers.Get("Veeam-Auth-Approval") != "" {
		t.Errorf("%+v", got)
	}
	if a := request(first); a.status != http.StatusForbidden || a.header.Get("Veeam-Auth-Approval") == id {
		t.Errorf("a second time: %v", a)
	}

	// What a request chooses belongs to it, also if no rule looks at it.
	chosen := clients[4]
	waiting = request(chosen)
	w.decides(t, waiting, "approve")
	before = executed()
	if a := request(chosen, set("X-Server", "other")); a.status != http.StatusForbidden || executed() != before {
		t.Errorf("to the other server: %v", a)
	}
	request(chosen).want(http.StatusOK)

	// A reload that puts another server behind the site takes the approval away.
	waiting = request(clients[3])
	w.decides(t, waiting, "approve")
	layout := w.Layout
	w.Layout = func() string {
		return strings.ReplaceAll(strings.ReplaceAll(layout(), w.site("site").Server.URL(), other.URL()), harness.Pin(w.site("site").Server), harness.Pin(other))
	}
	w.reload(t)
	if a := request(clients[3]); a.status != http.StatusForbidden || a.header.Get("Veeam-Auth-Approval") == waiting.header.Get("Veeam-Auth-Approval") {
		t.Errorf("after a reload: %v", a)
	}
}

// What operators are shown of requests that wait tells which server they go to, and is what
// was sent, whoever asks.
func TestOperatorsAreShownWhereARequestGoes(t *testing.T) {
	w, clients := neighbours(t, "vbr", []neighbour{{host: "one.test", block: "http://one.test:PORT {\n\tbind 127.0.0.1\n\tVEEAM\n\t\tMONITOR\n\t\tclient agent HASH\n\t\tapprove *\n\t}\n}\n"}})
	c := clients[0]
	c.do(http.MethodPost, "/api/v1/jobs", `{"name":"<b>\u202e"}`, bearer(c.tokens("agent", password).Access), header("Content-Type", "application/json")).want(http.StatusForbidden)
	res, err := http.Get("http://" + w.Caddy.Admin + "/veeam_auth/approvals")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var shown []struct{ Server, Client, Method, Path, Body string }
	if err := json.NewDecoder(res.Body).Decode(&shown); err != nil || len(shown) != 1 {
		t.Fatal(shown, err)
	}
	server, err := url.Parse(w.site("site").Server.URL())
	if err != nil {
		t.Fatal(err)
	}
	if got := shown[0]; got.Server != server.Host || got.Client != "agent" || got.Method != http.MethodPost || got.Path != "/api/v1/jobs" {
		t.Errorf("%+v", got)
	}
}

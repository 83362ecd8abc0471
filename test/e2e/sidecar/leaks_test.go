// The search for secrets in everything that left the sidecar, after every test.

package sidecar

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// leaks collects what clients received and what must not be in it.
type leaks struct {
	servers []*veeamtest.Server

	mu       sync.Mutex
	received bytes.Buffer
	secrets  []string // must not be anywhere
	unlogged []string // the client may have it, no log may
	admin    []string // what the admin endpoint answered
}

// keepBody is how much of a body is searched: no token answer is longer.
const keepBody = 256 << 10

// receive takes down an answer.
func (l *leaks) receive(res *http.Response, body []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = res.Header.Write(&l.received)
	_ = res.Trailer.Write(&l.received)
	l.received.Write(body[:min(len(body), keepBody)])
	l.received.WriteByte('\n')
}

// keep notes a secret that nobody outside of the sidecar may see.
func (l *leaks) keep(secrets ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.secrets = append(l.secrets, secrets...)
}

// keepFromLogs notes a secret between a client and the sidecar.
func (l *leaks) keepFromLogs(secrets ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unlogged = append(l.unlogged, secrets...)
}

// scanAdmin takes down what the admin endpoint tells.
func (l *leaks) scanAdmin(t *testing.T, caddy *harness.Caddy) {
	t.Helper()
	for _, path := range []string{"/config/", "/metrics", "/reverse_proxy/upstreams"} {
		res, err := http.Get("http://" + caddy.Admin + path)
		if err != nil {
			t.Error(err)
			return
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("%s: %s %v", path, res.Status, err)
		}
		l.admin = append(l.admin, string(text))
	}
}

// scan searches everything and tells what it has found.
func (l *leaks) scan(w *world) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	secrets := slices.Clone(l.secrets)
	for _, server := range l.servers {
		secrets = append(secrets, server.Issued()...)
	}
	logs := map[string]string{
		"Svc.ResAPI.log":     w.svclog(),
		"the output":         w.Caddy.Output(),
		"the admin endpoint": strings.Join(l.admin, "\n"),
	}
	for where, text := range logs {
		found = append(found, seen(where, text, append(secrets, l.unlogged...))...)
	}
	found = append(found, seen("what clients received", l.received.String(), secrets)...)
	return found
}

// seen finds secrets in a text, in any spelling that one is written in.
func seen(where, text string, secrets []string) (found []string) {
	for i, secret := range secrets {
		for _, spelling := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			if at := strings.Index(text, spelling); secret != "" && at >= 0 {
				found = append(found, fmt.Sprintf("secret %d (%.12s…) is in %s: …%.200s", i, secret, where, text[max(0, at-100):]))
				break
			}
		}
	}
	return found
}

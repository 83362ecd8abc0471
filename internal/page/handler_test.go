package page

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/internal/process"
)

// At its own listener there is the page, its JSON and its acts; under a name that leads
// elsewhere there is nothing.
func TestTheListenerOfThePageServesItAloneAndOnlyByLocalNames(t *testing.T) {
	record := NewRecord()
	record.Open()
	acted := 0
	handler := Handler(newPage(record), map[string]adminapi.Handler{"/veeam_auth/act": func(http.ResponseWriter, *http.Request) error { acted++; return nil }})
	for _, tt := range []struct {
		host, remote, path string
		status             int
	}{
		{"localhost:2021", "127.0.0.1:4000", "/", http.StatusFound},
		{"localhost:2021", "127.0.0.1:4000", "/veeam_auth/", http.StatusOK},
		{"127.0.0.1:9999", "127.0.0.1:4000", "/veeam_auth/state", http.StatusOK},
		{"[::1]:2021", "[::1]:4000", "/veeam_auth/act", http.StatusOK},
		{"localhost", "@", "/veeam_auth/act", http.StatusOK},
		{"localhost:2021", "@", "/veeam_auth/state", http.StatusOK}, // through SSH
		{"evil.test:2021", "@", "/veeam_auth/state", http.StatusForbidden},
		{"evil.test:2021", "", "/veeam_auth/act", http.StatusForbidden},
		{"localhost:2021", "127.0.0.1:4000", "/veeam_auth/other", http.StatusNotFound},
		{"localhost:2021", "127.0.0.1:4000", "/config/", http.StatusNotFound},
		{"localhost:2021", "127.0.0.1:4000", "/load", http.StatusNotFound},
		{"localhost:2021", "127.0.0.1:4000", "/metrics", http.StatusNotFound},
		{"evil.test:2021", "127.0.0.1:4000", "/", http.StatusForbidden},
		{"evil.test:2021", "127.0.0.1:4000", "/veeam_auth/", http.StatusForbidden},
		{"evil.test", "127.0.0.1:4000", "/veeam_auth/act", http.StatusForbidden},
		{"localhost.evil.test", "127.0.0.1:4000", "/veeam_auth/act", http.StatusForbidden},
		{"", "127.0.0.1:4000", "/veeam_auth/act", http.StatusForbidden},
		{"192.0.2.1:2021", "127.0.0.1:4000", "/veeam_auth/act", http.StatusForbidden},
	} {
		before, w := acted, httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, tt.path, http.NoBody)
		r.Host, r.RemoteAddr = tt.host, tt.remote
		handler.ServeHTTP(w, r)
		if w.Code != tt.status {
			t.Errorf("%s by %q: %d, not %d: %s", tt.path, tt.host, w.Code, tt.status, w.Body)
		}
		if tt.status == http.StatusForbidden && (acted != before || !strings.Contains(w.Body.String(), `"error":`) || w.Header().Get("X-Frame-Options") != "DENY") {
			t.Errorf("%s by %q: acted %t, %v %s", tt.path, tt.host, acted != before, w.Header(), w.Body)
		}
	}
}

// The log names the user who acts at a unix socket.
func TestTheUserAtAUnixSocketIsKnown(t *testing.T) {
	t.Chdir(t.TempDir())
	listener, err := net.Listen("unix", "s")
	if err != nil {
		t.Fatal(err)
	}
	var peer process.Peer
	server := NewServer(Handler(newPage(NewRecord()), map[string]adminapi.Handler{adminapi.ApprovePath: func(_ http.ResponseWriter, r *http.Request) error {
		peer, _ = process.PeerOfRequest(r.Context())
		return nil
	}}))
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", "s")
	}}}
	defer client.CloseIdleConnections()
	res, err := client.Post("http://localhost"+adminapi.ApprovePath, "application/json", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if want := (process.Peer{UID: os.Getuid(), GID: os.Getgid(), PID: os.Getpid()}); runtime.GOOS == "linux" && peer != want {
		t.Errorf("%s: %+v, not %+v", res.Status, peer, want)
	}
}

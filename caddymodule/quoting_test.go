package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// net/http quotes what is no HTTP. A server or a proxy may repeat the token there.
func TestAnAnswerThatIsNotHTTPIsNotQuoted(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		w.start(unwatched())
		w.demand("200")
		sent := ""
		w.wire.intercept(func(req *http.Request) (*http.Response, error) {
			sent = strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
			return nil, fmt.Errorf("net/http: HTTP/1.x transport connection broken: malformed HTTP response %q", sent)
		})
		got := w.get()
		if sent == "" || got.status != 0 || !strings.Contains(got.body, "malformed HTTP response") || strings.Contains(got.body+w.said(), sent) {
			t.Errorf("%v: %s", got, got.body)
		}
	})
}

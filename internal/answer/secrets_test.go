package answer

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

func TestNeitherTrailersNorAnotherProtocolArePassed(t *testing.T) {
	product, _ := veeam.Lookup("vspc")
	x := Exchange{Terms: Terms{Filter: true}, Product: product, Request: httptest.NewRequest(http.MethodGet, "/", http.NoBody), Websocket: true}
	made := &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {typeJSON}, "Trailer": {"X-Note"}}, ContentLength: -1,
		Body: io.NopCloser(strings.NewReader("{}")), Trailer: http.Header{"X-Note": nil},
	}
	res, _ := x.Pass(made)
	made.Trailer = http.Header{"X-Note": {"password=canary"}} // as the transport does at the end
	if len(res.Trailer) > 0 || res.Header.Get("Trailer") != "" {
		t.Errorf("trailers: %v %v", res.Trailer, res.Header)
	}
	closed := false
	made = &http.Response{StatusCode: http.StatusSwitchingProtocols, Header: http.Header{}, Body: closing{strings.NewReader("canary"), &closed}}
	res, refused := x.Pass(made)
	if refused == nil || res.StatusCode != http.StatusBadGateway || !closed {
		t.Errorf("another protocol: %d, closed %v", res.StatusCode, closed)
	}
}

// closing is a body that tells that it is closed.
type closing struct {
	io.Reader
	closed *bool
}

func (c closing) Close() error {
	*c.closed = true
	return nil
}

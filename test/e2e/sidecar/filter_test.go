// Answers without secrets, through a real Caddy: however long they are, packed or
// not, and broken off where they cannot be searched.

package sidecar

import (
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/tls"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// canary is the secret in the answers of these tests.
const canary = "CANARY-5d1f0c"

// row is an item of a list, with two secrets in it.
const row = `{"id":"6745a759-2205-4cd2-b172-8ec8f7e60ef8","name":"Backup Job 1","isDisabled":false,"description":"Created by SRV01\\Administrator at 10/3/2022.",` +
	`"password":"` + canary + `","sizes":[4096,1.50,2e3],"note":"Authorization: Bearer ` + canary + `"}`

// filtered is what becomes of the row.
var filtered = strings.NewReplacer("Bearer "+canary, "****", canary, "****").Replace(row)

// inFrontOf is an emulated server with further answers below /api/v1/test.
func inFrontOf(t *testing.T, server *veeamtest.Server) *httptest.Server {
	t.Helper()
	to, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, // the emulator beside it
	})
	mux.HandleFunc("GET /api/v1/test/list", func(w http.ResponseWriter, r *http.Request) {
		rows, _ := strconv.Atoi(r.FormValue("rows"))
		w.Header().Set("Content-Type", "application/json")
		var out io.Writer = w
		if r.Header.Get("Accept-Encoding") == "gzip" && r.FormValue("pack") != "" {
			w.Header().Set("Content-Encoding", "gzip")
			packed := gzip.NewWriter(w)
			defer packed.Close()
			out = packed
		}
		many := []byte(strings.Repeat(row+",", 100))
		_, _ = io.WriteString(out, "[")
		for ; rows > 0; rows -= 100 {
			if _, err := out.Write(many); err != nil {
				return
			}
		}
		_, _ = io.WriteString(out, row+"]")
	})
	mux.HandleFunc("GET /api/v1/test/broken", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"a":1} `+canary)
	})
	mux.HandleFunc("GET /api/v1/test/brotli", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "br")
		_, _ = io.WriteString(w, canary)
	})
	front := httptest.NewTLSServer(mux)
	t.Cleanup(front.Close)
	return front
}

// addFiltered makes a site that filters what such a server answers.
func addFiltered(w *world) *site {
	s := w.add(vbr)
	front := inFrontOf(w.t, s.Server)
	sum := sha1.Sum(front.Certificate().Raw)
	s.Upstream, s.Trust = front.URL, "tls_pin "+hex.EncodeToString(sum[:])
	s.Options = "filter_secrets"
	return s
}

var gib = flag.Bool("gib", false, "have a whole GiB filtered, which takes minutes under the race detector")

func TestSecretsAreTakenOutOfAnswersOfAnyLength(t *testing.T) {
	size, allowed := int64(32<<20), int64(16<<20)
	if *gib {
		size = 1 << 30
	}
	w := newWorld(t)
	s := addFiltered(w)
	w.start()
	list := func(size int64) {
		rows := (size/int64(len(row)) + 99) / 100 * 100
		path := fmt.Sprintf("/api/v1/test/list?rows=%d", rows)
		got, err := s.client.count(http.MethodGet, path, nil, 0)
		if want := rows*int64(len(filtered)+1) + int64(len(filtered)) + 2; err != nil || got != want {
			t.Errorf("%d bytes, want %d, %v", got, want, err)
		}
	}
	list(8 << 20)
	before := resident(t, w.Caddy.Pid())
	start := time.Now()
	most := peak(t, w.Caddy.Pid(), func() { list(size) })
	t.Logf("%d MiB in %v, memory from %d MiB to %d MiB", size>>20, time.Since(start).Round(time.Millisecond), before>>20, most>>20)
	if most-before > allowed {
		t.Errorf("an answer of %d MiB took %d MiB of memory", size>>20, (most-before)>>20)
	}
}

func TestPackedAnswersAreFilteredAndUnreadableOnesAreNotPassed(t *testing.T) {
	w := newWorld(t)
	s := addFiltered(w)
	w.leaks.keep(canary)
	w.start()
	want := "[" + strings.Repeat(filtered+",", 1000) + filtered + "]"
	for _, accept := range []string{"gzip", "br", "identity"} {
		a := s.client.ok(t, "/api/v1/test/list?rows=1000&pack=yes", header("Accept-Encoding", accept))
		if string(a.body) != want || a.header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %q %.300s", accept, a.header.Get("Content-Encoding"), a.body)
		}
	}
	a := s.client.get(t, "/api/v1/test/brotli", header("Accept-Encoding", "br"))
	a.refusedAs(t, s.product, false, http.StatusBadGateway)

	a = s.client.get(t, "/api/v1/test/broken")
	a.refusedAs(t, s.product, false, http.StatusBadGateway)
	if bytes.Contains(a.body, []byte(canary)) {
		t.Errorf("an answer that is not JSON: %s", a)
	}
	if !strings.Contains(w.svclog(), "cannot be searched for secrets: the answer is not JSON at byte 8") {
		t.Errorf("the log does not say why: %s", tail(w.svclog()))
	}
}

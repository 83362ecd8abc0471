// Package logfail takes the log away from a real Caddy with the module - disk
// full, file removed, nobody who reads - and asks whether it goes on serving.
package logfail

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestMain(m *testing.M) {
	harness.Main()
	os.Exit(m.Run())
}

// patience is how long a client waits for an answer, and a test for a line. Only a
// hang exceeds it.
const patience = 2 * time.Minute

// scene is one server and one Caddy whose log goes where the test says.
type scene struct {
	t      *testing.T
	caddy  *harness.Caddy
	client *http.Client
	url    string
}

// start starts a Caddy with this output of the log.
func start(t *testing.T, output string) *scene {
	t.Helper()
	dir := t.TempDir()
	server := veeamtest.New(veeamtest.VBR13)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	ports, err := harness.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`{
	log svc {
		include http.handlers.veeam_auth.svc
		output %s
		format svc_resapi
	}
	log default {
		exclude http.handlers.veeam_auth.svc
	}
}
http://127.0.0.1:%d {
	bind 127.0.0.1
	veeam_auth %s {
		account %s {env.LOGFAIL_PASSWORD}
		tls_pin %s
		log_body_limit 64KiB
	}
}
`, output, ports[0], server.URL(), veeamtest.DefaultUser, harness.Pin(server))
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	caddy, err := harness.StartCaddy(dir, file, []string{"LOGFAIL_PASSWORD=" + veeamtest.DefaultPassword})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(caddy.Kill)
	return &scene{
		t: t, caddy: caddy, url: fmt.Sprintf("http://127.0.0.1:%d%s/echo", ports[0], server.Base()),
		client: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 8}},
	}
}

// ask sends one request. The query is a mark that the log shows.
func (s *scene) ask(mark, body string) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, s.url+"?mark="+mark, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return nil
}

// askMany sends 200 requests, eight at a time, until some have no good answer in
// time, and returns how many.
func (s *scene) askMany(body string) (failed int64) {
	var left, bad atomic.Int64
	left.Store(200)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for left.Add(-1) >= 0 && bad.Load() == 0 {
				if err := s.ask("many", body); err != nil {
					bad.Add(1)
				}
			}
		})
	}
	clients.Wait()
	return bad.Load()
}

// served fails the test unless 200 requests are answered.
func (s *scene) served(body string) {
	s.t.Helper()
	begun := time.Now()
	if n := s.askMany(body); n > 0 {
		s.t.Errorf("%d requests were not answered in %v", n, patience)
	}
	s.t.Logf("200 requests took %v", time.Since(begun).Round(time.Millisecond))
}

var toldLine = regexp.MustCompile(`(?m)^\S+ veeam_auth: (.*)$`)

// told expects that standard error has come to these lines of ours, by their
// expressions, and to no others.
func (s *scene) told(want ...string) {
	s.t.Helper()
	var got [][]string
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if got = toldLine.FindAllStringSubmatch(s.caddy.Output(), -1); len(got) >= len(want) || time.Now().After(deadline) {
			break
		}
	}
	fits := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		fits = fits && regexp.MustCompile("^"+want[i]+"$").MatchString(got[i][1])
	}
	if !fits {
		s.t.Errorf("told %q, want %q, in\n%s", got, want, s.caddy.Output())
	}
}

// arrives waits until the log has a mark.
func (s *scene) arrives(log func() string, mark string) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(log(), "mark="+mark); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("the log does not get the line of %s; Caddy has printed\n%s", mark, s.caddy.Output())
		}
	}
}

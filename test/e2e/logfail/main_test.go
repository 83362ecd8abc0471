// Package logfail takes the log away from a real Caddy with the module - disk
// full, file removed, nobody who reads - and asks whether it goes on serving.
package logfail

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
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
	os.Exit(harness.Run(m.Run))
}

// scene is one server and one Caddy whose log goes where the test says.
type scene struct {
	*harness.World
	t      *testing.T
	client *http.Client
	url    string
}

// start starts a Caddy with this output of the log.
func start(t *testing.T, output string) *scene {
	t.Helper()
	w := harness.New(t)
	w.Env = []string{"LOGFAIL_PASSWORD=" + veeamtest.DefaultPassword}
	site := &harness.Site{
		Server: harness.StartServer(t, veeamtest.VBR13), Account: "account " + veeamtest.DefaultUser + " {env.LOGFAIL_PASSWORD}",
		Options: "log_body_limit 64KiB",
	}
	w.Sites = []*harness.Site{site}
	w.Layout = func() string {
		return fmt.Sprintf(`{
	log svc {
		include http.handlers.veeam_auth.svc
		output %s
		format svc_resapi
	}
	log default {
		exclude http.handlers.veeam_auth.svc
	}
}
`, output) + site.Block()
	}
	w.Run(t)
	return &scene{
		World: w, t: t, url: site.URL() + site.Server.Base() + "/echo",
		client: &http.Client{Timeout: harness.Patience, Transport: &http.Transport{MaxIdleConnsPerHost: 8}},
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
		s.t.Errorf("%d requests were not answered in %v", n, harness.Patience)
	}
	s.t.Logf("200 requests took %v", time.Since(begun).Round(time.Millisecond))
}

var toldLine = regexp.MustCompile(`(?m)^\S+ veeam_auth: (.*)$`)

// told expects these lines of veeam-auth on standard error, by their
// expressions, and to no others.
func (s *scene) told(want ...string) {
	s.t.Helper()
	var got [][]string
	harness.Until(func() bool {
		got = toldLine.FindAllStringSubmatch(s.Caddy.Output(), -1)
		return len(got) >= len(want)
	})
	fits := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		fits = fits && regexp.MustCompile("^"+want[i]+"$").MatchString(got[i][1])
	}
	if !fits {
		s.t.Errorf("told %q, want %q, in\n%s", got, want, s.Caddy.Output())
	}
}

// goesOn sends requests with a mark until the log has it.
func (s *scene) goesOn(log func() string, mark string) {
	s.t.Helper()
	if !harness.Until(func() bool {
		if err := s.ask(mark, small); err != nil {
			s.t.Error(err)
		}
		return strings.Contains(log(), "mark="+mark)
	}) {
		s.t.Fatalf("the log does not get the line of %s; Caddy has printed\n%s", mark, s.Caddy.Output())
	}
}

// arrives waits until the log has a mark.
func (s *scene) arrives(log func() string, mark string) {
	s.t.Helper()
	if !harness.Until(func() bool { return strings.Contains(log(), "mark="+mark) }) {
		s.t.Fatalf("the log does not get the line of %s; Caddy has printed\n%s", mark, s.Caddy.Output())
	}
}

// The Caddys that are compared, and one comparison.

package main

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// subject is a Caddy to be measured.
type subject struct {
	name   string
	url    string
	header http.Header // of the clients
	caddy  *harness.Caddy
	barred bool // has a bar to meet

	against *subject // what it is compared with; nil: the plain one
}

// bench is one server and the Caddys before it.
type bench struct {
	dir      string
	upstream *httptest.Server
	plain    *subject
	subjects []*subject
	plainCPU []float64 // seconds per request

	tokenLength int // of the server's tokens
}

const benchPath = "/api/v1/jobs"

// startBench starts everything and sends the first requests.
func startBench(ctx context.Context) (b *bench, err error) {
	b = new(bench)
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	if b.dir, err = os.MkdirTemp("", "veeam-auth-load-"); err != nil {
		return b, err
	}
	if err := b.startUpstream(ctx); err != nil {
		return b, err
	}
	ca := filepath.Join(b.dir, "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.upstream.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		return b, err
	}
	proxy := fmt.Sprintf("reverse_proxy %s {\n transport http {\n tls_trust_pool file %s\n }\n }\n", b.upstream.URL, ca)
	sidecar := fmt.Sprintf("veeam_auth %s {\n account %s {env.LOAD_PASSWORD}\n transport http {\n tls_trust_pool file %s\n }\n }\n",
		b.upstream.URL, veeamtest.DefaultUser, ca)
	forwarder := strings.Replace(sidecar, "{\n", "{\n forward auto\n", 1)
	// What any injector costs: the server gets as many bytes as with a token.
	injector := strings.Replace(proxy, "{\n", fmt.Sprintf("{\n header_up X-Api-Version 1.1-rev0\n header_up Authorization \"Bearer %s\"\n",
		strings.Repeat("x", b.tokenLength)), 1)
	accessLog := func(file string) string {
		return fmt.Sprintf("log {\n output file %s\n format json\n }\n", filepath.Join(b.dir, file))
	}
	svcLog := fmt.Sprintf("log svc {\n include http.handlers.veeam_auth.svc\n output file %s\n format svc_resapi\n }\n",
		filepath.Join(b.dir, "Svc.ResAPI.log"))

	for _, s := range []struct {
		name, global, site string
		barred             bool
	}{
		{"plain", "", proxy, false},
		{"plain again", "", proxy, false},
		{"plain with a fixed header", "", injector, false},
		{"veeam_auth", "", sidecar, true},
		{"veeam_auth with its forwarder", "", forwarder, false},
		{svcLogged, svcLog, sidecar, false},
		{"veeam_auth with a token of its own", "", sidecar, false},
		{"plain with Caddy's access log", "", proxy + accessLog("plain.log"), false},
		{accessLogged, "", sidecar + accessLog("access.log"), false},
	} {
		added, err := b.startSubject(s.name, s.global, s.site)
		if err != nil {
			return b, err
		}
		added.barred = s.barred
		if b.plain == nil {
			b.plain = added
		} else {
			b.subjects = append(b.subjects, added)
		}
	}
	// One log against the other, at the same moment, with all else equal.
	logs := *b.named(svcLogged)
	logs.name, logs.against, logs.barred = logAgainstLog, b.named(accessLogged), false
	b.subjects = append(b.subjects, &logs)
	return b, b.warmUp(ctx)
}

const (
	svcLogged     = "veeam_auth with its log"
	accessLogged  = "veeam_auth with Caddy's access log"
	logAgainstLog = "veeam_auth, its log against Caddy's access log"
)

func (b *bench) named(name string) *subject {
	for _, s := range b.subjects {
		if s.name == name {
			return s
		}
	}
	return nil
}

// reference is what v is compared with.
func (b *bench) reference(v *subject) *subject {
	if v.against != nil {
		return v.against
	}
	return b.plain
}

// startUpstream starts a server that logs clients in as the emulator does, and
// answers everything else at once, so that it takes no time from what is measured.
func (b *bench) startUpstream(ctx context.Context) error {
	emulator := veeamtest.New(veeamtest.VBR13)
	token, err := logIn(ctx, emulator)
	if err != nil {
		return err
	}
	b.tokenLength = len(token)
	answer := []byte(`{"data":[` + strings.Repeat(`{"id":"6745a759-2205-4cd2-b172-8ec8f7e60ef8","name":"Nightly"},`, 24) + `{}]}`)
	b.upstream = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == emulator.TokenPath() {
			emulator.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
	return nil
}

// startSubject starts a Caddy that runs on one processor.
func (b *bench) startSubject(name, global, site string) (*subject, error) {
	ports, err := harness.FreePorts(1)
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	dir, err := os.MkdirTemp(b.dir, "caddy-")
	if err != nil {
		return nil, err
	}
	caddy, err := startCaddy(dir, fmt.Sprintf("{%s%s}\n%s {\n bind 127.0.0.1\n %s}\n", withoutLog, global, address, site), "GOMAXPROCS=1")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &subject{name: name, url: address + benchPath, caddy: caddy}, nil
}

func (b *bench) stop() {
	for _, s := range append(b.subjects, b.plain) {
		if s != nil && s.against == nil { // the others are stopped under another name
			s.caddy.Stop()
		}
	}
	if b.upstream != nil {
		b.upstream.Close()
	}
	_ = os.RemoveAll(b.dir)
}

// warmUp has every Caddy log in and open its connections, and gets the token of
// those clients that send one.
func (b *bench) warmUp(ctx context.Context) error {
	for _, s := range b.subjects {
		if strings.Contains(s.name, "token of its own") {
			token, err := askForToken(ctx, strings.TrimSuffix(s.url, benchPath))
			if err != nil {
				return err
			}
			s.header = http.Header{"Authorization": {"Bearer " + token}}
		}
		if _, _, err := b.race(ctx, s); err != nil {
			return err
		}
	}
	b.plainCPU = nil
	return nil
}

// sample is what one Caddy did while it was measured.
type sample struct{ cpu, p50, p99 float64 }

// race has clients ask a Caddy and the one it is compared with at the same time.
func (b *bench) race(ctx context.Context, v *subject) (plain, other sample, err error) {
	var plainErr, otherErr error
	var wg sync.WaitGroup
	wg.Go(func() { plain, plainErr = b.reference(v).loaded(ctx) })
	wg.Go(func() { other, otherErr = v.loaded(ctx) })
	wg.Wait()
	if plainErr != nil {
		return plain, other, plainErr
	}
	if v.against == nil {
		b.plainCPU = append(b.plainCPU, plain.cpu)
	}
	return plain, other, otherErr
}

// loaded keeps a Caddy busy for one slice of time.
func (s *subject) loaded(ctx context.Context) (sample, error) {
	client := newClient(overheadParallel)
	defer client.CloseIdleConnections()
	t := new(tally)
	before, err := cpuTime(s.caddy.Pid())
	if err != nil {
		return sample{}, err
	}
	end := time.Now().Add(overheadSlice)
	var wg sync.WaitGroup
	for range overheadParallel {
		wg.Go(func() {
			for time.Now().Before(end) {
				begun := time.Now()
				status, err := send(ctx, client, http.MethodGet, s.url, s.header)
				t.add(status, err, time.Since(begun))
			}
		})
	}
	wg.Wait()
	after, err := cpuTime(s.caddy.Pid())
	if err == nil && t.failed > 0 {
		err = fmt.Errorf("%s: failed requests: %s", s.name, t.failures())
	}
	return sample{
		cpu: (after - before).Seconds() / float64(t.requests),
		p50: percentile(t.took, 50).Seconds(),
		p99: percentile(t.took, 99).Seconds(),
	}, err
}

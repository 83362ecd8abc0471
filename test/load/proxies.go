// The proxies that are compared, and the server behind them.

package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// subject is a proxy to be measured.
type subject struct {
	name   string
	port   int
	tls    bool
	pid    int
	header []string // of the clients
	stop   func()
}

func (s *subject) url(path string) string {
	scheme := "http"
	if s.tls {
		scheme = "https"
	}
	return fmt.Sprintf("%s://127.0.0.1:%d%s", scheme, s.port, path)
}

// bench is one server and the proxies before it.
type bench struct {
	dir      string
	upstream *httptest.Server
	http2    *httptest.Server // the same over HTTP/2
	cert     string           // file with the certificate of the server, which is its own authority
	key      string           // file with the key
	pair     string           // file with both
	script   string           // for wrk: POST
	subjects map[string]*subject

	token     string // of the server, for proxies with a fixed header
	tokenFile string // a file with it
}

// Paths of the server. Each is an operation of Backup & Replication, so that rules know it.
const (
	shortPath   = "/api/v1/jobs"                     // 1.5 KB of JSON
	longPath    = "/api/v1/backupObjects"            // 100 KB of JSON
	chunkedPath = "/api/v1/sessions"                 // 1.5 KB of JSON, no Content-Length
	postPath    = "/api/v1/jobs/quickBackup/vSphere" // takes 2 KB of JSON

	// lookupPath is where OpenBao's proxy asks what its token is, before it sends it.
	lookupPath = "/v1/auth/token/lookup-self"
)

const item = `{"id":"6745a759-2205-4cd2-b172-8ec8f7e60ef8","name":"Nightly","description":"Created by the administrator","size":1024},`

// startBench starts the server.
func startBench(ctx context.Context) (b *bench, err error) {
	b = &bench{subjects: make(map[string]*subject)}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	if b.dir, err = os.MkdirTemp("", "veeam-auth-load-"); err != nil {
		return b, err
	}
	if err := b.startUpstreams(ctx); err != nil {
		return b, err
	}
	if b.script, err = post(b.dir, "["+strings.Repeat(item, 16)+"{}]"); err != nil {
		return b, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(b.upstream.TLS.Certificates[0].PrivateKey)
	if err != nil {
		return b, err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.upstream.Certificate().Raw})
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	b.cert, b.key, b.pair = filepath.Join(b.dir, "cert.pem"), filepath.Join(b.dir, "key.pem"), filepath.Join(b.dir, "pair.pem")
	b.tokenFile = filepath.Join(b.dir, "token")
	return b, errors.Join(os.WriteFile(b.tokenFile, []byte(b.token), 0o600),
		os.WriteFile(b.cert, cert, 0o600), os.WriteFile(b.key, key, 0o600), os.WriteFile(b.pair, append(cert, key...), 0o600))
}

// startUpstreams starts a server that logs clients in as the emulator does, and answers
// everything else at once, so that it takes no time from what is measured; once with HTTP/1.1
// alone, and once with HTTP/2.
func (b *bench) startUpstreams(ctx context.Context) (err error) {
	emulator := veeamtest.New(veeamtest.VBR13)
	if b.token, err = logIn(ctx, emulator); err != nil {
		return err
	}
	short := []byte(`{"data":[` + strings.Repeat(item, 12) + `{}]}`)
	long := []byte(`{"data":[` + strings.Repeat(item, 820) + `{}]}`)
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == emulator.TokenPath() {
			emulator.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case lookupPath:
			_, _ = fmt.Fprintf(w, `{"data":{"id":%q,"ttl":0,"renewable":false,"type":"service"}}`, b.token)
		case longPath:
			_, _ = w.Write(long)
		case chunkedPath:
			_, _ = w.Write(short[:len(short)/2])
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(short[len(short)/2:])
		default:
			_, _ = w.Write(short)
		}
	})
	b.upstream, b.http2 = httptest.NewUnstartedServer(answer), httptest.NewUnstartedServer(answer)
	b.http2.EnableHTTP2 = true
	for _, s := range []*httptest.Server{b.upstream, b.http2} {
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that wrk ends in a handshake
		s.StartTLS()
	}
	return nil
}

func (b *bench) stop() {
	for _, s := range b.subjects {
		s.stop()
	}
	for _, s := range []*httptest.Server{b.upstream, b.http2} {
		if s != nil {
			s.Close()
		}
	}
	_ = os.RemoveAll(b.dir)
}

// address is host and port of the server.
func (b *bench) address() string { return strings.TrimPrefix(b.upstream.URL, "https://") }

// caddySite is a Caddy with one site.
type caddySite struct {
	global string
	site   func(*bench) string
	tls    bool     // the site speaks HTTPS
	http2  bool     // the server speaks HTTP/2
	env    []string // in place of Go's default of GOGC
	client bool     // the client sends a token that the site has issued
	before bool     // it is the program of -before
}

// errNoBefore means that a proxy is the program of -before, which nobody has named.
var errNoBefore = errors.New("requires -before")

func (c caddySite) start(ctx context.Context, b *bench, name string) (*subject, error) {
	if c.before {
		if *compareBefore == "" {
			return nil, errNoBefore
		}
		defer func(program string) { harness.Binary = program }(harness.Binary)
		harness.Binary = *compareBefore
	}
	server := *b
	if c.http2 {
		server.upstream = b.http2
	}
	ports, err := harness.FreePorts(1)
	if err != nil {
		return nil, err
	}
	s := &subject{name: name, port: ports[0], tls: c.tls}
	dir, err := os.MkdirTemp(b.dir, "caddy-")
	if err != nil {
		return nil, err
	}
	scheme, tls := "http", ""
	if c.tls {
		scheme, tls = "https", fmt.Sprintf("tls %s %s\n", b.cert, b.key)
	}
	file := strings.NewReplacer("DIR", dir).Replace(fmt.Sprintf("{%s%s}\n%s://127.0.0.1:%d {\n bind 127.0.0.1\n %s%s}\n",
		withoutLog, c.global, scheme, s.port, tls, c.site(&server)))
	process, err := startCaddy(dir, file, append([]string{"GOMAXPROCS=1", "GOGC=100"}, c.env...)...)
	if err != nil {
		return nil, err
	}
	s.pid, s.stop = process.Pid(), func() { process.Stop() }
	if c.client {
		token, err := askForToken(ctx, strings.TrimSuffix(s.url("/"), "/"))
		if err != nil {
			s.stop()
			return nil, err
		}
		s.header = []string{"Authorization: Bearer " + token}
	}
	return s, nil
}

// The parts of a site.
func plain(b *bench) string {
	return fmt.Sprintf("reverse_proxy %s {\n %s }\n", b.upstream.URL, b.transport())
}

// transport waits for as long as it takes: a thousand clients that come at once are a
// thousand handshakes on one processor, and what is measured is what they take.
func (b *bench) transport() string {
	return fmt.Sprintf("transport http {\n dial_timeout 1m\n tls_trust_pool file %s\n }\n", b.cert)
}

// fixed costs what any injector costs: the server gets as many bytes as with a token.
func fixed(b *bench) string {
	return strings.Replace(plain(b), "{\n", fmt.Sprintf("{\n header_up X-Api-Version 1.1-rev0\n header_up Authorization \"Bearer %s\"\n", b.token), 1)
}

func veeamAuth(options string) func(*bench) string {
	return func(b *bench) string {
		return fmt.Sprintf("veeam_auth %s {\n account %s {env.LOAD_PASSWORD}\n %s\n %s }\n",
			b.upstream.URL, veeamtest.DefaultUser, options, b.transport())
	}
}

// hundredRules are 99 that match nothing, and one for everything read or run.
func hundredRules() string {
	var rules strings.Builder
	for i := range 99 {
		fmt.Fprintf(&rules, "deny path /api/v1/none%d/*\n", i)
	}
	return rules.String() + "allow operation read run change\n"
}

// program is a proxy that is no Caddy. It is measured if it is in PATH.
type program struct {
	binary string
	env    []string
	// config is the text of a file, whose name is CONFIG in args. In both, PORT is where the
	// proxy listens, SERVER the host and port of the server, CERT its certificate, TOKEN what
	// is injected, FILE_OF_TOKEN a file with it.
	config string
	args   []string
}

func (p program) start(ctx context.Context, b *bench, name string) (*subject, error) {
	binary, err := exec.LookPath(p.binary)
	if err != nil {
		return nil, errNotHere
	}
	ports, err := harness.FreePorts(1)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, p.binary+"-")
	if err != nil {
		return nil, err
	}
	s := &subject{name: name, port: ports[0]}
	file := filepath.Join(dir, "config")
	fill := strings.NewReplacer("PORT", fmt.Sprint(s.port), "SERVER", b.address(), "CERT", b.cert, "FILE_OF_TOKEN", b.tokenFile, "TOKEN", b.token, "CONFIG", file, "DIR", dir)
	if err := os.WriteFile(file, []byte(fill.Replace(p.config)), 0o600); err != nil {
		return nil, err
	}
	var args []string
	for _, arg := range p.args {
		args = append(args, fill.Replace(arg))
	}
	cmd := exec.Command(binary, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "HOME="+dir)
	for _, v := range p.env {
		cmd.Env = append(cmd.Env, fill.Replace(v))
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	s.pid, s.stop = cmd.Process.Pid, func() {
		_ = cmd.Process.Kill()
		<-ended
	}
	for deadline := time.Now().Add(harness.Patience); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port)); err == nil {
			_ = conn.Close()
			return s, nil
		}
		select {
		case <-ended:
			return nil, fmt.Errorf("%s has ended: %s", p.binary, out.Bytes())
		case <-ctx.Done():
			s.stop()
			return nil, ctx.Err()
		default:
		}
		if time.Now().After(deadline) {
			s.stop()
			return nil, fmt.Errorf("%s does not listen", p.binary)
		}
	}
}

var errNotHere = errors.New("not in PATH")

// pin keeps a process, and what it starts later, on one processor.
func pin(pid, processor int) error {
	var set unix.CPUSet
	set.Set(processor)
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return err
	}
	for _, thread := range threads {
		var id int
		if _, err := fmt.Sscan(thread.Name(), &id); err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, &set); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// What a request costs: proxies side by side.

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

var (
	compareRounds  = flag.Int("rounds", 7, "compare: how often each pair is measured")
	compareSeconds = flag.Int("seconds", 2, "compare: how long a pair is measured in a round")
	compareOnly    = flag.String("workloads", "", "compare: `names` of workloads, separated by commas; default: all")
	comparePart    = flag.String("proxies", "", "compare: a `regexp` of the names of proxies that are compared with the reference; default: all")
	compareBefore  = flag.String("before", "", "compare: a `program` built from another commit, for the workloads \"before\" and \"before log\"")
)

// starter starts a proxy before the server of a bench.
type starter interface {
	start(ctx context.Context, b *bench, name string) (*subject, error)
}

const (
	reference  = "reverse_proxy"
	beforeName = "veeam_auth of -before"
)

// proxies are those that are compared. The first is what all others are compared with.
var proxies = []struct {
	name string
	starter
}{
	{reference, caddySite{site: plain}},
	{"reverse_proxy again", caddySite{site: plain}},
	{"reverse_proxy, fixed header", caddySite{site: fixed}},
	{"reverse_proxy, GOGC=400", caddySite{site: plain, env: calm}},
	{"reverse_proxy, Caddy's access log", caddySite{site: func(b *bench) string {
		return plain(b) + "log {\n output file DIR/access.log\n format json\n }\n"
	}}},
	{"reverse_proxy, HTTPS", caddySite{site: plain, tls: true}},
	{"veeam_auth", caddySite{site: veeamAuth("forward auto")}},
	{"veeam_auth, GOGC=400", caddySite{site: veeamAuth("forward auto"), env: calm}},
	{"veeam_auth, nested", caddySite{site: veeamAuth("forward nested")}},
	{"veeam_auth, client token", caddySite{site: veeamAuth("forward auto"), client: true}},
	{"veeam_auth, client token, GOGC=400", caddySite{site: veeamAuth("forward auto"), client: true, env: calm}},
	{"veeam_auth, Svc.ResAPI.log", caddySite{site: veeamAuth("forward auto"), global: svcLog}},
	{"veeam_auth, Svc.ResAPI.log, GOGC=400", caddySite{site: veeamAuth("forward auto"), global: svcLog, env: calm}},
	{"veeam_auth, Svc.ResAPI.log, veeam_queue", caddySite{site: veeamAuth("forward auto"), global: svcQueue}},
	{"veeam_auth, Svc.ResAPI.log, veeam_queue, GOGC=400", caddySite{site: veeamAuth("forward auto"), global: svcQueue, env: calm}},
	{"veeam_auth, 100 rules", caddySite{site: veeamAuth("forward auto\n" + hundredRules())}},
	{"veeam_auth, filter_secrets", caddySite{site: veeamAuth("forward auto\n filter_secrets")}},
	{"veeam_auth, filter_secrets, GOGC=400", caddySite{site: veeamAuth("forward auto\n filter_secrets"), env: calm}},
	{"veeam_auth, HTTPS", caddySite{site: veeamAuth("forward auto"), tls: true}},
	{"veeam_auth, HTTPS, GOGC=400", caddySite{site: veeamAuth("forward auto"), tls: true, env: calm}},
	{"reverse_proxy, HTTP/2 server", caddySite{site: plain, http2: true}},
	{"reverse_proxy, HTTP/2 server, again", caddySite{site: plain, http2: true}},
	{"veeam_auth, HTTP/2 server", caddySite{site: veeamAuth("forward auto"), http2: true}},
	{"veeam_auth, HTTP/2 server, GOGC=400", caddySite{site: veeamAuth("forward auto"), http2: true, env: calm}},
	{"veeam_auth, HTTP/2 server, nested", caddySite{site: veeamAuth("forward nested"), http2: true}},
	{beforeName, caddySite{site: veeamAuth(""), before: true}},
	{beforeName + " again", caddySite{site: veeamAuth(""), before: true}},
	{beforeName + ", Svc.ResAPI.log", caddySite{site: veeamAuth(""), global: svcLog, before: true}},
	{"nginx, fixed header", program{binary: "nginx", args: []string{"-c", "CONFIG", "-e", "stderr"}, config: `
		daemon off; master_process off; pid DIR/pid; error_log stderr error;
		events { worker_connections 8192; }
		http {
			access_log off; keepalive_requests 1000000000;
			client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
			upstream server { server SERVER; keepalive 1024; keepalive_requests 1000000000; }
			server {
				listen 127.0.0.1:PORT backlog=4096;
				location / {
					proxy_pass https://server;
					proxy_http_version 1.1;
					proxy_set_header Connection "";
					proxy_set_header Authorization "Bearer TOKEN";
					proxy_ssl_trusted_certificate CERT; proxy_ssl_verify on; proxy_ssl_name example.com; proxy_ssl_session_reuse on;
				}
			}
		}`}},
	{"haproxy, fixed header", program{binary: "haproxy", args: []string{"-db", "-q", "-f", "CONFIG"}, config: `
global
	nbthread 1
	maxconn 8192
defaults
	mode http
	timeout connect 10s
	timeout client 60s
	timeout server 60s
	http-reuse always
listen proxy
	bind 127.0.0.1:PORT backlog 4096
	http-request set-header Authorization "Bearer TOKEN"
	server upstream SERVER ssl verify required ca-file CERT pool-max-conn 1024
`}},
	{"oauth2-proxy, every path allowed", program{binary: "oauth2-proxy", args: []string{
		"--http-address=127.0.0.1:PORT", "--upstream=https://SERVER", "--ssl-upstream-insecure-skip-verify", "--skip-auth-route=.*",
		"--provider=google", "--client-id=none", "--client-secret=none", "--cookie-secret=0123456789abcdef0123456789abcdef", "--email-domain=*",
		"--request-logging=false", "--standard-logging=false", "--auth-logging=false",
	}}},
	{"Skipper, fixed header", program{binary: "skipper", args: []string{
		"-address=127.0.0.1:PORT", "-insecure", "-access-log-disabled", "-support-listener=",
		`-inline-routes=* -> setRequestHeader("Authorization", "Bearer TOKEN") -> "https://SERVER"`,
	}}},
	{"OpenBao proxy", program{binary: "bao", args: []string{"proxy", "-config=CONFIG", "-log-level=error"}, config: `
vault {
	address = "https://SERVER"
	ca_cert = "CERT"
}
auto_auth {
	method {
		type = "token_file"
		config = {
			token_file_path = "FILE_OF_TOKEN"
		}
	}
}
api_proxy {
	use_auto_auth_token = "force"
}
listener "tcp" {
	address = "127.0.0.1:PORT"
	tls_disable = true
}
`}},
	{"aws-sigv4-proxy", program{binary: "aws-sigv4-proxy", env: []string{
		"AWS_ACCESS_KEY_ID=none", "AWS_SECRET_ACCESS_KEY=none", "AWS_REGION=us-east-1",
	}, args: []string{
		"--port=127.0.0.1:PORT", "--name=execute-api", "--region=us-east-1", "--host=SERVER", "--no-verify-ssl",
	}}},
}

var calm = []string{calmGC}

const (
	svcLog   = "log svc {\n include http.handlers.veeam_auth.svc\n output file DIR/Svc.ResAPI.log\n format svc_resapi\n }\n"
	svcQueue = "log svc {\n include http.handlers.veeam_auth.svc\n output veeam_queue file DIR/Svc.ResAPI.log\n format svc_resapi\n }\n"
)

// everything measures all proxies.
var everything = func() (names []string) {
	for _, p := range proxies[1:] {
		if !strings.Contains(p.name, "HTTPS") && !strings.Contains(p.name, "HTTP/2") && !strings.HasPrefix(p.name, beforeName) {
			names = append(names, p.name)
		}
	}
	return names
}()

// workload is what clients do.
type workload struct {
	name    string
	clients int
	slices  int // how much longer than others it takes until wrk has seen enough. Default: 1
	path    string
	post    bool
	ref     string // what the others are compared with. Default: reference
	proxies []string
	goals   map[string]goal
}

// goal is the most that the median may be, of the reference.
type goal struct{ cpu, p50 float64 }

var ours = []string{
	"reverse_proxy again", "reverse_proxy, fixed header", "veeam_auth", "veeam_auth, GOGC=400", "veeam_auth, nested",
	"nginx, fixed header", "haproxy, fixed header",
}

// http2 are those in front of a server that speaks HTTP/2, as .NET's do unless they are told
// otherwise: all requests share one connection, so that nobody dials again.
var http2 = []string{
	"reverse_proxy, HTTP/2 server, again", "veeam_auth, HTTP/2 server", "veeam_auth, HTTP/2 server, GOGC=400", "veeam_auth, HTTP/2 server, nested",
}

var workloads = []workload{
	{name: "32", clients: 32, path: shortPath, proxies: everything, goals: map[string]goal{
		"veeam_auth": {0.80, 0.6}, "veeam_auth, GOGC=400": {0.70, 0.6}, "veeam_auth, Svc.ResAPI.log": {cpu: 0.95},
	}},
	{
		name: "log", clients: 32, path: shortPath, ref: "reverse_proxy, Caddy's access log", proxies: []string{"veeam_auth, Svc.ResAPI.log"},
		goals: map[string]goal{"veeam_auth, Svc.ResAPI.log": {cpu: 1}},
	},
	{name: "1", clients: 1, path: shortPath, proxies: ours},
	{name: "16", clients: 16, path: shortPath, proxies: ours},
	{name: "200", clients: 200, slices: 2, path: shortPath, proxies: ours, goals: map[string]goal{"veeam_auth": {cpu: 0.35}}},
	{name: "1000", clients: 1000, slices: 4, path: shortPath, proxies: ours, goals: map[string]goal{"veeam_auth": {cpu: 0.30}}},
	{name: "100KB", clients: 32, path: longPath, proxies: append([]string{
		"veeam_auth, filter_secrets", "veeam_auth, filter_secrets, GOGC=400",
	}, ours...), goals: map[string]goal{"veeam_auth, filter_secrets": {cpu: 1.5}}},
	{name: "POST", clients: 32, path: postPath, post: true, proxies: ours},
	{name: "chunked", clients: 32, path: chunkedPath, proxies: ours},
	{name: "HTTPS", clients: 32, path: shortPath, ref: "reverse_proxy, HTTPS", proxies: []string{"veeam_auth, HTTPS", "veeam_auth, HTTPS, GOGC=400"}},
	{name: "HTTP/2", clients: 32, path: shortPath, ref: "reverse_proxy, HTTP/2 server", proxies: http2},
	{name: "HTTP/2 200", clients: 200, path: shortPath, ref: "reverse_proxy, HTTP/2 server", proxies: http2},
	{
		name: "before", clients: 32, path: shortPath, ref: beforeName, proxies: []string{beforeName + " again", "veeam_auth", "veeam_auth, nested"},
		goals: map[string]goal{"veeam_auth": {cpu: 1}},
	},
	{
		name: "before log", clients: 32, path: shortPath, ref: beforeName + ", Svc.ResAPI.log", proxies: []string{"veeam_auth, Svc.ResAPI.log"},
		goals: map[string]goal{"veeam_auth, Svc.ResAPI.log": {cpu: 1}},
	},
}

// ratios of one proxy to the reference, a value for each round.
type ratios struct{ cpu, p50 []float64 }

// measureCompare measures each proxy at the same moment as the reference, on the same
// processor, so that a disturbance hits both; the pairs take turns. The other processors are
// for wrk and the server. The reference against itself shows how much of a ratio is noise.
func measureCompare(ctx context.Context, r *report) error {
	if runtime.NumCPU() < 2 {
		return errors.New("compare requires two processors")
	}
	part, err := regexp.Compile(*comparePart)
	if err != nil {
		return fmt.Errorf("-proxies: %w", err)
	}
	b, err := startBench(ctx)
	if err != nil {
		return err
	}
	defer b.stop()
	if err := b.startAll(ctx, r); err != nil {
		return err
	}
	if err := pin(os.Getpid(), 1); err != nil { // and wrk
		return err
	}
	for _, w := range workloads {
		if *compareOnly != "" && !slices.Contains(strings.Split(*compareOnly, ","), w.name) {
			continue
		}
		w.proxies = slices.DeleteFunc(slices.Clone(w.proxies), func(name string) bool { return !part.MatchString(name) })
		if err := b.compare(ctx, r, w); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

// startAll starts the proxies that are here, on one processor.
func (b *bench) startAll(ctx context.Context, r *report) error {
	for _, p := range proxies {
		s, err := p.start(ctx, b, p.name)
		if errors.Is(err, errNoBefore) {
			continue
		}
		if errors.Is(err, errNotHere) {
			r.note(p.name, "not measured, because the program is not in PATH")
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		b.subjects[p.name] = s
		if err := pin(s.pid, 0); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// sample is what one proxy did while it was measured.
type sample struct {
	cpu, p50  float64 // seconds of a request
	generator float64 // processor time of wrk for a request
}

// compare prints the rows of one workload.
func (b *bench) compare(ctx context.Context, r *report, w workload) error {
	ref := b.subjects[reference]
	if w.ref != "" {
		ref = b.subjects[w.ref]
	}
	var others []*subject
	for _, name := range w.proxies {
		if s := b.subjects[name]; s != nil {
			others = append(others, s)
		}
	}
	if ref == nil || len(others) == 0 { // without -before, or none of -proxies
		return nil
	}
	if _, err := b.sample(ctx, w, ref); err != nil { // connections are opened, and logins done
		return err
	}
	others = slices.DeleteFunc(others, func(s *subject) bool {
		_, err := b.sample(ctx, w, s)
		if err != nil {
			r.check(false, w.name+" | "+s.name, err.Error(), "an answer")
		}
		return err != nil
	})
	found := make(map[*subject]*ratios)
	var all []sample // of the reference
	for round := range *compareRounds {
		for i := range others {
			v := others[(round+i)%len(others)]
			one, other, err := b.race(ctx, w, ref, v)
			if err != nil {
				return err
			}
			all = append(all, one)
			if found[v] == nil {
				found[v] = new(ratios)
			}
			found[v].cpu = append(found[v].cpu, other.cpu/one.cpu)
			found[v].p50 = append(found[v].p50, other.p50/one.p50)
		}
	}
	b.print(r, w, ref, all)
	for _, v := range others {
		cpu, p50 := estimateOf(found[v].cpu), estimateOf(found[v].p50)
		figure := w.name + " | " + v.name
		value := fmt.Sprintf("%s | %s", cpu, p50)
		g, has := w.goals[v.name]
		if !has {
			r.note(figure, value)
			continue
		}
		bar := fmt.Sprintf("goal: at most %.2f", g.cpu)
		if g.p50 > 0 {
			bar += fmt.Sprintf(" and %.2f", g.p50)
		}
		r.check(cpu.median <= g.cpu && (g.p50 == 0 || p50.median <= g.p50), figure, value, bar)
	}
	return nil
}

// print says what the reference costs, which the ratios are of.
func (b *bench) print(r *report, w workload, ref *subject, all []sample) {
	var cpu, p50, generator []float64
	for _, s := range all {
		cpu, p50, generator = append(cpu, s.cpu), append(p50, s.p50), append(generator, s.generator/s.cpu)
	}
	r.note(w.name+" | "+ref.name, fmt.Sprintf("%.0f µs of processor time, p50 %.2f ms; wrk takes %.2f of that",
		percentile(cpu, 50)*1e6, percentile(p50, 50)*1e3, percentile(generator, 50)))
}

// race has clients ask a proxy and the one it is compared with at the same time.
func (b *bench) race(ctx context.Context, w workload, ref, v *subject) (one, other sample, err error) {
	var oneErr, otherErr error
	var wg sync.WaitGroup
	wg.Go(func() { one, oneErr = b.sample(ctx, w, ref) })
	wg.Go(func() { other, otherErr = b.sample(ctx, w, v) })
	wg.Wait()
	return one, other, errors.Join(oneErr, otherErr)
}

// sample keeps a proxy busy for some seconds.
func (b *bench) sample(ctx context.Context, w workload, s *subject) (sample, error) {
	generator := wrk{connections: w.clients, seconds: *compareSeconds * max(w.slices, 1), url: s.url(w.path), header: s.header}
	if w.post {
		generator.script = b.script
	}
	before, err := cpuTime(s.pid)
	if err != nil {
		return sample{}, err
	}
	l, err := generator.run(ctx)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", s.name, err)
	}
	after, err := cpuTime(s.pid)
	each := func(d time.Duration) float64 { return d.Seconds() / float64(l.requests) }
	return sample{cpu: each(after - before), p50: l.p50.Seconds(), generator: each(l.processor)}, err
}

// What many accounts, sites and connections cost: nothing may grow faster than they do.

package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/process"
	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const (
	growthParallel = 16
	growthRounds   = 15
	growthRequests = 4_000 // of one Caddy in a round
	growthSites    = 1_000
	growthInFolder = 2_000 // accounts

	maxStart        = 5 * time.Second
	maxLoginCPU     = 500 * time.Microsecond
	maxAccountBytes = 10 << 10
	maxManyToOne    = 1.1

	// maxEach is what each of many may take, of what each of a quarter of them takes. What
	// is done for each with each other takes four times as much.
	maxEach = 1.5
)

// growth is the server and the files of the Caddys before it.
type growth struct {
	dir      string
	upstream *httptest.Server
	ca       string
	together gathering // of the requests with the query allAtOnce
}

func startGrowth(accounts int) (g *growth, err error) {
	g = new(growth)
	if g.dir, err = os.MkdirTemp("", "veeam-auth-load-"); err != nil {
		return g, err
	}
	options := make([]veeamtest.Option, 0, accounts)
	for i := range accounts {
		options = append(options, veeamtest.WithAccount(veeamtest.Account{Username: manyName(i), Password: veeamtest.DefaultPassword}))
	}
	emulator := veeamtest.New(veeamtest.VBR13, options...)
	answer := []byte(`{"data":[` + strings.Repeat(`{"id":"6745a759-2205-4cd2-b172-8ec8f7e60ef8","name":"Nightly"},`, 24) + `{}]}`)
	g.upstream = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == emulator.TokenPath() {
			emulator.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if r.URL.RawQuery == allAtOnce {
			g.together.wait(r.Context())
		}
		_, _ = w.Write(answer)
	}))
	g.upstream.Config.ErrorLog = log.New(io.Discard, "", 0) // connections that end with a Caddy
	g.upstream.StartTLS()
	g.ca = filepath.Join(g.dir, "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.upstream.Certificate().Raw})
	return g, os.WriteFile(g.ca, text, 0o600)
}

func (g *growth) stop() {
	if g.upstream != nil {
		g.upstream.Close()
	}
	_ = os.RemoveAll(g.dir)
}

func manyName(i int) string { return "account-" + strconv.Itoa(i) }

// calmGC is how the programs of a release run, see process.CalmGC.
var calmGC = "GOGC=" + strconv.Itoa(process.CalmPercent)

// begin starts a Caddy with these sites, and returns how long that took and what of the
// processors.
func (g *growth) begin(global string, sites func(port int) string, env ...string) (s *grown, err error) {
	ports, err := harness.FreePorts(1)
	if err != nil {
		return nil, err
	}
	return g.start("{"+withoutLog+global+"}\n"+sites(ports[0]), ports[0], env...)
}

// start starts a Caddy with a configuration.
func (g *growth) start(config string, port int, env ...string) (s *grown, err error) {
	dir, err := os.MkdirTemp(g.dir, "caddy-")
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	caddy, err := startCaddy(dir, config, append([]string{"GOMAXPROCS=2", calmGC}, env...)...)
	if err != nil {
		return nil, err
	}
	s = &grown{caddy: caddy, config: config, port: port, took: time.Since(begun)}
	s.url = local(s.port) + shortPath
	s.cpu, err = cpuTime(caddy.Pid())
	return s, err
}

// asJSON measures the start with the configuration of a Caddy as JSON, at another port.
func (g *growth) asJSON(r *report, n int, as *grown) error {
	ports, err := harness.FreePorts(1)
	if err != nil {
		return err
	}
	config, err := as.caddy.Config()
	if err != nil {
		return err
	}
	again, err := g.start(strings.ReplaceAll(config, fmt.Sprintf(":%d", as.port), fmt.Sprintf(":%d", ports[0])), ports[0])
	if err != nil {
		return err
	}
	again.caddy.Stop()
	r.check(again.cpu <= maxStart, fmt.Sprintf("%d accounts: start with the same as JSON, processor time and time", n),
		fmt.Sprint(again.cpu, " and ", again.took.Round(time.Millisecond)), fmt.Sprint("at most ", maxStart))
	return nil
}

// site is a site in front of the server with so many accounts; 0 is a plain reverse_proxy.
// options are those of the directive.
func (g *growth) site(address string, accounts int, options ...string) string {
	transport := fmt.Sprintf("transport http {\n tls_trust_pool file %s\n keepalive_idle_conns_per_host 1024\n }\n", g.ca)
	if accounts == 0 {
		return fmt.Sprintf("%s {\n bind 127.0.0.1\n reverse_proxy %s {\n header_up Authorization \"Bearer %s\"\n %s }\n}\n",
			address, g.upstream.URL, strings.Repeat("x", 700), transport)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s {\n bind 127.0.0.1\n veeam_auth %s {\n pace off\n %s", address, g.upstream.URL, transport)
	if host := strings.TrimPrefix(address, "http://"); strings.HasPrefix(host, "site") {
		fmt.Fprintf(&b, "hosts %s\n", host[:strings.LastIndexByte(host, ':')])
	}
	for _, option := range options {
		b.WriteString(option + "\n")
	}
	for i := range accounts {
		fmt.Fprintf(&b, "account %s {env.LOAD_PASSWORD}\n", manyName(i))
	}
	if accounts > 1 {
		b.WriteString(actAs + "\n")
	}
	b.WriteString("}\n}\n")
	return b.String()
}

// actAs has the client choose the account.
const actAs = "act_as {header.X-Account}"

// grown is a Caddy that is measured.
type grown struct {
	caddy  *harness.Caddy
	config string // as it is started with
	port   int
	url    string
	took   time.Duration // to start
	cpu    time.Duration // for that
}

// measureGrowth measures many accounts and many sites.
func measureGrowth(ctx context.Context, r *report) error {
	g, err := startGrowth(*growthAccounts)
	defer g.stop()
	if err != nil {
		return err
	}
	if err := g.accounts(ctx, r, *growthAccounts); err != nil {
		return err
	}
	return g.sites(ctx, r)
}

func (g *growth) accounts(ctx context.Context, r *report, n int) error {
	one, err := g.begin("", func(port int) string { return g.site(local(port), 1, actAs) })
	if err != nil {
		return err
	}
	defer one.caddy.Stop()
	base, err := one.live()
	if err != nil {
		return err
	}
	many, err := g.begin("storage load_memory\n", func(port int) string { return g.site(local(port), n) })
	if err != nil {
		return err
	}
	defer many.caddy.Stop()
	each, err := eachOfMany(n, func(accounts int) (*grown, error) {
		return g.begin("storage load_memory\n", func(port int) string { return g.site(local(port), max(accounts, 2)) })
	})
	if err != nil {
		return err
	}
	r.check(each <= maxEach, fmt.Sprintf("start with %d accounts, each against each of a quarter of them", n), fmt.Sprintf("%.2f", each), fmt.Sprintf("at most %.1f", maxEach))
	r.check(many.cpu <= maxStart, fmt.Sprintf("%d accounts: start, processor time and time; with one account", n),
		fmt.Sprint(many.cpu, " and ", many.took.Round(time.Millisecond), "; ", one.cpu), fmt.Sprint("at most ", maxStart))
	if err := g.asJSON(r, n, many); err != nil {
		return err
	}
	if err := g.caddyBeside(r, n, base); err != nil {
		return err
	}
	before, err := many.live()
	if err != nil {
		return err
	}
	login, later, err := many.logIns(ctx, n)
	if err != nil {
		return err
	}
	r.check(login <= maxLoginCPU, "the first login of an account, without what the storage costs; a request, processor time",
		fmt.Sprint(login, "; ", later), fmt.Sprint("login at most ", maxLoginCPU))
	if err := many.emptyStorage(ctx); err != nil {
		return err
	}
	after, err := many.live()
	if err != nil {
		return err
	}
	r.check(after-base <= float64(n)*maxAccountBytes, "live memory of an account: configured; with a session",
		fmt.Sprintf("%.0f and %.0f bytes", (before-base)/float64(n), (after-base)/float64(n)), fmt.Sprintf("at most %d", maxAccountBytes))
	if err := g.inFolder(ctx, r, min(n, growthInFolder)); err != nil {
		return err
	}

	if err := g.manyToOne(ctx, r, one, many, n, after-base); err != nil {
		return err
	}
	return many.operate(ctx, r, n)
}

// manyToOne compares the requests of many accounts with those of one, and beside them those of
// a plain reverse_proxy with as much other memory in use with those of one without. Until its
// garbage has been collected twice, a heap gets its memory from the system, which takes longer
// than what is measured.
func (g *growth) manyToOne(ctx context.Context, r *report, one, many *grown, n int, memory float64) error {
	plain, err := g.begin("", func(port int) string { return g.site(local(port), 0) })
	if err != nil {
		return err
	}
	defer plain.caddy.Stop()
	heavy, err := g.begin(fmt.Sprintf("storage load_memory %.0f\n", memory), func(port int) string { return g.site(local(port), 0) })
	if err != nil {
		return err
	}
	defer heavy.caddy.Stop()
	var took [4]time.Duration // of the last round
	var ask [len(took)]func() error
	for i, s := range []*grown{one, many, plain, heavy} {
		account := func(int64) string { return manyName(0) }
		if s == many {
			account = func(i int64) string { return manyName(int(i*7919) % n) }
		}
		ask[i] = func() (err error) {
			took[i], err = s.ask(ctx, growthRequests, account)
			return err
		}
		if err := untilCollected(2, ask[i], s); err != nil {
			return err
		}
	}
	var accounts, memories []float64
	var sums [len(took)]time.Duration
	err = untilCollected(1, func() error {
		for i := range ask {
			if err := ask[i](); err != nil {
				return err
			}
			sums[i] += took[i]
		}
		accounts = append(accounts, float64(took[1])/float64(took[0]))
		memories = append(memories, float64(took[3])/float64(took[2]))
		return nil
	}, one, many, plain, heavy)
	if err != nil {
		return err
	}
	e := estimateOf(accounts)
	r.check(e.low <= maxManyToOne, "a request, against one with a single account, processor time", e.String(), fmt.Sprintf("at most %.1f", maxManyToOne))
	r.note("the same with a collection of garbage of each, sums of all rounds", fmt.Sprintf("%.2f of %v in %d rounds", float64(sums[1])/float64(sums[0]),
		(sums[0]/time.Duration(len(accounts))).Round(time.Microsecond), len(accounts)))
	r.note(fmt.Sprintf("a request of a plain reverse_proxy with %.0f MB of other memory in use, against one without", memory/1e6),
		fmt.Sprintf("%s; with collections %.2f", estimateOf(memories), float64(sums[3])/float64(sums[2])))
	return nil
}

// untilCollected asks, at least growthRounds times, until each Caddy has collected garbage so
// often.
func untilCollected(times uint32, ask func() error, caddys ...*grown) error {
	ends := make([]uint32, len(caddys))
	for i, s := range caddys {
		now, err := s.memstats()
		if err != nil {
			return err
		}
		ends[i] = now.NumGC + times
	}
	for round := 1; ; round++ {
		if err := ask(); err != nil {
			return err
		}
		done := round >= growthRounds
		for i, s := range caddys {
			now, err := s.memstats()
			if err != nil {
				return err
			}
			done = done && now.NumGC >= ends[i]
		}
		if done {
			return nil
		}
	}
}

// memstats returns what Go says of its memory. It costs the process much less than a scrape.
func (s *grown) memstats() (runtime.MemStats, error) {
	var vars struct {
		MemStats runtime.MemStats `json:"memstats"`
	}
	res, err := http.Get("http://" + s.caddy.Admin + "/debug/vars")
	if err != nil {
		return vars.MemStats, err
	}
	defer res.Body.Close()
	err = json.NewDecoder(res.Body).Decode(&vars)
	return vars.MemStats, err
}

// caddyBeside measures what Caddy itself takes for a directive with as many lines, and the
// start with Go's default of the garbage collector.
func (g *growth) caddyBeside(r *report, n int, base float64) error {
	plain, err := g.begin("", func(port int) string {
		var b strings.Builder
		fmt.Fprintf(&b, "%s {\n bind 127.0.0.1\n vars {\n", local(port))
		for i := range n {
			fmt.Fprintf(&b, "%s {env.LOAD_PASSWORD}\n", manyName(i))
		}
		b.WriteString("}\n respond 204\n}\n")
		return b.String()
	})
	if err != nil {
		return err
	}
	live, err := plain.live()
	plain.caddy.Stop()
	if err != nil {
		return err
	}
	r.note(fmt.Sprintf("Caddy without veeam_auth, vars with %d lines: start, processor time; live memory of a line", n),
		fmt.Sprintf("%v; %.0f bytes", plain.cpu, (live-base)/float64(n)))
	busy, err := g.begin("storage load_memory\n", func(port int) string { return g.site(local(port), n) }, "GOGC=100")
	if err != nil {
		return err
	}
	busy.caddy.Stop()
	r.note(fmt.Sprintf("%d accounts: start with GOGC=100, processor time and time", n), fmt.Sprint(busy.cpu, " and ", busy.took.Round(time.Millisecond)))
	return nil
}

// emptyStorage empties the storage load_memory.
func (s *grown) emptyStorage(ctx context.Context) error {
	status, err := send(ctx, http.DefaultClient, http.MethodGet, "http://"+s.caddy.Admin+emptyPath, nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("emptying the storage: status %d", status)
	}
	return err
}

// operate measures what operators do with many accounts: a scrape, and a reload of the
// configuration with one more option.
func (s *grown) operate(ctx context.Context, r *report, n int) error {
	text := ""
	scrape, scraped, err := s.costs(func() (err error) {
		text, err = s.caddy.Metrics()
		return err
	})
	if err != nil {
		return err
	}
	series := strings.Count("\n"+text, "\n") - strings.Count("\n"+text, "\n#") - 1
	r.note("a scrape with a session of each account: processor time, duration, size, series",
		fmt.Sprintf("%v, %v, %d kB, %d", scrape, scraped, len(text)/1000, series))
	changed := strings.Replace(s.config, "pace off", "pace off\n log_trace_id", 1)
	reload, reloaded, err := s.costs(func() error { return s.caddy.Load(ctx, []byte(changed)) })
	if err != nil {
		return err
	}
	after, err := s.ask(ctx, growthRequests, func(i int64) string { return manyName(int(i) % n) })
	if err != nil {
		return err
	}
	r.note("a reload with a session of each account: processor time, time; a request after it", fmt.Sprintf("%v, %v; %v", reload, reloaded, after))
	return nil
}

// costs returns what something takes of the processors, and how long it takes.
func (s *grown) costs(do func() error) (cpu, took time.Duration, err error) {
	before, err := cpuTime(s.caddy.Pid())
	if err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	if err := do(); err != nil {
		return 0, 0, err
	}
	took = time.Since(begun).Round(time.Millisecond)
	after, err := cpuTime(s.caddy.Pid())
	return after - before, took, err
}

// inFolder measures logins with Caddy's own storage, in which the tries of each user are
// counted and its session is recorded.
func (g *growth) inFolder(ctx context.Context, r *report, n int) error {
	for what, options := range map[string][]string{"": nil, ", session_records off": {"session_records off"}} {
		some, err := g.begin("", func(port int) string { return g.site(local(port), n, options...) })
		if err != nil {
			return err
		}
		login, _, err := some.logIns(ctx, n)
		some.caddy.Stop()
		if err != nil {
			return err
		}
		r.note(fmt.Sprintf("the first login of each of %d accounts, with Caddy's storage in a folder%s, processor time", n, what), login.String())
	}
	return nil
}

// logIns has all accounts log in, and returns what that has taken of the processors for
// each, without a request, and what a request takes.
func (s *grown) logIns(ctx context.Context, n int) (login, later time.Duration, err error) {
	first, err := s.ask(ctx, n, func(i int64) string { return manyName(int(i)) })
	if err != nil {
		return 0, 0, err
	}
	later, err = s.ask(ctx, n, func(i int64) string { return manyName(int(i)) })
	return first - later, later, err
}

func local(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }

// sites compares many sites, of one server, with as many of a plain reverse_proxy.
func (g *growth) sites(ctx context.Context, r *report) error {
	for _, kind := range []struct {
		name     string
		accounts int
	}{{"plain reverse_proxy", 0}, {"veeam_auth", 1}} {
		begin := func(sites int) (*grown, error) {
			return g.begin("", func(port int) string {
				var b strings.Builder
				for i := range sites {
					b.WriteString(g.site(fmt.Sprintf("http://site-%d.localhost:%d", i, port), kind.accounts))
				}
				return b.String()
			})
		}
		if kind.accounts > 0 {
			each, err := eachOfMany(growthSites, begin)
			if err != nil {
				return err
			}
			r.check(each <= maxEach, fmt.Sprintf("start with %d sites, each against each of a quarter of them", growthSites), fmt.Sprintf("%.2f", each), fmt.Sprintf("at most %.1f", maxEach))
		}
		s, err := begin(growthSites)
		if err != nil {
			return err
		}
		defer s.caddy.Stop()
		first, err := s.askHosts(ctx)
		if err != nil {
			return err
		}
		later, err := s.askHosts(ctx)
		if err != nil {
			return err
		}
		live, err := s.live()
		if err != nil {
			return err
		}
		r.note(fmt.Sprintf("%d sites, %s: start; the first request of a site, the second one, processor time; live memory of a site", growthSites, kind.name),
			fmt.Sprintf("%v; %v, %v; %.0f bytes", s.cpu, first, later, live/growthSites))
	}
	return nil
}

// eachOfMany is what each of n parts of a configuration takes of the processors at a start,
// of what each of n/4 parts takes: the median of three pairs, without what one part takes. n
// must be so great that this can be told.
func eachOfMany(n int, begin func(parts int) (*grown, error)) (float64, error) {
	var ratios []float64
	for range 3 {
		var took [3]float64
		for i, parts := range []int{1, n / 4, n} {
			s, err := begin(parts)
			if err != nil {
				return 0, err
			}
			s.caddy.Stop()
			took[i] = s.cpu.Seconds()
		}
		ratios = append(ratios, (took[2]-took[0])/(took[1]-took[0])/4)
	}
	return percentile(ratios, 50), nil
}

// askHosts sends a request to each site.
func (s *grown) askHosts(ctx context.Context) (time.Duration, error) {
	return s.send(ctx, growthSites, func(req *http.Request, i int64) { req.Host = fmt.Sprintf("site-%d.localhost", i) })
}

// ask sends requests and returns what one of them has taken of the processors. account is
// whom the request with a number acts as.
func (s *grown) ask(ctx context.Context, n int, account func(int64) string) (time.Duration, error) {
	return s.send(ctx, n, func(req *http.Request, i int64) {
		if account != nil {
			req.Header.Set("X-Account", account(i))
		}
	})
}

func (s *grown) send(ctx context.Context, n int, prepare func(*http.Request, int64)) (time.Duration, error) {
	client := newClient(growthParallel)
	defer client.CloseIdleConnections()
	t := new(tally)
	before, err := cpuTime(s.caddy.Pid())
	if err != nil {
		return 0, err
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range growthParallel {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && ctx.Err() == nil; i = next.Add(1) - 1 {
				begun := time.Now()
				status, err := sendWith(ctx, client, s.url, func(req *http.Request) { prepare(req, i) })
				t.add(status, err, time.Since(begun))
			}
		})
	}
	wg.Wait()
	after, err := cpuTime(s.caddy.Pid())
	if err == nil && (t.failed > 0 || t.requests < n) {
		err = fmt.Errorf("failed requests: %s, %d sent", t.failures(), t.requests)
	}
	return (after - before) / time.Duration(n), err
}

// live is the memory that is in use after a garbage collection, in bytes.
func (s *grown) live() (float64, error) {
	for range 2 { // the second one takes what has had finalizers
		if err := s.caddy.Collect(); err != nil {
			return 0, err
		}
	}
	now, err := s.memstats()
	return float64(now.HeapAlloc), err
}

// What many reloads of the configuration leave behind in the process.

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const (
	leakSecret  = 100             // the password changes with one reload in so many
	leakClients = 4               // of each Caddy
	leakIdle    = 2 * time.Second // how long connections to the server are kept

	leakGoroutines  = 5 // more or less at the end
	leakDescriptors = 2
	leakMemory      = 1.05
)

// leakLooks are the reloads after which the processes are looked at. After the
// first, what a Caddy needs in the long run is there.
var leakLooks = [...]int{200, 700, 1200}

// leaksRun is a Caddy with a sidecar that shares its sessions, and a Caddy that is
// nothing but a reverse_proxy, which is reloaded as often.
type leaksRun struct {
	server         *veeamtest.Server
	dir, token     string
	ports          []int
	sidecar, plain *harness.Caddy
	changed        int // times that the password was changed
}

// measureLeaks loads one changed configuration after the other while clients keep
// asking. An account comes and goes, and now and then the password is another
// one. It looks at the process when the first configurations have gone and again
// 1,000 reloads later, at rest.
func measureLeaks(ctx context.Context, r *report) error {
	l, err := startLeaks(ctx)
	if err != nil {
		return err
	}
	defer l.stop()
	if err := l.reload(ctx, 0); err != nil {
		return err
	}
	loads := [2]*askers{}
	for i, port := range l.ports {
		urls := []string{l.url(port, "echo"), l.url(port, "slow?ms=30")}
		loads[i] = &askers{clients: leakClients, urls: urls, header: asAccount(veeamtest.DefaultUser), first: new(tally), last: new(tally)}
	}
	begun := time.Now()
	var seen [len(leakLooks)][2]footprint
	loaded := 0
	for i, upTo := range leakLooks {
		if err := l.reloads(ctx, loads, loaded+1, upTo); err != nil {
			return err
		}
		loaded = upTo
		if seen[i], err = l.look(ctx); err != nil {
			return err
		}
	}

	r.exactly("logins: two accounts and the changed passwords", l.server.Counters().Logins, int64(2+l.changed))
	r.check(loads[0].last.failed == 0, "failed requests, tried again included",
		fmt.Sprintf("%d of %d", loads[0].last.failed, loads[0].first.requests), "0")
	r.compare("", seen, 0)
	r.compare(", plain reverse_proxy", seen, 1)
	r.note("time for all reloads of both", time.Since(begun).Round(time.Second).String())
	return nil
}

// compare shows what was seen of a Caddy. The first one has bars.
func (r *report) compare(name string, seen [len(leakLooks)][2]footprint, which int) {
	var goroutines, descriptors, memory, live []string
	for _, both := range seen {
		f := both[which]
		goroutines = append(goroutines, strconv.Itoa(f.goroutines))
		descriptors = append(descriptors, strconv.Itoa(f.descriptors))
		memory = append(memory, fmt.Sprintf("%.1f", f.resident))
		live = append(live, fmt.Sprintf("%.2f", f.live))
	}
	first, last := seen[0][which], seen[len(seen)-1][which]
	bar, grown := fmt.Sprintf("at most %+.0f %%", (leakMemory-1)*100), fmt.Sprintf(" MiB, %+.1f %%", (last.resident/first.resident-1)*100)
	figures := []struct {
		name, value, bar string
		ok               bool
	}{
		{"goroutines", strings.Join(goroutines, ", "), fmt.Sprintf("±%d", leakGoroutines), within(last.goroutines-first.goroutines, leakGoroutines)},
		{"descriptors", strings.Join(descriptors, ", "), fmt.Sprintf("±%d", leakDescriptors), within(last.descriptors-first.descriptors, leakDescriptors)},
		{"memory", strings.Join(memory, ", ") + grown, bar, last.resident <= first.resident*leakMemory},
		{"live memory", strings.Join(live, ", ") + " MiB", bar, last.live <= first.live*leakMemory},
	}
	for _, f := range figures {
		if which > 0 {
			r.note(f.name+name, f.value)
		} else {
			r.check(f.ok, f.name, f.value, f.bar)
		}
	}
}

func within(difference, most int) bool { return -most <= difference && difference <= most }

func startLeaks(ctx context.Context) (l *leaksRun, err error) {
	l = &leaksRun{server: veeamtest.New(veeamtest.VBR13, veeamtest.WithAccessLifetime(time.Hour),
		veeamtest.WithAccount(veeamtest.Account{Username: veeamtest.DefaultUser, Password: veeamtest.DefaultPassword}),
		veeamtest.WithAccount(veeamtest.Account{Username: "second", Password: veeamtest.DefaultPassword}))}
	defer func() {
		if err != nil {
			l.stop()
		}
	}()
	if l.dir, err = os.MkdirTemp("", "veeam-auth-load-"); err != nil {
		return l, err
	}
	if err := l.server.Start(); err != nil {
		return l, err
	}
	if l.token, err = logIn(ctx, l.server); err != nil {
		return l, err
	}
	l.server.ResetCounters()
	keyset, err := sealed.NewKeyset()
	if err != nil {
		return l, err
	}
	key, err := keyset.Text()
	if err != nil {
		return l, err
	}
	if err := l.write("key", key); err != nil {
		return l, err
	}
	if err := l.write("password", veeamtest.DefaultPassword); err != nil {
		return l, err
	}
	if l.ports, err = harness.FreePorts(2); err != nil {
		return l, err
	}
	configs := l.caddyfiles(0)
	for i, at := range []**harness.Caddy{&l.sidecar, &l.plain} {
		dir := filepath.Join(l.dir, strconv.Itoa(i))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return l, err
		}
		if *at, err = startCaddy(dir, configs[i]); err != nil {
			return l, err
		}
	}
	return l, nil
}

// write replaces a file whole.
func (l *leaksRun) write(name, text string) error {
	path := filepath.Join(l.dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// caddyfiles are the n-th configurations.
func (l *leaksRun) caddyfiles(n int) [2]string {
	second := ""
	if n%2 == 1 {
		second = "account second {env.LOAD_PASSWORD}"
	}
	sidecar := fmt.Sprintf(`{%s}
http://127.0.0.1:%d {
	bind 127.0.0.1
	veeam_auth %s {
		account %s {file.%s}
		%s
		act_as {header.X-Account}
		tls_pin %s
		header_up X-Load %d
		transport http {
			keepalive %v
		}
		cache {
			encryption_key {file.%s}
			storage file_system %s
		}
	}
}
`, withoutLog, l.ports[0], l.server.URL(), veeamtest.DefaultUser, filepath.Join(l.dir, "password"), second, harness.Pin(l.server), n, leakIdle,
		filepath.Join(l.dir, "key"), filepath.Join(l.dir, "storage"))
	plain := fmt.Sprintf(`{%s}
http://127.0.0.1:%d {
	bind 127.0.0.1
	reverse_proxy %s {
		header_up Authorization "Bearer %s"
		header_up X-Api-Version 1.1-rev0
		header_up X-Load %d
		transport http {
			tls_insecure_skip_verify
			keepalive %v
		}
	}
}
`, withoutLog, l.ports[1], l.server.URL(), l.token, n, leakIdle)
	return [2]string{sidecar, plain}
}

func asAccount(name string) http.Header { return http.Header{"X-Account": {name}} }

func (l *leaksRun) url(port int, route string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s/%s", port, l.server.Base(), route)
}

// reloads loads the configurations from first to last under load.
func (l *leaksRun) reloads(ctx context.Context, loads [2]*askers, first, last int) (err error) {
	asking, enough := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, a := range loads {
		wg.Go(func() { a.ask(asking) })
	}
	for n := first; n <= last && err == nil; n++ {
		err = l.reload(ctx, n)
	}
	enough()
	wg.Wait()
	return err
}

// reload loads the n-th configurations, and asks as each account of them.
func (l *leaksRun) reload(ctx context.Context, n int) error {
	if n%leakSecret == leakSecret/2 {
		l.changed++
		password := fmt.Sprint("changed-pass-", n)
		l.server.SetPassword(veeamtest.DefaultUser, password)
		if err := l.write("password", password); err != nil {
			return err
		}
	}
	configs := l.caddyfiles(n)
	for i, caddy := range []*harness.Caddy{l.sidecar, l.plain} {
		if err := caddy.Load(ctx, []byte(configs[i])); err != nil {
			return fmt.Errorf("reload %d: %w; caddy has printed: %.2000s", n, err, caddy.Output())
		}
	}
	accounts := []string{veeamtest.DefaultUser, "second"}
	for _, account := range accounts[:1+n%2] {
		client := newClient(1)
		status, err := send(ctx, client, http.MethodGet, l.url(l.ports[0], "echo"), asAccount(account))
		client.CloseIdleConnections()
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("reload %d: as %s: status %d, %w", n, account, status, err)
		}
	}
	return ctx.Err()
}

// footprint is what a process has in use.
type footprint struct {
	goroutines, descriptors int
	resident, live          float64 // MiB
}

// look takes the least of several looks at both Caddys, when what their last
// requests have started is over.
func (l *leaksRun) look(ctx context.Context) (all [2]footprint, err error) {
	const looks = 8
	wait := 2*leakIdle + time.Second
	for look := range looks {
		select {
		case <-time.After(wait):
			wait = time.Second
		case <-ctx.Done():
			return all, ctx.Err()
		}
		for i, caddy := range []*harness.Caddy{l.sidecar, l.plain} {
			f, err := footprintOf(ctx, caddy)
			if err != nil {
				return all, err
			}
			if look == 0 {
				all[i] = f
				continue
			}
			least := &all[i]
			least.goroutines, least.descriptors = min(least.goroutines, f.goroutines), min(least.descriptors, f.descriptors)
			least.resident, least.live = min(least.resident, f.resident), min(least.live, f.live)
		}
	}
	return all, nil
}

func footprintOf(ctx context.Context, caddy *harness.Caddy) (f footprint, err error) {
	client := newClient(1) // one connection, the same each time
	defer client.CloseIdleConnections()
	http.DefaultClient.CloseIdleConnections()
	heap, err := profile(ctx, client, caddy, "heap?gc=1&debug=1")
	if err != nil {
		return f, err
	}
	goroutines, err := profile(ctx, client, caddy, "goroutine?debug=1")
	if err != nil {
		return f, err
	}
	f.live = number(heap, "# HeapAlloc = ") / (1 << 20)
	f.goroutines = int(number(goroutines, "goroutine profile: total "))
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", caddy.Pid()))
	if err != nil {
		return f, err
	}
	f.descriptors = len(files)
	f.resident, err = residentMiB(caddy.Pid())
	return f, err
}

// profile reads a profile of a Caddy as text.
func profile(ctx context.Context, client *http.Client, caddy *harness.Caddy, name string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+caddy.Admin+"/debug/pprof/"+name, http.NoBody)
	if err != nil {
		return "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return string(text), err
}

// number is what follows in a text.
func number(text, after string) float64 {
	_, rest, _ := strings.Cut(text, after)
	n, _ := strconv.ParseFloat(strings.Fields(rest + " 0")[0], 64)
	return n
}

func (l *leaksRun) stop() {
	for _, caddy := range []*harness.Caddy{l.sidecar, l.plain} {
		if caddy != nil {
			caddy.Stop()
		}
	}
	l.server.Close()
	_ = os.RemoveAll(l.dir)
}

// Package harness connects the emulated Veeam servers with a real Caddy with the
// module, for the demo and for tests over real sockets.
package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // the Caddy that this program turns into has them

	_ "github.com/caddy-veeam/veeam-auth" // and this module
	"github.com/caddy-veeam/veeam-auth/internal/process"
)

// asCaddy is the variable that turns a program that calls Main into Caddy.
const asCaddy = "VEEAM_AUTH_HARNESS_CADDY"

// Main must be the first thing that a program does that starts Caddy with this
// package: Caddy is the same program in a process of its own, so that it is built
// once for each of them and with the same flags, such as -race.
func Main() {
	if os.Getenv(asCaddy) == "" {
		return
	}
	process.TidyEnvironment()
	caddycmd.Main()
	os.Exit(0)
}

// Run calls Main, runs the tests of a package, and returns the status to exit with.
// The tests have failed if a Caddy still runs after them, or has panicked, or has
// found a data race.
func Run(tests func() int) (code int) {
	Main()
	code = tests()
	for _, c := range started.all() {
		select {
		case <-c.done:
		default:
			c.Kill()
			fmt.Fprintf(os.Stderr, "FAIL: a Caddy outlives the tests; its folder is %s\n", c.Dir)
			code = max(code, 1)
		}
		if out := c.Output(); broken.MatchString(out) {
			fmt.Fprintf(os.Stderr, "FAIL: a Caddy has printed\n%s\n", out)
			code = max(code, 1)
		}
	}
	return code
}

// broken is what a Caddy prints whose code is wrong.
var broken = regexp.MustCompile(`(?m)^(WARNING: DATA RACE|panic: |fatal error: )|http: panic serving`)

// started are the Caddys that this program has started.
var started registry

type registry struct {
	mu     sync.Mutex
	caddys []*Caddy
}

func (r *registry) add(c *Caddy) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.caddys = append(r.caddys, c)
}

func (r *registry) all() []*Caddy {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.caddys)
}

// Caddy is a running Caddy.
type Caddy struct {
	// Admin is the address of its admin endpoint, host:port.
	Admin string

	// Dir holds its data and everything that it has printed.
	Dir string

	cmd  *exec.Cmd
	done chan struct{}
	out  *printed
}

// Binary is another Caddy to run instead of this program. Default: none.
var Binary string

// Command returns the command that runs Caddy with these arguments, data in dir
// and the additional environment.
func Command(dir string, env []string, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if Binary != "" {
		self = Binary
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asCaddy+"=1", "HOME="+dir,
		"XDG_DATA_HOME="+filepath.Join(dir, "data"), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"))
	cmd.Env = append(cmd.Env, env...)
	return cmd, nil
}

// StartCaddy runs Caddy until Stop with a Caddyfile, or with a file whose name ends in .json,
// and returns when it serves.
func StartCaddy(dir, config string, env []string) (*Caddy, error) {
	ports, err := FreePorts(1)
	if err != nil {
		return nil, err
	}
	c := &Caddy{Admin: fmt.Sprintf("127.0.0.1:%d", ports[0]), Dir: dir, done: make(chan struct{})}
	args := []string{"run", "--config", config}
	if filepath.Ext(config) != ".json" {
		args = append(args, "--adapter", "caddyfile")
	}
	c.cmd, err = Command(dir, append(env, "CADDY_ADMIN="+c.Admin), args...)
	if err != nil {
		return nil, err
	}
	if c.out, err = newPrinted(dir); err != nil {
		return nil, err
	}
	c.cmd.Stdout, c.cmd.Stderr = c.out.file, c.out.file
	if err := c.cmd.Start(); err != nil {
		c.out.end()
		return nil, err
	}
	started.add(c)
	go func() {
		_ = c.cmd.Wait()
		c.out.end()
		close(c.done)
	}()
	for deadline := time.Now().Add(Patience); ; time.Sleep(20 * time.Millisecond) {
		select {
		case <-c.done:
			return nil, fmt.Errorf("caddy has ended: %s", c.Output())
		default:
		}
		if _, err := c.get("/config/apps/http/http_port"); err == nil { // fails until the app runs; the whole configuration may be large
			return c, nil
		}
		if time.Now().After(deadline) {
			c.Kill()
			return nil, fmt.Errorf("caddy does not come up: %s", c.Output())
		}
	}
}

func (c *Caddy) get(path string) (string, error) {
	res, err := http.Get("http://" + c.Admin + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return string(body), err
}

// Config returns the configuration as JSON.
func (c *Caddy) Config() (string, error) { return c.get("/config/") }

// Metrics returns the metrics as text.
func (c *Caddy) Metrics() (string, error) { return c.get("/metrics") }

// SaysAlone is what the log says when the storage fails or takes over a second: a process then
// keeps its sessions for itself, as is documented, and may log in once more.
const SaysAlone = "sessions are kept in memory only"

// Alone counts how often the log has said SaysAlone.
func (c *Caddy) Alone() int { return strings.Count(c.Output(), SaysAlone) }

// Collect has the process collect its garbage.
func (c *Caddy) Collect() error {
	_, err := c.get("/debug/pprof/heap?gc=1")
	return err
}

// Series returns the module's series by name and labels, without the prefix of
// their names: requests_total{product="vbr"}.
func (c *Caddy) Series() (map[string]float64, error) {
	text, err := c.Metrics()
	if err != nil {
		return nil, err
	}
	series := map[string]float64{}
	for line := range strings.Lines(text) {
		at := strings.LastIndexByte(line, ' ')
		if name, ours := strings.CutPrefix(line[:max(at, 0)], "caddy_veeam_auth_"); ours {
			if series[name], err = strconv.ParseFloat(strings.TrimSpace(line[at:]), 64); err != nil {
				return nil, err
			}
		}
	}
	return series, nil
}

// Metric is the sum of the module's series of this name, without its prefix, that
// have these labels.
func (c *Caddy) Metric(name string, labels ...string) (sum float64, err error) {
	series, err := c.Series()
	for key, value := range series {
		if strings.HasPrefix(key, name+"{") && containsAll(key, labels) {
			sum += value
		}
	}
	return sum, err
}

// containsAll reports whether a text contains all of these.
func containsAll(text string, words []string) bool {
	return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) })
}

// Load loads another Caddyfile, as `caddy reload --force` does.
func (c *Caddy) Load(ctx context.Context, caddyfile []byte) error {
	return c.load(ctx, "text/caddyfile", caddyfile)
}

// LoadJSON loads another configuration in JSON, as `caddy reload --force` does.
func (c *Caddy) LoadJSON(ctx context.Context, config []byte) error {
	return c.load(ctx, "application/json", config)
}

func (c *Caddy) load(ctx context.Context, mediaType string, config []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.Admin+"/load", bytes.NewReader(config))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("Cache-Control", "must-revalidate")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		return fmt.Errorf("load: %s: %s", res.Status, body)
	}
	return nil
}

// Pid is the number of the process.
func (c *Caddy) Pid() int { return c.cmd.Process.Pid }

// Output is what Caddy has printed so far: all that it has printed before an answer that was
// read is in it.
func (c *Caddy) Output() string { return c.out.String() }

// Stop ends Caddy as a service manager would, and waits for it.
func (c *Caddy) Stop() { _ = c.Ends() }

// Ends is Stop. It reports false for a Caddy that hangs, which it kills.
func (c *Caddy) Ends() bool {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
		return true
	case <-time.After(Patience):
		c.Kill()
		return false
	}
}

// Kill ends Caddy at once.
func (c *Caddy) Kill() {
	_ = c.cmd.Process.Kill()
	<-c.done
}

// printed is what a process prints. It prints to a file: what it writes to a pipe would be
// known only when a goroutine of this program has read it, a while after the process goes on.
type printed struct {
	mu   sync.Mutex
	file *os.File // nil when the process has ended
	text string   // what has been read of it
}

func newPrinted(dir string) (*printed, error) {
	file, err := os.CreateTemp(dir, "printed-")
	return &printed{file: file}, err
}

// String is what was printed so far.
func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file != nil {
		rest, _ := io.ReadAll(io.NewSectionReader(p.file, int64(len(p.text)), math.MaxInt64))
		p.text += string(rest)
	}
	return p.text
}

// end keeps what was printed: the file may be removed now.
func (p *printed) end() {
	_ = p.String()
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.file.Close()
	p.file = nil
}

// Output collects what several goroutines write, or a process prints.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write takes down more.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String is what was written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

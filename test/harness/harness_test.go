package harness

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness/ports"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// asScene is the variable that has this program play a scene in place of the tests.
const asScene = "VEEAM_AUTH_HARNESS_SCENE"

func TestMain(m *testing.M) {
	if name := os.Getenv(asScene); name != "" {
		os.Exit(Run(scenes[name]))
	}
	os.Exit(Run(m.Run))
}

// scenes are what Run gets in place of tests, and return what tests that pass would.
var scenes = map[string]func() int{
	"a Caddy that ended": func() int { return sceneOf((*World).Stop) },
	"a Caddy that still runs": func() int {
		return sceneOf(func(*World) {})
	},
	"a Caddy that panicked": func() int {
		return printing("panic: runtime error")
	},
	"a Caddy with a race": func() int {
		return printing("WARNING: DATA RACE")
	},
	"a Caddy that was refused a port": func() int {
		return printing("Error: listen tcp: address already in use")
	},
	"ports": func() int {
		register := ports.Register{Block: 7} // each program begins there
		found, err := register.Take(150)
		fmt.Println(found, err)
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // the ports are this program's until it ends
		runtime.KeepAlive(&register)
		return 0
	},
}

// sceneOf starts a Caddy in the folder of the scene, and ends it as told.
func sceneOf(end func(*World)) int {
	w := &World{Dir: os.Getenv("HOME"), Sites: []*Site{{Upstream: "https://127.0.0.1:1", Product: "vbr", Account: "account svc {env.HOME}"}}}
	if err := w.Start(); err != nil {
		fmt.Println(err)
		return 7
	}
	end(w)
	return 0
}

// printing starts a program in place of Caddy that prints a line and ends.
func printing(line string) int {
	Binary = filepath.Join(os.Getenv("HOME"), "caddy")
	if err := os.WriteFile(Binary, []byte("#!/bin/sh\necho '"+line+"'\n"), 0o700); err != nil {
		return 7
	}
	if _, err := StartCaddy(os.Getenv("HOME"), "Caddyfile", nil); err == nil {
		return 7
	}
	return 0
}

func scene(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), asScene+"="+name, "HOME="+t.TempDir())
	return cmd
}

func TestRunFailsForACaddyThatIsBrokenOrLeftBehind(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		code int
		says string
	}{
		"a Caddy that ended":              {0, ""},
		"a Caddy that was refused a port": {0, ""},
		"a Caddy that still runs":         {1, "FAIL: a Caddy outlives the tests"},
		"a Caddy that panicked":           {1, "FAIL: a Caddy has printed\npanic: "},
		"a Caddy with a race":             {1, "FAIL: a Caddy has printed\nWARNING: DATA RACE"},
	} {
		out, err := scene(t, name).CombinedOutput()
		code := 0
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			code = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if code != want.code || !strings.Contains(string(out), want.says) {
			t.Errorf("%s: status %d, want %d: %s", name, code, want.code, out)
		}
	}
}

func TestNoTwoProgramsGetOnePort(t *testing.T) {
	t.Parallel()
	const programs = 4
	var (
		mu    sync.Mutex
		given = map[string]int{}
		wg    sync.WaitGroup
		ready sync.WaitGroup
	)
	ready.Add(programs)
	for range programs {
		cmd := scene(t, "ports")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			line, _ := bufio.NewReader(out).ReadString('\n')
			list, rest, _ := strings.Cut(strings.TrimPrefix(line, "["), "]")
			if strings.TrimSpace(rest) != "<nil>" {
				t.Errorf("got %q", line)
			}
			mu.Lock()
			for port := range strings.FieldsSeq(list) {
				given[port]++
			}
			mu.Unlock()
			ready.Done()
			ready.Wait() // all of them live until the last one has its ports
			_ = in.Close()
			_ = cmd.Wait()
		})
	}
	wg.Wait()
	if len(given) != programs*150 {
		t.Errorf("%d ports for %d that were asked for", len(given), programs*150)
	}
}

func TestAWorldKeepsItsPortsOverARestart(t *testing.T) {
	t.Parallel()
	w := New(t)
	server := StartServer(t, veeamtest.VBR13)
	w.Env = []string{"PASSWORD=" + veeamtest.DefaultPassword}
	w.Sites = []*Site{{Server: server, Account: "account " + veeamtest.DefaultUser + " {env.PASSWORD}"}}
	url := ""
	for range 2 {
		w.Run(t)
		if url == "" {
			url = w.Sites[0].URL()
		}
		res, err := http.Get(url + "/api/v1/serverInfo")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("status %d: %s", res.StatusCode, w.Caddy.Output())
		}
		http.DefaultClient.CloseIdleConnections()
		if !w.Caddy.Ends() {
			t.Error("hangs")
		}
	}
}

func TestOneSocketListensAfterAReload(t *testing.T) {
	t.Parallel()
	w := New(t)
	w.Env = []string{"PASSWORD=" + veeamtest.DefaultPassword}
	w.Sites = []*Site{{Server: StartServer(t, veeamtest.VBR13), Account: "account " + veeamtest.DefaultUser + " {env.PASSWORD}"}}
	w.Run(t)
	for range 20 {
		if err := w.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if w.listensTwice() {
			t.Fatal("the configuration before still listens")
		}
	}
}

// A demo beside another one would share its ports, and calls would reach either of them.
func TestAnExampleNamesATakenPort(t *testing.T) {
	port := exampleProducts[0].port
	if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil { // otherwise it is taken already
		defer l.Close()
	}
	_, err := StartExample(t.TempDir(), filepath.Join("..", "..", "Caddyfile.example"), true)
	if want := fmt.Sprintf("port %d is taken", port); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

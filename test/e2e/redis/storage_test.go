// The storages: a Redis server started by the test and a shared folder.

package redis

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

// onEachStorage runs a test over the embedded storage and over Redis.
func onEachStorage(t *testing.T, test func(t *testing.T, block string)) {
	t.Run("file", func(t *testing.T) {
		t.Parallel() // they wait more than they work
		test(t, "storage file_system "+t.TempDir())
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(t, startRedis(t).block())
	})
}

// redisServer is a Redis on a free port of the loopback address. What it holds is
// gone when it stops.
type redisServer struct {
	t    *testing.T
	port int
	dir  string
	args []string // more of its command line
	cmd  *exec.Cmd
}

func startRedis(t *testing.T) *redisServer {
	t.Helper()
	return startRedisWith(t)
}

func startRedisWith(t *testing.T, args ...string) *redisServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("there is no redis-server in PATH (Debian package redis-server)")
	}
	ports, err := harness.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	r := &redisServer{t: t, port: ports[0], dir: t.TempDir(), args: args}
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *redisServer) start() {
	r.t.Helper()
	r.cmd = exec.Command("redis-server", append([]string{
		"--port", fmt.Sprint(r.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", r.dir,
	}, r.args...)...)
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	harness.Eventually(r.t, "redis-server answers", func() bool {
		answer, err := r.ping()
		return err == nil && (strings.HasPrefix(answer, "+PONG") || strings.HasPrefix(answer, "-NOAUTH"))
	})
}

func (r *redisServer) ping() (string, error) {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", r.port), time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return "", err
	}
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}

func (r *redisServer) stop() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
	r.cmd = nil
}

// pause makes the server hang: connections stay open and nothing is answered.
func (r *redisServer) pause() { _ = r.cmd.Process.Signal(syscall.SIGSTOP) }

func (r *redisServer) resume() { _ = r.cmd.Process.Signal(syscall.SIGCONT) }

// block is the server as the storage of a cache.
func (r *redisServer) block() string {
	return fmt.Sprintf("storage redis {\n\t\t\t\thost 127.0.0.1\n\t\t\t\tport %d\n\t\t\t\ttimeout 2\n\t\t\t}", r.port)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	// As a secret manager does: under another name first.
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

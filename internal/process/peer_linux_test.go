// The socket is found whatever is wrapped around it, and nothing is found where
// there is none. The kernel is asked on Linux only.

package process

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

type embedding struct{ net.Conn }

type unwrapping struct{ inner net.Conn }

func (u unwrapping) NetConn() net.Conn { return u.inner }

type hiding struct{ net.Conn }

func TestThePeerOfAUnixSocketIsFoundInsideWrappers(t *testing.T) {
	dir, err := os.MkdirTemp("", "peer") //nolint:usetesting // the path of a socket has little room
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	memory, other := net.Pipe()
	defer memory.Close()
	defer other.Close()

	us := Peer{UID: os.Getuid(), GID: os.Getgid(), PID: os.Getpid()}
	for name, c := range map[string]struct {
		conn net.Conn
		want bool
	}{
		"bare":              {conn, true},
		"embedded":          {&embedding{conn}, true},
		"embedded by value": {embedding{conn}, true},
		"twice":             {&embedding{hiding{conn}}, true},
		"to be asked":       {struct{ wrapped }{wrapped{conn, unwrapping{conn}}}, true},
		"none":              {nil, false},
		"in memory":         {memory, false},
		"around nothing":    {&embedding{}, false},
	} {
		got, ok := PeerOf(c.conn)
		if ok != c.want || ok && got != us {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
}

// wrapped is a connection that tells what it wraps.
type wrapped struct {
	net.Conn
	unwrapping
}

// Whoever connects to a unix socket may bind its own end to a file first, and so chooses the
// remote address of its requests.
func TestAPeerCannotNameItselfLikeAnAddress(t *testing.T) {
	t.Chdir(t.TempDir())
	listener, err := net.Listen("unix", "s")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) }))
	server.Listener.Close()
	server.Listener, server.Config.ConnContext = listener, WithConnection
	server.Start()
	defer server.Close()
	for name, served := range map[string]bool{
		"": true, "client.sock": true, "./10.20.0.2:5": true, "@10.20.0.1:5": true, "localhost:5": true,
		"10.20.0.1:5": false, "10.20.0.1": false, "::1": false, "[::1]:5": false, "[::1%lo]:5": false, "::ffff:127.0.0.1": false, "127.0.0.1:": false, "10.0.0.1%x": false,
	} {
		dialer := new(net.Dialer)
		if name != "" {
			dialer.LocalAddr = &net.UnixAddr{Net: "unix", Name: name}
		}
		client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", "s")
		}}}
		res, err := client.Get("http://localhost/")
		if served != (err == nil) {
			t.Errorf("%q: %v", name, err)
		}
		if err == nil {
			_ = res.Body.Close()
		}
		client.CloseIdleConnections()
	}
}

// The socket is found whatever is wrapped around it, and nothing is found where
// there is none. The kernel is asked on Linux only.

package process

import (
	"net"
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

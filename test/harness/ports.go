// Ports that no two programs get, and none twice.

package harness

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
)

// Ports are not from those that the kernel gives to whoever asks for any: Caddy shares
// a port with others without a word. They come in blocks. Who listens on the first port
// of a block has the others to itself, for as long as it lives; Caddy never gets that
// first port.
const portFirst, portBlock, portBlocks = 10_000, 100, 200

var errNoPort = errors.New("no port is free")

// ports are those of this program.
var ports portRegister

type portRegister struct {
	mu    sync.Mutex
	held  []net.Listener // on the first port of each block, until the program ends
	block int            // the block to ask for next, of portBlocks
	next  int            // the port to give out next; none is given out twice
	end   int            // of the block
}

// FreePorts finds ports on the loopback address that nothing listens on. No call, in
// this program or another one that runs at the same time, gets a port of this call.
func FreePorts(n int) ([]int, error) { return ports.take(n) }

func (r *portRegister) take(n int) (found []int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(found) < n {
		if r.next == r.end {
			if err := r.claim(); err != nil {
				return nil, err
			}
		}
		port := r.next
		r.next++
		if l, err := listen(port); err == nil {
			_ = l.Close()
			found = append(found, port)
		}
	}
	return found, nil
}

// claim gets another block.
func (r *portRegister) claim() error {
	if r.block == 0 {
		r.block = os.Getpid() // fewer blocks are found taken
	}
	for range portBlocks {
		first := portFirst + r.block%portBlocks*portBlock
		r.block++
		if l, err := listen(first); err == nil {
			r.held = append(r.held, l)
			r.next, r.end = first+1, first+portBlock
			return nil
		}
	}
	return errNoPort
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
}

// listening gives the addresses that are listened on, in the kernel's spelling, with
// how many sockets do and the port. It knows of none where there is no /proc/net.
func listening() map[string]listeners {
	const stateListen = "0A"
	found := make(map[string]listeners)
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line) // number, local address, remote address, state, ...
			if len(fields) < 4 || fields[3] != stateListen {
				continue
			}
			_, hex, _ := strings.Cut(fields[1], ":")
			if port, err := strconv.ParseInt(hex, 16, 32); err == nil {
				found[fields[1]] = listeners{int(port), found[fields[1]].sockets + 1}
			}
		}
	}
	return found
}

type listeners struct{ port, sockets int }

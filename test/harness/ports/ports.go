// Package ports finds ports for tests: no two programs get one, and none is given out
// twice.
package ports

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

// program are the ports of this program.
var program Register

// Register gives out ports. The zero value begins at a block of the program's own.
type Register struct {
	mu    sync.Mutex
	held  []net.Listener // on the first port of each block, until the program ends
	Block int            // the block to ask for next, of portBlocks; 0 for one of the program's own
	next  int            // the port to give out next; none is given out twice
	end   int            // of the block
}

// Free finds ports on the loopback address that nothing listens on. No call, in this
// program or another one that runs at the same time, gets a port of this call.
func Free(n int) ([]int, error) { return program.Take(n) }

// Take is Free for this register.
func (r *Register) Take(n int) (found []int, err error) {
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
func (r *Register) claim() error {
	if r.Block == 0 {
		r.Block = os.Getpid() // fewer blocks are found taken
	}
	for range portBlocks {
		first := portFirst + r.Block%portBlocks*portBlock
		r.Block++
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

// Listening gives the addresses that are listened on, in the kernel's spelling, with
// how many sockets do and the port. It knows of none where there is no /proc/net.
func Listening() map[string]Listeners {
	const stateListen = "0A"
	found := make(map[string]Listeners)
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
				found[fields[1]] = Listeners{int(port), found[fields[1]].Sockets + 1}
			}
		}
	}
	return found
}

// Listeners are the sockets that listen on an address.
type Listeners struct{ Port, Sockets int }

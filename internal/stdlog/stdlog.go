// Package stdlog keeps what servers send out of the log and the errors of Go's standard library.
package stdlog

import (
	"bytes"
	"io"
	"log"
	"os"
	"strings"
)

// Where net/http writes up to 4 KiB of what a server sends behind an answer, such as a body
// behind the answer to HEAD, into the log (net/http/transport.go: readLoopPeekFailLocked).
var (
	unsolicited = []byte("Unsolicited response received on idle HTTP channel starting with ")
	behind      = []byte("; err=")
)

// Guard has the standard logger write everything as before, but no bytes of a server. It is
// called whenever the logger may have got another output, and may be called again.
func Guard() {
	output := log.Writer()
	if _, guarded := output.(*guard); !guarded {
		log.SetOutput(&guard{output})
	}
}

// guard is an output of the standard logger, which calls Write once for each line.
type guard struct{ output io.Writer }

// Write implements io.Writer.
func (g *guard) Write(line []byte) (int, error) {
	from := bytes.Index(line, unsolicited)
	if from < 0 {
		return g.output.Write(line)
	}
	from += len(unsolicited)
	rest := []byte("\n")
	if to := bytes.LastIndex(line, behind); to >= from {
		rest = line[to:]
	}
	if _, err := g.output.Write(append(append(bytes.Clone(line[:from]), "bytes that are not shown"...), rest...)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// Verbose reports whether the environment has Go write what it sends and receives over HTTP/2
// to the standard logger, credentials included (golang.org/x/net/http2/http2.go).
func Verbose() bool {
	set := os.Getenv("GODEBUG")
	return strings.Contains(set, "http2debug=1") || strings.Contains(set, "http2debug=2")
}

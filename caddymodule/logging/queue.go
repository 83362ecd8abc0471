// The log writer that stands between requests and another log writer, so that
// none of them waits for it: its configuration.

package logging

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/logging"
)

const (
	defaultQueueLines = 4096
	maxQueueLines     = 1 << 20
)

// QueueWriter is a log writer that passes lines to another writer without waiting for
// it. Lines wait in a queue; if it is full, new lines are dropped. Standard error
// reports the first dropped line and, at the end, the number of them. Use it for
// writers that may block, such as `net` or a file on a network share.
//
// If the other writer is `file` and its file is removed, the file is created again.
type QueueWriter struct {
	// The maximum number of queued lines. They are limited to 64 MiB in total. Default:
	// 4096.
	Queue int `json:"queue,omitempty"`

	// The log writer that receives the lines. Required.
	WriterRaw json.RawMessage `json:"writer,omitempty" caddy:"namespace=caddy.logging.writers inline_key=output"`

	writer caddy.WriterOpener
}

// CaddyModule returns the Caddy module information.
func (QueueWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.writers.veeam_queue",
		New: func() caddy.Module { return new(QueueWriter) },
	}
}

// Provision sets up the other writer.
func (w *QueueWriter) Provision(ctx caddy.Context) error {
	if w.Queue == 0 {
		w.Queue = defaultQueueLines
	}
	if w.Queue < 1 || w.Queue > maxQueueLines {
		return fmt.Errorf("veeam_queue: queue is %d: it must be between 1 and %d", w.Queue, maxQueueLines)
	}
	if w.WriterRaw == nil {
		return errors.New("veeam_queue: the writer is missing")
	}
	module, err := ctx.LoadModule(w, "WriterRaw")
	if err != nil {
		return fmt.Errorf("veeam_queue: loading the writer: %w", err)
	}
	w.writer = module.(caddy.WriterOpener)
	return nil
}

// String returns the name of the other writer.
func (w *QueueWriter) String() string { return w.writer.String() }

// GoString is what Caddy writes if it cannot open the writer.
func (w *QueueWriter) GoString() string { return "veeam_queue " + w.String() }

// WriterKey identifies a queue: queues of the same size before the same writer are one,
// also over a reload.
func (w *QueueWriter) WriterKey() string {
	return "veeam_queue:" + strconv.Itoa(w.Queue) + ":" + w.writer.WriterKey()
}

// OpenWriter opens the other writer and the queue before it.
func (w *QueueWriter) OpenWriter() (io.WriteCloser, error) {
	sink, err := w.writer.OpenWriter()
	if err != nil {
		return nil, err
	}
	q := newLineQueue(w.Queue, w.writer.String(), sink)
	switch writer := w.writer.(type) {
	case caddy.StdoutWriter, *caddy.StdoutWriter, caddy.StderrWriter, *caddy.StderrWriter:
		q.stream = true
	case *logging.FileWriter:
		q.stream, q.file, q.reopen = true, writer.Filename, writer.OpenWriter
	case *ChainWriter:
		if file := writer.file(); file != nil {
			q.file, q.reopen = file.Filename, func() (io.WriteCloser, error) {
				sink, err := file.OpenWriter()
				if err != nil {
					return nil, err
				}
				return openChain(q.current().(*chain).Move(sink)), nil
			}
		}
	}
	openQueues.Store(q, nil)
	go q.drain()
	return q, nil
}

// UnmarshalCaddyfile sets up the writer from Caddyfile tokens. Syntax:
//
//	veeam_queue [<lines>] <writer> … {
//	    …
//	}
//
// The tokens after the name of the writer are its arguments and options.
func (w *QueueWriter) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume writer name
	if !d.NextArg() {
		return d.Err("the writer behind veeam_queue is missing, such as file or net")
	}
	if lines, err := strconv.Atoi(d.Val()); err == nil {
		if lines < 1 || lines > maxQueueLines {
			return d.Errf("%d lines: a queue accepts 1 to %d", lines, maxQueueLines)
		}
		w.Queue = lines
		if !d.NextArg() {
			return d.Err("the writer behind veeam_queue is missing, such as file or net")
		}
	}
	if strings.IndexAny(d.Val(), "0123456789") == 0 {
		return d.Errf("%s: write the lines of the queue as a number without a unit, from 1 to %d", d.Val(), maxQueueLines)
	}
	config, err := writerJSON(d, d.Val())
	w.WriterRaw = config
	return err
}

// unmarshalWriter does what Caddy's log option does with its output: the standard
// writers do not read Caddyfiles themselves.
func unmarshalWriter(d *caddyfile.Dispenser, name string) (caddy.WriterOpener, error) {
	var standard caddy.WriterOpener
	switch name {
	case "stdout":
		standard = caddy.StdoutWriter{}
	case "stderr":
		standard = caddy.StderrWriter{}
	case "discard":
		standard = caddy.DiscardWriter{}
	}
	if standard != nil {
		if d.NextArg() || d.NextBlock(d.Nesting()) {
			return nil, d.Errf("%s accepts no arguments or options", name)
		}
		return standard, nil
	}
	module, err := caddyfile.UnmarshalModule(d, "caddy.logging.writers."+name)
	if err != nil {
		return nil, err
	}
	opener, ok := module.(caddy.WriterOpener)
	if !ok {
		return nil, d.Errf("%s is not a log writer: %T", name, module)
	}
	return opener, nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*QueueWriter)(nil)
	_ caddy.WriterOpener    = (*QueueWriter)(nil)
	_ caddyfile.Unmarshaler = (*QueueWriter)(nil)
)

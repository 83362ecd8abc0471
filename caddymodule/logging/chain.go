// The log writer that makes lines a hash chain: its configuration.

package logging

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/logging"

	"github.com/caddy-veeam/veeam-auth/internal/logchain"
	"github.com/caddy-veeam/veeam-auth/internal/logerrors"
)

const (
	maxChainEvery    = 1_000_000
	minChainInterval = time.Second
	maxChainInterval = 24 * time.Hour
)

// ChainWriter is a log writer that makes the lines of another writer a hash chain: each
// line gets a field at its end, and signed lines prove those before them. `caddy veeam-auth
// log verify` finds every line that was changed, removed, added or reordered.
type ChainWriter struct {
	// The file with the Ed25519 private key that signs, in PEM. It is read when the log
	// is opened. Required.
	KeyFile string `json:"key_file,omitempty"`

	// How many lines a signed line follows at most. Default: 1000.
	Every int `json:"every,omitempty"`

	// How long a line waits for a signed line at most. Default: 1m.
	Interval caddy.Duration `json:"interval,omitempty"`

	// The log writer that receives the lines. Required.
	WriterRaw json.RawMessage `json:"writer,omitempty" caddy:"namespace=caddy.logging.writers inline_key=output"`

	// The log writer that receives a copy of each signed line, such as a file on another
	// machine. Without it, a log whose end was removed is a shorter log. Default: none.
	CopiesRaw json.RawMessage `json:"copies,omitempty" caddy:"namespace=caddy.logging.writers inline_key=output"`

	writer, copies caddy.WriterOpener
}

// CaddyModule returns the Caddy module information.
func (ChainWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.writers.log_chain",
		New: func() caddy.Module { return new(ChainWriter) },
	}
}

// Provision sets up the other writers.
func (w *ChainWriter) Provision(ctx caddy.Context) (err error) {
	if w.KeyFile, err = caddy.NewReplacer().ReplaceOrErr(w.KeyFile, true, true); err != nil {
		return fmt.Errorf("log_chain: key_file: %w", err)
	}
	if w.Every == 0 {
		w.Every = logchain.DefaultEvery
	}
	if w.Interval == 0 {
		w.Interval = caddy.Duration(logchain.DefaultInterval)
	}
	if err := w.validate(); err != nil {
		return fmt.Errorf("log_chain: %w", err)
	}
	module, err := ctx.LoadModule(w, "WriterRaw")
	if err != nil {
		return fmt.Errorf("log_chain: loading the writer: %w", err)
	}
	w.writer = module.(caddy.WriterOpener)
	switch w.writer.(type) {
	case *QueueWriter, *ChainWriter:
		return errors.New("log_chain: veeam_queue and log_chain are not allowed as its output: what a queue drops would be missing in the chain; write veeam_queue log_chain { … }")
	}
	if w.CopiesRaw != nil {
		if module, err = ctx.LoadModule(w, "CopiesRaw"); err != nil {
			return fmt.Errorf("log_chain: loading the writer of copies: %w", err)
		}
		w.copies = module.(caddy.WriterOpener)
	}
	return nil
}

func (w *ChainWriter) validate() error {
	interval := time.Duration(w.Interval)
	switch {
	case w.KeyFile == "":
		return errors.New("key_file is missing: `caddy veeam-auth log keygen <file>` makes one")
	case w.Every < 1 || w.Every > maxChainEvery:
		return fmt.Errorf("every is %d: it must be between 1 and %d lines", w.Every, maxChainEvery)
	case interval < minChainInterval || interval > maxChainInterval:
		return fmt.Errorf("interval is %v: it must be between %v and %v", interval, minChainInterval, maxChainInterval)
	case w.WriterRaw == nil:
		return errors.New("output is missing, such as output file <name>")
	}
	return nil
}

// String returns the name of the other writer.
func (w *ChainWriter) String() string { return w.writer.String() }

// GoString is what Caddy writes if it cannot open the writer.
func (w *ChainWriter) GoString() string { return "log_chain " + w.String() }

// WriterKey identifies a chain: it goes on over a reload that changes none of this.
func (w *ChainWriter) WriterKey() string {
	key := "log_chain:" + strconv.Quote(w.KeyFile) + ":" + strconv.Itoa(w.Every) + ":" + time.Duration(w.Interval).String() + ":" + w.writer.WriterKey()
	if w.copies != nil {
		key += ":" + w.copies.WriterKey()
	}
	return key
}

// OpenWriter reads the key and opens the other writers.
func (w *ChainWriter) OpenWriter() (io.WriteCloser, error) {
	key, err := logchain.ReadKey(w.KeyFile)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w; caddy veeam-auth log keygen makes it", err)
		}
		return nil, fmt.Errorf("log_chain: key_file: %w", err)
	}
	sink, err := w.writer.OpenWriter()
	if err != nil {
		return nil, err
	}
	options := w.options(key)
	if w.copies != nil {
		if options.Copies, err = w.copies.OpenWriter(); err != nil {
			_ = sink.Close() // nothing was written
			return nil, fmt.Errorf("log_chain: copies: %w", err)
		}
	}
	return openChain(logchain.NewWriter(sink, options)), nil
}

func (w *ChainWriter) options(key ed25519.PrivateKey) logchain.Options {
	host, _ := os.Hostname() // for people only
	options := logchain.Options{
		Key: key, Every: w.Every, Interval: time.Duration(w.Interval), Of: host + ":" + w.writer.String(),
		Failed: func(err error) {
			logerrors.Stderr.Add("a signed line of " + w.writer.String() + " cannot be written: " + err.Error())
		},
	}
	if file := w.file(); file != nil {
		options.File = file.Filename
	}
	return options
}

// file is the other writer if it is a file.
func (w *ChainWriter) file() *logging.FileWriter {
	file, _ := w.writer.(*logging.FileWriter)
	return file
}

// UnmarshalCaddyfile sets up the writer from Caddyfile tokens. Syntax:
//
//	log_chain {
//	    key_file <file>
//	    every    <lines>
//	    interval <duration>
//	    copies   <writer> …
//	    output   <writer> …
//	}
//
// The tokens after the name of a writer are its arguments and options.
func (w *ChainWriter) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume writer name
	if d.NextArg() {
		return d.Err("log_chain accepts a block only: write key_file and output into it")
	}
	seen := map[string]bool{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] {
			return d.Errf("%s is set twice", option)
		}
		seen[option] = true
		if err := w.unmarshalOption(d, option); err != nil {
			return err
		}
	}
	if !seen["output"] {
		return d.Err("output of log_chain is missing, such as output file <name>")
	}
	if !seen["key_file"] {
		return d.Err("key_file of log_chain is missing: `caddy veeam-auth log keygen <file>` makes one")
	}
	return nil
}

func (w *ChainWriter) unmarshalOption(d *caddyfile.Dispenser, option string) (err error) {
	if !d.NextArg() {
		return d.Errf("%s of log_chain requires a value", option)
	}
	value := d.Val()
	switch option {
	case "output":
		w.WriterRaw, err = writerJSON(d, value)
		return err
	case "copies":
		w.CopiesRaw, err = writerJSON(d, value)
		return err
	case "key_file":
		w.KeyFile = value
	case "every":
		if w.Every, err = strconv.Atoi(value); err != nil || w.Every < 1 || w.Every > maxChainEvery {
			return d.Errf("every %s: it must be a number of lines between 1 and %d", value, maxChainEvery)
		}
	case "interval":
		interval, err := caddy.ParseDuration(value)
		if err != nil || interval < minChainInterval || interval > maxChainInterval {
			return d.Errf("interval %s: it must be a duration between %v and %v", value, minChainInterval, maxChainInterval)
		}
		w.Interval = caddy.Duration(interval)
	default:
		return d.Errf("unrecognized option '%s' of log_chain: allowed: key_file, every, interval, copies, output", option)
	}
	if d.NextArg() {
		return d.Errf("%s of log_chain accepts one value", option)
	}
	return nil
}

// writerJSON is the configuration of a writer whose name was read.
func writerJSON(d *caddyfile.Dispenser, name string) (json.RawMessage, error) {
	opener, err := unmarshalWriter(d, name)
	if err != nil {
		return nil, err
	}
	var warnings []caddyconfig.Warning
	config := caddyconfig.JSONModuleObject(opener, "output", name, &warnings)
	if len(warnings) > 0 {
		return nil, d.Err(warnings[0].Message)
	}
	return config, nil
}

// chain is a chain that Caddy has opened.
type chain struct{ *logchain.Writer }

// openChains has every chain that is open, of all configurations: after a reload the old
// ones are still written to. Caddy closes no log when it ends.
var openChains sync.Map

func openChain(w *logchain.Writer) *chain {
	c := &chain{w}
	openChains.Store(c, nil)
	return c
}

// Close ends the chain, unless it goes on in another output.
func (c *chain) Close() error {
	openChains.Delete(c)
	return c.Writer.Close()
}

// endChains has the ends of all chains written before Caddy ends.
func endChains(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, queueClose)
	defer cancel()
	var chains sync.WaitGroup
	for c := range openChains.Range {
		chains.Go(func() {
			if err := c.(*chain).End(ctx); err != nil {
				logerrors.Stderr.Report("the end of a log chain cannot be written: " + err.Error())
			}
		})
	}
	chains.Wait()
}

// Interface guards
var (
	_ caddy.Provisioner     = (*ChainWriter)(nil)
	_ caddy.WriterOpener    = (*ChainWriter)(nil)
	_ caddyfile.Unmarshaler = (*ChainWriter)(nil)
)

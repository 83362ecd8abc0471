// What the page shows of requests: the last decisions, and the last lines of the log.

package page

import (
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

const (
	// KeptDecisions is how many decisions the page shows.
	KeptDecisions = 200

	// KeptLines is how many lines of the log the page shows.
	KeptLines = 1000

	mostLine = 4 << 10 // bytes that are kept of a line
	mostText = 512     // and of a path or a name
)

// Decision is what was decided about a request, and how it ended.
type Decision struct {
	At time.Time `json:"at"`

	// Product is the product of the site, Client the identity of the caller, empty for
	// an unknown one.
	Product string `json:"product"`
	Client  string `json:"client,omitempty"`

	// Method and Path are those that were decided about, without a query.
	Method string `json:"method"`
	Path   string `json:"path"`

	Operation string `json:"operation,omitempty"`
	Account   string `json:"account,omitempty"` // to act as, empty for the first one

	// Decision is allow or deny, empty where no rule was asked. Rule is where the rule is
	// written, empty for the default.
	Decision string `json:"decision,omitempty"`
	Rule     string `json:"rule,omitempty"`

	// Reason is why the request was refused, empty if it was not.
	Reason veeam.Reason `json:"reason,omitempty"`
	Status int          `json:"status"`
}

// Line is a line of the log, masked.
type Line struct {
	Level string `json:"level"`
	Text  string `json:"text"`
}

// Record keeps what the page shows of requests. Writing to it takes no lock.
type Record struct {
	decisions *ring[Decision]
	lines     *ring[Line]
	pages     atomic.Int64 // configurations with a page
	config    atomic.Pointer[string]
}

// NewRecord returns an empty record.
func NewRecord() *Record {
	return &Record{decisions: newRing[Decision](KeptDecisions), lines: newRing[Line](KeptLines)}
}

// Open counts a configuration with a page, until Close.
func (r *Record) Open() { r.pages.Add(1) }

// Close ends Open. After the last one nothing is kept.
func (r *Record) Close() {
	if r.pages.Add(-1) == 0 {
		r.decisions.clear()
		r.lines.clear()
	}
}

// Configured takes down the digest of the handlers and transports of the configuration that
// runs, in hexadecimal.
func (r *Record) Configured(digest string) { r.config.Store(&digest) }

// digest is the start of the digest of the configuration, empty before one runs.
func (r *Record) digest() string {
	if digest := r.config.Load(); digest != nil {
		return (*digest)[:min(12, len(*digest))]
	}
	return ""
}

// On reports whether there is a page.
func (r *Record) On() bool { return r.pages.Load() > 0 }

// Decided adds a decision.
func (r *Record) Decided(d Decision) {
	if !r.On() {
		return
	}
	d.Path, d.Client = short(d.Path), short(d.Client)
	r.decisions.add(&numbered[Decision]{value: d})
}

// short is a text of at most mostText bytes that keeps no longer one alive.
func short(text string) string {
	if len(text) <= mostText {
		return text
	}
	return strings.ToValidUTF8(strings.Clone(text[:mostText]), "") + "…"
}

// Tee has a logger write its entries to the record, too.
func (r *Record) Tee(logger *zap.Logger) *zap.Logger {
	return logger.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewTee(core, (*lineCore)(r))
	}))
}

// lineCore writes entries to a record. Those of level debug are left out.
type lineCore Record

// Enabled implements zapcore.Core.
func (c *lineCore) Enabled(level zapcore.Level) bool {
	return level >= zapcore.InfoLevel && (*Record)(c).On()
}

// With implements zapcore.Core. The entries of requests have no fields of their logger.
func (c *lineCore) With([]zapcore.Field) zapcore.Core { return c }

// Check implements zapcore.Core.
func (c *lineCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(entry.Level) {
		return checked
	}
	return checked.AddCore(entry, c)
}

// Write implements zapcore.Core.
func (c *lineCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	var subject svclog.Subject
	for i := range fields {
		subject.Take(&fields[i])
	}
	var space [1 << 10]byte
	text := svclog.Renderer{UTC: true}.AppendSubject(space[:0], entry, &subject, nil)
	line := &numbered[Line]{value: Line{Level: strings.ToLower(svclog.LevelWord(entry.Level)), Text: cut(text)}}
	c.lines.add(line)
	return nil
}

// Sync implements zapcore.Core.
func (*lineCore) Sync() error { return nil }

// say adds a sentence to the lines that is about no request.
func (r *Record) say(level zapcore.Level, sentence string) {
	core := (*lineCore)(r)
	if core.Enabled(level) {
		_ = core.Write(zapcore.Entry{Level: level, Time: time.Now(), Message: sentence}, nil)
	}
}

// Acted adds what an operator has done to the lines.
func (r *Record) Acted(act adminapi.Act) {
	level, sentence := zapcore.InfoLevel, "Act of an operator: "+act.Name
	for _, part := range []struct{ word, text string }{{" of ", act.Account}, {" of ", act.Client}, {" at ", act.Server}, {" by ", act.Operator}} {
		if part.text != "" {
			sentence += part.word + "'" + part.text + "'"
		}
	}
	if act.Err != nil {
		level, sentence = zapcore.WarnLevel, sentence+": "+act.Err.Error()
	}
	r.say(level, sentence)
}

// cut is a line without its end, of at most mostLine bytes.
func cut(text []byte) string {
	line := strings.TrimSuffix(string(text[:min(len(text), mostLine)]), "\n")
	if len(text) > mostLine {
		return strings.ToValidUTF8(line, "") + "…"
	}
	return line
}

// Interface guard
var _ zapcore.Core = (*lineCore)(nil)

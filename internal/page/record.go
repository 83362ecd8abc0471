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
	d.Path, d.Client = cut(d.Path, mostText), cut(d.Client, mostText)
	r.decisions.add(&numbered[Decision]{value: d})
}

// cut is a text of at most so many bytes that keeps no longer one alive.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(strings.Clone(text[:most]), "") + "…"
}

// Tee has a logger write its entries to the record, too: there first, so that the encoder of
// the logger copies what was rendered.
func (r *Record) Tee(logger *zap.Logger) *zap.Logger {
	return logger.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewTee((*lineCore)(r), core)
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
	line := Line{Level: levelWord(entry.Level), Text: cut(svclog.Renderer{UTC: true}.Line(entry, &subject), mostLine)}
	c.lines.add(&numbered[Line]{value: line})
	return nil
}

// levelWord is how the page calls a level.
func levelWord(level zapcore.Level) string {
	switch {
	case level <= zapcore.InfoLevel:
		return "info"
	case level == zapcore.WarnLevel:
		return "warning"
	}
	return "error"
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

// Interface guard
var _ zapcore.Core = (*lineCore)(nil)

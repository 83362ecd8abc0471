// Package journal writes the log lines of a request, and of the logins that it causes,
// in the format of Svc.ResAPI.log.
package journal

import (
	"cmp"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// LoggerName is the name, below the handler's, of the logger that gets the
// lines.
const LoggerName = "svc"

// Journal writes the lines of one request. The zero value writes nothing.
type Journal struct {
	logger  *zap.Logger
	id      string
	trace   [16]byte
	thread  uint32
	method  string
	path    string
	started time.Time
}

// requestCount numbers the requests that come without an id. It outlives a reload, so that
// requests before and behind it have different numbers in one log.
var requestCount atomic.Uint32

// New returns the journal of a request that arrives now.
func New(logger *zap.Logger, r *http.Request) Journal {
	j := Journal{logger: logger, method: r.Method, path: r.URL.RequestURI(), started: time.Now()}
	if j.id = r.Header.Get("X-Request-Id"); j.id != "" { //nolint:canonicalheader // the spelling that costs no allocation
		j.thread = svclog.Thread(j.id)
	} else {
		j.thread = requestCount.Add(1)%99999 + 1
	}
	return j
}

// Unasked returns the journal of what no request has asked for.
func Unasked(logger *zap.Logger) Journal {
	j := Journal{logger: logger}
	return j.Detached()
}

// DecidedAs has the lines name another method than that of the request line.
func (j *Journal) DecidedAs(method string) { j.method = method }

// Started is when the request has arrived.
func (j *Journal) Started() time.Time { return j.started }

// Traced has the request line name a trace by its id. Zero names none.
func (j *Journal) Traced(id [16]byte) { j.trace = id }

// Detached is a journal in the same log for what no request has asked for.
func (j *Journal) Detached() Journal {
	return Journal{logger: j.logger, thread: requestCount.Add(1)%99999 + 1}
}

// Request writes the line of the request as it arrived. read reads the beginning of its body,
// nil if it reads nothing; cut reports whether there is more. It is not called where nobody
// listens, so that a body costs nothing there. It may be nil.
func (j *Journal) Request(r *http.Request, user string, read func() (body []byte, cut bool)) {
	entry := j.logger.Check(zapcore.InfoLevel, svclog.RequestKey)
	if entry == nil {
		return
	}
	var body []byte
	cut := false
	if read != nil {
		body, cut = read()
	}
	line := &svclog.Request{
		User: user, Method: j.method, Path: j.path, Header: r.Header, Host: r.Host,
		RequestID: j.id, TraceID: j.trace, Thread: j.thread,
	}
	switch {
	case len(body) > 0:
		line.Body = svclog.MaskBody(nil, r.Header.Get("Content-Type"), r.Header.Get("Content-Encoding"), body, cut)
	case body == nil && (r.ContentLength > 0 || r.ContentLength < 0 && r.Header.Get("Content-Type") != ""): // over HTTP/3 nothing says that there is none
		line.Body = svclog.NotShown(r.ContentLength)
	}
	entry.Write(svclog.RequestField(line))
}

// Response writes the line of the answer.
func (j *Journal) Response(status int, header http.Header, body []byte, cut bool) {
	entry := j.logger.Check(zapcore.InfoLevel, svclog.ResponseKey)
	if entry == nil {
		return
	}
	line := &svclog.Response{
		Method: j.method, Path: j.path, Status: status, Duration: time.Since(j.started),
		RequestID: j.id, Thread: j.thread,
	}
	if len(body) > 0 {
		line.Body = svclog.MaskBody(nil, header.Get("Content-Type"), header.Get("Content-Encoding"), body, cut)
	}
	entry.Write(svclog.ResponseField(line))
}

func (j *Journal) say(level zapcore.Level, sentence string) {
	if j.logger == nil {
		return
	}
	if entry := j.logger.Check(level, sentence); entry != nil {
		entry.Write(svclog.ThreadField(j.thread))
	}
}

// Info writes a sentence at level info.
func (j *Journal) Info(sentence string) { j.say(zapcore.InfoLevel, sentence) }

// Warn writes a sentence at level warn.
func (j *Journal) Warn(sentence string) { j.say(zapcore.WarnLevel, sentence) }

// Error writes a sentence at level error.
func (j *Journal) Error(sentence string) { j.say(zapcore.ErrorLevel, sentence) }

// Authenticated writes that an account has logged in.
func (j *Journal) Authenticated(a *veeam.Account, tok *veeam.Token) {
	user := a.User()
	j.Info(svclog.Authenticated(user))
	if tok.Grant == veeam.GrantMFA {
		j.Info(svclog.MFAConfirmed(user))
	}
	j.Info(svclog.TokenCreated(user))
}

// LoginFailed writes why an account has no token.
func (j *Journal) LoginFailed(a *veeam.Account, err error) {
	user := a.User()
	if _, ok := errors.AsType[*veeam.MFAChallengeError](err); ok {
		j.Info(svclog.MFARequired(user))
		return
	}
	var failed *veeam.Error
	if errors.As(err, &failed) && failed.CredentialRefused() {
		if failed.Grant == veeam.GrantMFA {
			j.Error(svclog.MFAFailed(user))
		}
		j.Error(svclog.LoginFailed(user))
	}
	j.Error(svclog.TokenFailed)
	j.Error(svclog.Exception(err.Error(), TypeOf(err)))
}

// CodeNeeded writes that an account waits for a verification code, which a person has to
// enter.
func (j *Journal) CodeNeeded(a *veeam.Account) {
	j.Warn(svclog.Exception("Account '"+a.Name+"' waits for a verification code. Enter it with: caddy veeam-auth sessions code "+a.Name, TypeOfReason(veeam.ReasonCodeNeeded)))
}

// Refreshed writes that a session was renewed.
func (j *Journal) Refreshed(a *veeam.Account) { j.Info(svclog.TokenRefreshed(a.User())) }

// RefreshFailed writes why a session was not renewed.
func (j *Journal) RefreshFailed(a *veeam.Account, err error) {
	j.Warn(svclog.RefreshFailed(a.User()))
	j.Warn(svclog.Exception(err.Error(), TypeOf(err)))
}

// LoggedOut writes that a session was logged out.
func (j *Journal) LoggedOut(a *veeam.Account) { j.Info(svclog.LoggedOut(a.User())) }

// LogoutFailed writes why a session was not logged out.
func (j *Journal) LogoutFailed(a *veeam.Account, err error) {
	j.Warn(svclog.LogoutFailed(a.User()))
	j.Warn(svclog.Exception(err.Error(), TypeOf(err)))
}

// Replayed writes that a request is sent again after a 401.
func (j *Journal) Replayed(r *http.Request) {
	j.Warn(svclog.Replayed(r.Method, r.URL.RequestURI()))
}

// NoSession writes why a request is refused, and what its client is advised to do, unless
// said withholds it: all requests fail for the same reason until there is a session.
func (j *Journal) NoSession(err error, advice string, said *Seldom) {
	withheld, say := said.Say(err.Error()) // of a hold, it has its end
	if !say {
		return
	}
	blocked, ok := errors.AsType[*tokencache.BlockedError](err)
	if !ok {
		j.Error(svclog.Exception(err.Error(), TypeOf(err)) + more(withheld))
		return
	}
	sentence := svclog.Exception(blocked.Error(), TypeOf(blocked.Cause))
	if !blocked.Suspended {
		sentence += " No login is tried for another " + blocked.RetryAfter(time.Now()).Round(time.Second).String() + "."
	}
	j.Warn(sentence + advice + more(withheld))
}

// Denied writes that a request was refused, what has decided, and the reason.
func (j *Journal) Denied(user string, r veeam.Refusal) {
	row := r.Reason.Row()
	detail := cmp.Or(r.Detail, strings.NewReplacer("`", "").Replace(row.Meaning))
	first, size := utf8.DecodeRuneInString(detail)
	j.Warn(svclog.Denied(user, j.method, j.path) + " " + svclog.Exception(string(unicode.ToUpper(first))+detail[size:]+".", TypeOfReason(row.Reason)))
}

// Allowed logs which rule has allowed a request, at level debug.
func (j *Journal) Allowed(user, source string) {
	j.say(zapcore.DebugLevel, svclog.Allowed(user, j.method, j.path)+" This is decided by "+source+".")
}

// Debug reports whether lines of level debug are written.
func (j *Journal) Debug() bool { return j.logger != nil && j.logger.Core().Enabled(zapcore.DebugLevel) }

// Approved writes that a request passes because an operator has approved it. by is empty if
// the operator is not known.
func (j *Journal) Approved(user, id, by string) {
	if by != "" {
		by = " by '" + by + "'"
	}
	j.Info(svclog.Allowed(user, j.method, j.path) + svclog.Exception(" It has the approval "+id+", given"+by+" for this request.", ""))
}

// Shadow writes what a rule would have decided that is not obeyed yet: allow, deny or
// approve.
func (j *Journal) Shadow(user, effect, source string) {
	would := map[string]string{"allow": "allowed", "deny": "denied", "approve": "held for an approval"}[effect]
	j.Warn(svclog.Shadowed(user, j.method, j.path, would, source))
}

// TypeOf is the reason of an error as the type in brackets behind it, in
// the manner of the servers.
func TypeOf(err error) string { return TypeOfReason(veeam.ReasonOf(err)) }

// TypeOfReason is a reason as the type in brackets.
func TypeOfReason(reason veeam.Reason) string { return "VeeamAuth." + string(reason) }

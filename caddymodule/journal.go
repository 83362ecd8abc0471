// The log lines of one request and of the grants that it causes, in the form of
// Svc.ResAPI.log.

package caddymodule

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

// journalLogger is the name, below the handler's, of the logger that gets the
// lines.
const journalLogger = "svc"

const defaultLogBodyLimit = 4 << 10

// journal writes the lines of one request. The zero value writes nothing.
type journal struct {
	logger  *zap.Logger
	id      string
	thread  uint32
	method  string
	path    string
	started time.Time
}

var requestCount atomic.Uint32

func newJournal(logger *zap.Logger, r *http.Request) journal {
	j := journal{logger: logger, method: r.Method, path: r.URL.RequestURI(), started: time.Now()}
	if j.id = r.Header.Get("X-Request-Id"); j.id != "" {
		j.thread = svclog.Thread(j.id)
	} else {
		j.thread = requestCount.Add(1)%99999 + 1
	}
	return j
}

// own is a journal in the same log for what no request has asked for.
func (j *journal) own() journal {
	return journal{logger: j.logger, thread: requestCount.Add(1)%99999 + 1}
}

// request writes the line of the request as it arrived.
func (j *journal) request(r *http.Request, user string, body []byte, cut bool) {
	entry := j.logger.Check(zapcore.InfoLevel, svclog.RequestKey)
	if entry == nil {
		return
	}
	line := &svclog.Request{
		User: user, Method: j.method, Path: j.path, Header: r.Header, Host: r.Host,
		RequestID: j.id, Thread: j.thread,
	}
	if len(body) > 0 {
		line.Body = svclog.MaskBody(nil, r.Header.Get("Content-Type"), r.Header.Get("Content-Encoding"), body, cut)
	}
	entry.Write(svclog.RequestField(line))
}

// response writes the line of the answer.
func (j *journal) response(status int, header http.Header, body []byte, cut bool) {
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

func (j *journal) say(level zapcore.Level, sentence string) {
	if j.logger == nil {
		return
	}
	if entry := j.logger.Check(level, sentence); entry != nil {
		entry.Write(svclog.ThreadField(j.thread))
	}
}

func (j *journal) info(sentence string)  { j.say(zapcore.InfoLevel, sentence) }
func (j *journal) warn(sentence string)  { j.say(zapcore.WarnLevel, sentence) }
func (j *journal) error(sentence string) { j.say(zapcore.ErrorLevel, sentence) }

func userOf(a *veeam.Account) string {
	if a.Username != "" {
		return a.Username
	}
	return a.Name
}

// authenticated writes that an account has logged in.
func (j *journal) authenticated(a *veeam.Account, tok *veeam.Token) {
	user := userOf(a)
	j.info(svclog.Authenticated(user))
	if tok.Grant == veeam.GrantMFA {
		j.info(svclog.MFAConfirmed(user))
	}
	j.info(svclog.TokenCreated(user))
}

// loginFailed writes why an account has no token.
func (j *journal) loginFailed(a *veeam.Account, err error) {
	user := userOf(a)
	if _, ok := errors.AsType[*demandError](err); ok {
		j.info(svclog.MFARequired(user))
		return
	}
	var failed *veeam.Error
	if errors.As(err, &failed) && failed.CredentialRefused() {
		if failed.Grant == veeam.GrantMFA {
			j.error(svclog.MFAFailed(user))
		}
		j.error(svclog.LoginFailed(user))
	}
	j.error(svclog.TokenFailed)
	j.error(svclog.Exception(err.Error(), exceptionType(err)))
}

func (j *journal) refreshed(a *veeam.Account) { j.info(svclog.TokenRefreshed(userOf(a))) }

func (j *journal) refreshFailed(a *veeam.Account, err error) {
	j.warn(svclog.RefreshFailed(userOf(a)))
	j.warn(svclog.Exception(err.Error(), exceptionType(err)))
}

func (j *journal) loggedOut(a *veeam.Account) { j.info(svclog.LoggedOut(userOf(a))) }

func (j *journal) logoutFailed(a *veeam.Account, err error) {
	j.warn(svclog.LogoutFailed(userOf(a)))
	j.warn(svclog.Exception(err.Error(), exceptionType(err)))
}

func (j *journal) replay(r *http.Request) {
	j.warn(svclog.Replayed(r.Method, r.URL.RequestURI()))
}

// noSession writes why a request is refused, unless a failed grant has just said
// so.
func (j *journal) noSession(err error) {
	if blocked, ok := errors.AsType[*tokencache.BlockedError](err); ok {
		j.warn(svclog.Exception(blocked.Error(), exceptionType(blocked.Cause)) +
			" No login is tried for another " + blocked.RetryAfter(time.Now()).Round(time.Second).String() + "." + heldAdvice(blocked))
		return
	}
	j.error(svclog.Exception(err.Error(), exceptionType(err)))
}

// denied writes that a request was refused, what has decided, and the reason.
func (j *journal) denied(user string, r veeam.Refusal) {
	row := r.Reason.Row()
	detail := cmp.Or(r.Detail, strings.NewReplacer("`", "").Replace(row.Meaning))
	first, size := utf8.DecodeRuneInString(detail)
	j.warn(svclog.Denied(user, j.method, j.path) + " " + svclog.Exception(string(unicode.ToUpper(first))+detail[size:]+".", faultType(row.Reason)))
}

// allowed writes, at level debug only, what has let a request in.
func (j *journal) allowed(user string, h *Handler, rule int) {
	if j.logger != nil && j.logger.Core().Enabled(zapcore.DebugLevel) {
		j.say(zapcore.DebugLevel, svclog.Allowed(user, j.method, j.path)+" This is decided by "+h.source(rule)+".")
	}
}

// shadow writes what a rule would have decided that is not obeyed yet.
func (j *journal) shadow(user string, allowed bool, source string) {
	if user == "" {
		user = svclog.Anonymous
	}
	would := "denied"
	if !allowed {
		would = "allowed"
	}
	j.warn(svclog.Exception("Request ["+j.method+" "+j.path+"] of user '"+user+"' would be "+would+" by shadow "+source+".", ""))
}

// exceptionType is the reason of an error as the type in brackets behind it, in
// the manner of the servers.
func exceptionType(err error) string { return faultType(reasonOf(err)) }

func faultType(reason veeam.Reason) string { return "VeeamAuth." + string(reason) }

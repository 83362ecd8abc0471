package journal

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

func TestTheSentencesOfAJournal(t *testing.T) {
	t.Parallel()
	account := &veeam.Account{Name: "svc", Username: `LAB\svc`, Password: secret.New("hunter2")}
	for name, c := range map[string]struct {
		write func(j *Journal)
		lines []string
	}{
		"a login":             {func(j *Journal) { j.Authenticated(account, &veeam.Token{Grant: veeam.GrantPassword}) }, []string{"info " + svclog.Authenticated(account.User()), "info " + svclog.TokenCreated(account.User())}},
		"a login with a code": {func(j *Journal) { j.Authenticated(account, &veeam.Token{Grant: veeam.GrantMFA}) }, []string{"info " + svclog.Authenticated(account.User()), "info " + svclog.MFAConfirmed(account.User()), "info " + svclog.TokenCreated(account.User())}},
		"a demand":            {func(j *Journal) { j.LoginFailed(account, &veeam.MFAChallengeError{}) }, []string{"info " + svclog.MFARequired(account.User())}},
		"another failure":     {func(j *Journal) { j.LoginFailed(account, errors.New("no route")) }, []string{"error " + svclog.TokenFailed, "error " + svclog.Exception("no route", TypeOf(errors.New("no route")))}},
		"a renewal":           {func(j *Journal) { j.Refreshed(account) }, []string{"info " + svclog.TokenRefreshed(account.User())}},
		"no renewal":          {func(j *Journal) { j.RefreshFailed(account, errors.New("gone")) }, []string{"warn " + svclog.RefreshFailed(account.User()), "warn " + svclog.Exception("gone", TypeOf(errors.New("gone")))}},
		"a logout":            {func(j *Journal) { j.LoggedOut(account) }, []string{"info " + svclog.LoggedOut(account.User())}},
		"a refusal": {func(j *Journal) {
			j.Denied("grafana", veeam.Refusal{Reason: veeam.ReasonNoToken, Detail: "there is none"})
		}, []string{
			"warn " + svclog.Denied("grafana", http.MethodPut, "/api/v1/jobs?x=1") + " " + svclog.Exception("There is none.", TypeOfReason(veeam.ReasonNoToken)),
		}},
		"what was allowed, below its level": {func(j *Journal) { j.Allowed("grafana", "rule 1") }, nil},
		"a shadow": {func(j *Journal) { j.Shadow("", "allow", "rule 2") }, []string{
			"warn " + svclog.Exception("Request [PUT /api/v1/jobs?x=1] of user '"+svclog.Anonymous+"' would be allowed by shadow rule 2.", ""),
		}},
	} {
		core, logs := observer.New(zapcore.InfoLevel)
		j := New(zap.New(core), httptest.NewRequest(http.MethodPut, "/api/v1/jobs?x=1", http.NoBody))
		c.write(&j)
		var lines []string
		for _, entry := range logs.All() {
			lines = append(lines, entry.Level.String()+" "+entry.Message)
		}
		if strings.Join(lines, "\n") != strings.Join(c.lines, "\n") {
			t.Errorf("%s:\n%s", name, strings.Join(lines, "\n"))
		}
		c.write(new(Journal)) // without a logger
	}
}

func TestTheLinesOfARequestMaskItsSecrets(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.InfoLevel)
	r := httptest.NewRequest(http.MethodGet, "/api/v1/jobs", http.NoBody)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Request-Id", "7")
	j := New(zap.New(core), r)
	j.DecidedAs(http.MethodConnect)
	body := []byte(`{"password":"hunter2","name":"x"}`)
	j.Request(r, "grafana", was(body))
	j.Response(http.StatusOK, http.Header{"Content-Type": {"application/json"}}, body, false)
	for i, entry := range logs.All() {
		encoded := zapcore.NewMapObjectEncoder()
		for _, f := range entry.Context {
			f.AddTo(encoded)
		}
		text := strings.ToLower(strings.ReplaceAll(fmt.Sprint(encoded.Fields), "\\", ""))
		if strings.Contains(text, "hunter2") || !strings.Contains(text, "connect") || !strings.Contains(text, `"name":"x"`) {
			t.Errorf("line %d: %s", i, text)
		}
	}
	if logs.Len() != 2 {
		t.Errorf("%d lines", logs.Len())
	}
}

// was is what was read of a body.
func was(body []byte) func() ([]byte, bool) {
	return func() ([]byte, bool) { return body, false }
}

func TestNoBodyIsReadForALogThatNobodyWrites(t *testing.T) {
	t.Parallel()
	for level, want := range map[zapcore.Level]int{zapcore.InfoLevel: 1, zapcore.WarnLevel: 0} {
		core, logs := observer.New(level)
		r := httptest.NewRequest(http.MethodPost, "/api/v1/jobs", http.NoBody)
		j, reads := New(zap.New(core), r), 0
		j.Request(r, "grafana", func() ([]byte, bool) {
			reads++
			return []byte("a=b"), false
		})
		j.Request(r, "grafana", nil)
		if reads != want || logs.Len() != 2*want {
			t.Errorf("level %v: the body was read %d times for %d lines", level, reads, logs.Len())
		}
	}
}

func TestABodyThatWasNotReadIsNotCalledEmpty(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body   io.Reader
		kind   string
		length int64
		want   string
	}{
		"none":              {http.NoBody, "", 0, ""},
		"none, over HTTP/3": {strings.NewReader(""), "", -1, ""},
		"of known length":   {strings.NewReader("<a>b</a>"), "text/xml", 8, "<8 bytes, not shown>"},
		"without a type":    {strings.NewReader("<a>b</a>"), "", 8, "<8 bytes, not shown>"},
		"of unknown length": {strings.NewReader("<a>b</a>"), "text/xml", -1, "<not shown>"},
	} {
		core, logs := observer.New(zapcore.InfoLevel)
		r := httptest.NewRequest(http.MethodPost, "/api/v1/jobs", c.body)
		r.ContentLength = c.length
		if c.kind != "" {
			r.Header.Set("Content-Type", c.kind)
		}
		j := New(zap.New(core), r)
		j.Request(r, "grafana", was(nil))
		encoded := zapcore.NewMapObjectEncoder()
		for _, f := range logs.All()[0].Context {
			f.AddTo(encoded)
		}
		if text := fmt.Sprint(encoded.Fields); !strings.Contains(text, c.want) || c.want == "" && strings.Contains(text, "shown") {
			t.Errorf("%s: %s", name, text)
		}
		if logs.TakeAll(); c.kind == "text/xml" {
			j.Request(r, "grafana", was([]byte{})) // read, and empty
			for _, f := range logs.All()[0].Context {
				f.AddTo(encoded)
			}
			if text := fmt.Sprint(encoded.Fields); strings.Contains(text, "shown") {
				t.Errorf("%s, read: %s", name, text)
			}
		}
	}
}

func TestRequestsWithoutAnIDAreToldApart(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	one, two := New(zap.NewNop(), r), New(zap.NewNop(), r)
	if one.thread == two.thread || one.Detached().thread == one.thread {
		t.Errorf("%d, %d", one.thread, two.thread)
	}
	r.Header.Set("X-Request-Id", "7")
	if same, again := New(zap.NewNop(), r), New(zap.NewNop(), r); same.thread != again.thread {
		t.Errorf("one id, but %d and %d", same.thread, again.thread)
	}
}

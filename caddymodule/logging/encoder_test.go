// This file holds the tests of the lines as they come out of loggers.

package logging

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

const svcStamp = "[03.10.2022 11:48:31.999] "

// svcEncoder makes an encoder as Caddy does. It prints UTC, so that what is
// expected does not depend on the machine.
func svcEncoder(tb testing.TB, options ...func(*SvcResAPIEncoder)) *SvcResAPIEncoder {
	tb.Helper()
	e := &SvcResAPIEncoder{UTC: true}
	for _, option := range options {
		option(e)
	}
	if err := e.Provision(caddy.Context{}); err != nil {
		tb.Fatal(err)
	}
	return e
}

// svcClock stops the time for a logger.
type svcClock struct{}

func (svcClock) Now() time.Time {
	return time.Date(2022, 10, 3, 11, 48, 31, 999_000_000, time.UTC)
}

func (svcClock) NewTicker(d time.Duration) *time.Ticker { return time.NewTicker(d) }

// svcLogger returns a logger and what it wrote.
func svcLogger(e zapcore.Encoder, options ...zap.Option) (*zap.Logger, *bytes.Buffer) {
	var out bytes.Buffer
	core := zapcore.NewCore(e, zapcore.AddSync(&out), zapcore.DebugLevel)
	return zap.New(core, append(options, zap.WithClock(svcClock{}))...), &out
}

func svcRequest() *svclog.Request {
	return &svclog.Request{
		Method: http.MethodPost, Path: "/api/oauth2/token", Host: "172.30.6.5:9419", Thread: 36, RequestID: "5c1a",
		Header: http.Header{
			"Accept": {"*/*"}, "Accept-Encoding": {"gzip, deflate, br"}, "Connection": {"keep-alive"},
			"Content-Length": {"63"}, "Content-Type": {"application/x-www-form-urlencoded"},
			"Postman-Token": {"bb753b8d-214b-4f4a-8ab6-fa8e57a110c8"}, "User-Agent": {"PostmanRuntime/7.28.3"},
			"X-Api-Version": {"1.0-rev1"},
		},
		Body: svclog.MaskForm(nil, []byte("grant_type=password&username=benyoung&password=Sixteen%21letters")),
	}
}

func svcResponse() *svclog.Response {
	return &svclog.Response{
		Method: http.MethodPost, Path: "/api/oauth2/token", Status: 401, Thread: 36, RequestID: "5c1a", Duration: time.Second,
		Body: svclog.MaskJSON(nil, []byte(`{"errorCode":"AccessDenied","message":"Authentication failed","resourceId":null}`)),
	}
}

const (
	svcRequestText = `[User: Anonymous][POST] request to [/api/oauth2/token] deserialized. Message: [grant_type=password&username=benyoung&password=****]; Parameters: [x-api-version: 1.0-rev1; Postman-Token: bb753b8d-214b-4f4a-8ab6-fa8e57a110c8; Connection: keep-alive; Content-Length: ****; Content-Type: application/x-www-form-urlencoded; Accept: */*; Accept-Encoding: gzip, deflate, br; Host: 172.30.6.5:9419; User-Agent: PostmanRuntime/7.28.3; ].`
	svcAnswerText  = `[POST /api/oauth2/token]: [401] {"errorCode":"AccessDenied","message":"Authentication failed","resourceId":null}`
)

// refusal is an error with a type of its own.
type svcRefusedError struct{}

func (svcRefusedError) Error() string { return "Authentication failed: password=hunter2" }

func TestEncoderWritesEachKindOfEntry(t *testing.T) {
	for name, c := range map[string]struct {
		log  func(*zap.Logger)
		want string
	}{
		"request": {
			func(l *zap.Logger) { l.Info(svclog.RequestKey, svclog.RequestField(svcRequest())) },
			svcStamp + "<36> Info         " + svcRequestText + "\n",
		},
		"response": {
			func(l *zap.Logger) { l.Info(svclog.ResponseKey, svclog.ResponseField(svcResponse())) },
			svcStamp + "<36> Info         " + svcAnswerText + "\n",
		},
		"both": {
			func(l *zap.Logger) {
				l.Info("", svclog.RequestField(svcRequest()), svclog.ResponseField(svcResponse()), zap.String("left", "out"))
			},
			svcStamp + "<36> Info         " + svcRequestText + "\n" + svcStamp + "<36> Info         " + svcAnswerText + "\n",
		},
		"sentence": {
			func(l *zap.Logger) { l.Error(svclog.LoginFailed("benyoung"), svclog.ThreadField(36)) },
			svcStamp + "<36> Error        Login failed for user 'benyoung'.\n",
		},
		"warning": {func(l *zap.Logger) { l.Warn("a") }, svcStamp + "<00> Warning      a\n"},
		"debug":   {func(l *zap.Logger) { l.Debug("a") }, svcStamp + "<00> Debug        a\n"},
		"fields": {
			func(l *zap.Logger) {
				l.Info("a", zap.String("password", "hunter2"), svclog.ThreadField(7), zap.Duration("wait", time.Minute), zap.Strings("x", []string{"b"}))
			},
			svcStamp + `<07> Info         a {"password":"****","wait":"1m0s","x":["b"]}` + "\n",
		},
		"error": {
			func(l *zap.Logger) { l.Error(svclog.TokenFailed, svclog.ThreadField(36), zap.Error(svcRefusedError{})) },
			svcStamp + "<36> Error        Failed to create access token.\n" +
				svcStamp + "<36> Error        Authentication failed: password=**** (logging.svcRefusedError)\n",
		},
		"plain error": {
			func(l *zap.Logger) { l.Error("a", zap.Error(fmt.Errorf("b: %w", errors.New("c\nd")))) },
			svcStamp + "<00> Error        a\n" + svcStamp + `<00> Error        b: c\nd` + "\n",
		},
		"two errors": {
			func(l *zap.Logger) { l.Error("a", zap.Error(errors.New("b")), zap.NamedError("also", errors.New("c"))) },
			svcStamp + `<00> Error        a {"also":"c"}` + "\n" + svcStamp + "<00> Error        b\n",
		},
		"logger's own": {
			func(l *zap.Logger) {
				l.With(svclog.ThreadField(9), zap.String("account", "b")).Info("a", zap.Int("n", 1))
			},
			svcStamp + `<09> Info         a {"account":"b","n":1}` + "\n",
		},
		"logger's request": {
			func(l *zap.Logger) { l.With(svclog.RequestField(svcRequest())).Info("a") },
			svcStamp + "<36> Info         " + svcRequestText + "\n",
		},
		"namespace": {
			func(l *zap.Logger) { l.Info("a", zap.Namespace("n"), zap.String("token", "hunter2")) },
			svcStamp + `<00> Info         a {"n":{"token":"****"}}` + "\n",
		},
		"reflection": {
			func(l *zap.Logger) { l.Info("a", zap.Any("n", map[string]any{"ClientSecret": "hunter2", "b": 1})) },
			svcStamp + `<00> Info         a {"n":{"ClientSecret":"****","b":1}}` + "\n",
		},
		"forgery": {
			func(l *zap.Logger) {
				l.Info("a\n"+svcStamp+"<36> Info         [POST /]: [200]", zap.String("b", "\n"+svcStamp))
			},
			svcStamp + `<00> Info         a\n` + svcStamp + `<36> Info         [POST /]: [200] {"b":"\n` + svcStamp + `"}` + "\n",
		},
		"object": {
			func(l *zap.Logger) {
				l.Info("a", zap.Object("o", zapcore.ObjectMarshalerFunc(func(e zapcore.ObjectEncoder) error { e.AddUint32("b", 1); return nil })))
			},
			svcStamp + `<00> Info         a {"o":{"b":1}}` + "\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			logger, out := svcLogger(svcEncoder(t))
			c.log(logger)
			if out.String() != c.want {
				t.Errorf("\n got %s\nwant %s", out, c.want)
			}
		})
	}
}

func TestEncoderWritesAStackAsVeeamDoes(t *testing.T) {
	logger, out := svcLogger(svcEncoder(t), zap.AddStacktrace(zapcore.ErrorLevel))
	logger.Error("a")
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) < 2 || !strings.Contains(lines[1], "<00> Error           at ") || !strings.Contains(lines[1], "TestEncoderWritesAStack") {
		t.Errorf("%s", out)
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, svcStamp) {
			t.Errorf("no frame: %s", line)
		}
	}
}

func TestEncoderPrintsTheIDOfARequestIfToldTo(t *testing.T) {
	logger, out := svcLogger(svcEncoder(t, func(e *SvcResAPIEncoder) { e.RequestID = true }))
	logger.Info(svclog.RequestKey, svclog.RequestField(svcRequest()))
	logger.Info(svclog.ResponseKey, svclog.ResponseField(svcResponse()))
	for _, want := range []string{"Parameters: [Request-id: 5c1a; x-api-version: ", `"resourceId":null} [Request-id: 5c1a]` + "\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
}

func TestEncoderPrintsLocalTimeByDefault(t *testing.T) {
	logger, out := svcLogger(svcEncoder(t, func(e *SvcResAPIEncoder) { e.UTC = false }))
	logger.Info("a")
	if want := svcClock.Now(svcClock{}).Local().Format("[02.01.2006 15:04:05.000] "); !strings.HasPrefix(out.String(), want) {
		t.Errorf("%s, not %s", out, want)
	}
}

// Without a Clone of its own, the embedded encoder's would be used, and a logger
// with fields would print JSON.
func TestClonesOfTheEncoderAreIndependent(t *testing.T) {
	logger, out := svcLogger(svcEncoder(t))
	var wait sync.WaitGroup
	for n := range uint32(4) {
		own := logger.With(svclog.ThreadField(n+1), zap.Uint32("n", n+1))
		_ = own
		wait.Go(func() { _ = own.Core().With([]zap.Field{zap.Bool("unused", true)}) })
	}
	wait.Wait()
	first := logger.With(svclog.ThreadField(1), zap.Int("n", 1))
	first.With(svclog.ThreadField(2), zap.Int("m", 2)).Info("b")
	first.Info("a")
	logger.Info("c")
	want := svcStamp + `<02> Info         b {"n":1,"m":2}` + "\n" + svcStamp + `<01> Info         a {"n":1}` + "\n" + svcStamp + "<00> Info         c\n"
	if out.String() != want {
		t.Errorf("\n got %s\nwant %s", out, want)
	}
}

func TestOneEncoderServesManyAtOnce(t *testing.T) {
	e := svcEncoder(t)
	var wait sync.WaitGroup
	for n := range uint32(8) {
		wait.Go(func() {
			for range 200 {
				r := svcRequest()
				r.Thread = n + 10
				buf, err := e.EncodeEntry(zapcore.Entry{Time: svcClock{}.Now()}, []zap.Field{svclog.RequestField(r)})
				if err != nil || buf.String() != fmt.Sprintf("%s<%d> Info         %s\n", svcStamp, n+10, svcRequestText) {
					t.Errorf("%v %s", err, buf)
				}
				buf.Free()
			}
		})
	}
	wait.Wait()
}

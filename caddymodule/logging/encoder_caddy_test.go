// This file holds the tests of the encoder inside Caddy: in its configuration,
// within its other encoders, in a running server, and beside its access log.

package logging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile" // the adapter
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

func TestEncoderWorksInsideCaddysAppendEncoder(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	outer := &logging.AppendEncoder{
		WrappedRaw: json.RawMessage(`{"format":"svc_resapi","utc":true}`), Fields: map[string]any{"host": "a"},
	}
	if err := outer.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	logger, out := svcLogger(outer)
	logger.Info(svclog.RequestKey, svclog.RequestField(svcRequest()))
	logger.Info("b", zap.String("token", "hunter2"))
	want := svcStamp + "<36> Info         " + svcRequestText + "\n" + svcStamp + `<00> Info         b {"token":"****","host":"a"}` + "\n"
	if out.String() != want {
		t.Errorf("\n got %s\nwant %s", out, want)
	}
}

// Caddy's filter hides from the inner encoder what the fields are. There are no
// lines of requests then, but nothing is lost and nothing is shown.
func TestEncoderInsideCaddysFilterEncoderStaysFramedAndMasked(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	outer := &logging.FilterEncoder{
		WrappedRaw: json.RawMessage(`{"format":"svc_resapi","utc":true}`),
		FieldsRaw:  map[string]json.RawMessage{"request>user": json.RawMessage(`{"filter":"delete"}`)},
	}
	if err := outer.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	logger, out := svcLogger(outer)
	r := svcRequest()
	r.Path += "?token=hunter2"
	logger.Info(svclog.RequestKey, svclog.RequestField(r))
	line := out.String()
	if !strings.HasPrefix(line, svcStamp+`<36> Info         request {"request":{"request_id":"5c1a",`) || strings.Count(line, "\n") != 1 ||
		!strings.Contains(line, "token=****") || strings.Contains(line, "Anonymous") {
		t.Error(line)
	}
}

func TestEncoderInTheCaddyfile(t *testing.T) {
	for input, want := range map[string]string{
		"svc_resapi":                       `{}`,
		"svc_resapi {\n}":                  `{}`,
		"svc_resapi {\nutc\n}":             `{"utc":true}`,
		"svc_resapi {\nrequest_id\nutc\n}": `{"utc":true,"request_id":true}`,
	} {
		var e SvcResAPIEncoder
		if err := e.UnmarshalCaddyfile(caddyfile.NewTestDispenser(input)); err != nil {
			t.Errorf("%s: %v", input, err)
		}
		if got, err := json.Marshal(&e); err != nil || string(got) != want {
			t.Errorf("%s: %s %v", input, got, err)
		}
	}
	for _, input := range []string{
		"svc_resapi yes", "svc_resapi {\nutc yes\n}", "svc_resapi {\ntime_format x\n}", "svc_resapi {\nrequest_id 1\n}",
	} {
		var e SvcResAPIEncoder
		if err := e.UnmarshalCaddyfile(caddyfile.NewTestDispenser(input)); err == nil || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%s: error %v has no place", input, err)
		}
	}
}

const svcGlobal = `{
	admin off
	persist_config off
	log svc {
		include http.handlers.veeam_auth.svc
		output file %s {
			roll_size 10MiB
		}
		format svc_resapi {
			utc
		}
	}
	log default {
		exclude http.handlers.veeam_auth.svc
		output discard
	}
}
`

// svcOwner stands for the module that owns the logger.
type svcOwner struct{}

func (svcOwner) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.veeam_auth", New: func() caddy.Module { return svcOwner{} }}
}

func TestEncoderWritesTheFileOfARunningCaddy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Svc.ResAPI.log")
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(fmt.Appendf(nil, svcGlobal, file), nil)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if !bytes.Contains(config, []byte(`"encoder":{"format":"svc_resapi","utc":true}`)) {
		t.Errorf("adapted to %s", config)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	logger := caddy.ActiveContext().Logger(svcOwner{}).Named("svc")
	logger.Info(svclog.RequestKey, svclog.RequestField(svcRequest()))
	logger.Error(svclog.LoginFailed("benyoung"), svclog.ThreadField(36))
	logger.Info(svclog.ResponseKey, svclog.ResponseField(svcResponse()))
	caddy.ActiveContext().Logger(svcOwner{}).Info("not here")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []svclog.Kind
	err = svclog.Read(t.Context(), bytes.NewReader(text), svclog.Filter{Zone: time.UTC}, func(r svclog.Record) error {
		if time.Since(r.Time).Abs() > time.Minute || r.Thread != 36 {
			t.Errorf("%+v", r)
		}
		kinds = append(kinds, r.Kind)
		return nil
	})
	if err != nil || fmt.Sprint(kinds) != "[request login_failed response]" {
		t.Errorf("%v %v from\n%s", err, kinds, text)
	}
}

// One request and its response: our two lines against the one entry of Caddy's
// access log in JSON, for the same request in the same run.
func BenchmarkLog(b *testing.B) {
	r := httptest.NewRequest(http.MethodPost, "/api/oauth2/token", http.NoBody)
	entry := svcRequest()
	r.Header, r.Host, r.RemoteAddr = entry.Header, entry.Host, "172.30.6.9:50123"
	form := []byte("grant_type=password&username=benyoung&password=Sixteen%21letters")
	answer := []byte(`{"errorCode":"AccessDenied","message":"Authentication failed","resourceId":null}`)
	responseHeader := http.Header{"Content-Type": {"application/json; charset=utf-8"}, "Server": {"Caddy"}}

	b.Run("lines", func(b *testing.B) {
		logger := zap.New(zapcore.NewCore(svcEncoder(b), zapcore.AddSync(io.Discard), zapcore.InfoLevel))
		b.ReportAllocs()
		for b.Loop() {
			line := svclog.Request{Method: r.Method, Path: r.RequestURI, Header: r.Header, Host: r.Host, Thread: 36}
			line.Body = svclog.MaskBody(nil, r.Header.Get("Content-Type"), "", form, false)
			if entry := logger.Check(zapcore.InfoLevel, svclog.RequestKey); entry != nil {
				entry.Write(svclog.RequestField(&line))
			}
			reply := svclog.Response{Method: r.Method, Path: r.RequestURI, Status: 401, Thread: 36}
			reply.Body = svclog.MaskBody(nil, responseHeader.Get("Content-Type"), "", answer, false)
			if entry := logger.Check(zapcore.InfoLevel, svclog.ResponseKey); entry != nil {
				entry.Write(svclog.ResponseField(&reply))
			}
		}
	})
	b.Run("encoded", func(b *testing.B) {
		e := svcEncoder(b)
		request := []zap.Field{svclog.RequestField(entry)}
		response := []zap.Field{svclog.ResponseField(svcResponse())}
		b.ReportAllocs()
		for b.Loop() {
			for _, fields := range [][]zap.Field{request, response} {
				buf, err := e.EncodeEntry(zapcore.Entry{Time: svcClock{}.Now()}, fields)
				if err != nil {
					b.Fatal(err)
				}
				buf.Free()
			}
		}
	})
	b.Run("caddy", func(b *testing.B) {
		access := &logging.JSONEncoder{}
		if err := access.Provision(caddy.Context{}); err != nil {
			b.Fatal(err)
		}
		logger := zap.New(zapcore.NewCore(access, zapcore.AddSync(io.Discard), zapcore.InfoLevel)).Named("http.log.access")
		b.ReportAllocs()
		for b.Loop() {
			if entry := logger.Check(zapcore.InfoLevel, "handled request"); entry != nil {
				entry.Write(
					zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: r}),
					zap.Int("bytes_read", len(form)), zap.String("user_id", ""), zap.Duration("duration", 73*time.Millisecond),
					zap.Int("size", len(answer)), zap.Int("status", 401),
					zap.Object("resp_headers", caddyhttp.LoggableHTTPHeader{Header: responseHeader}),
				)
			}
		}
	})
}

// This file holds the tests of the command that reads log files.

package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-veeam/veeam-auth/caddymodule/logging"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

const svcHour = `[03.10.2022 10:00:00.000] <36> Info         [User: LAB\svc][GET] request to [/api/v1/jobs?token=hunter2] deserialized. Message: []; Parameters: [Authorization: Bearer hunter2; ].
[03.10.2022 10:00:00.100] <36> Info         [GET /api/v1/jobs?token=hunter2]: [200] {"token":"hunter2"}
[03.10.2022 10:30:00.010] <07> Error        Login failed for user 'bob'.
[03.10.2022 10:30:00.020] <07> Info         [POST /api/oauth2/token]: [401] {"errorCode":"AccessDenied"}
   at Veeam.A.B()
`

// readLog runs the command and returns what it printed, object by object.
func readLog(t *testing.T, input string, args ...string) ([]map[string]any, error) {
	t.Helper()
	cmd := newLogCommand()
	var out, problems bytes.Buffer
	cmd.SetIn(strings.NewReader(input))
	cmd.SetOut(&out)
	cmd.SetErr(&problems)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	if strings.Contains(out.String()+problems.String(), "hunter2") {
		t.Errorf("a secret is printed:\n%s", &out)
	}
	var objects []map[string]any
	for line := range strings.Lines(out.String()) {
		var object map[string]any
		if jsonErr := json.Unmarshal([]byte(line), &object); jsonErr != nil && err == nil {
			t.Errorf("%v: %s", jsonErr, line)
		}
		objects = append(objects, object)
	}
	return objects, err
}

func TestLogCommandPrintsWhatItIsAskedFor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Svc.ResAPI.log")
	if err := os.WriteFile(file, []byte(svcHour), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"everything": {[]string{file}, "request response login_failed response unframed"},
		"stdin":      {[]string{"-"}, "request response login_failed response unframed"},
		"user":       {[]string{"--user", "SVC", file}, "request response"},
		"path":       {[]string{"--path", "/api/oauth2", file}, "response"},
		"status":     {[]string{"--status=4xx,5xx", file}, "response"},
		"since":      {[]string{"--utc", "--since", "03.10.2022 10:30", file}, "login_failed response unframed"},
		"nothing":    {[]string{"--since", "1h", file}, ""},
	} {
		objects, err := readLog(t, svcHour, c.args...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var kinds []string
		for _, object := range objects {
			kinds = append(kinds, object["kind"].(string))
		}
		if got := strings.Join(kinds, " "); got != c.want {
			t.Errorf("%s: %s, not %s", name, got, c.want)
		}
	}
	objects, err := readLog(t, "", "--utc", "--status", "200", file)
	if err != nil || len(objects) != 1 || objects[0]["user"] != `LAB\svc` || objects[0]["time"] != "2022-10-03T10:00:00.1Z" ||
		objects[0]["path"] != "/api/v1/jobs?token=****" || objects[0]["body"] != `{"token":"****"}` {
		t.Errorf("%v %v", objects, err)
	}
}

func TestLogCommandRefusesWhatItDoesNotUnderstand(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	for name, args := range map[string][]string{
		"no file": {}, "two files": {"a", "b"}, "status": {"--status", "x", "-"}, "since": {"--since", "x", "-"},
		"missing": {missing}, "missing, followed": {"-f", missing}, "unknown flag": {"--json", "-"},
	} {
		if _, err := readLog(t, svcHour, args...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// notify is a writer that tells of each write.
type notify struct{ lines chan string }

func (n notify) Write(p []byte) (int, error) {
	n.lines <- string(p)
	return len(p), nil
}

func TestLogCommandFollowsUntilItIsInterrupted(t *testing.T) {
	name := filepath.Join(t.TempDir(), "Svc.ResAPI.log")
	if err := os.WriteFile(name, []byte(svcHour), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, done := notify{make(chan string)}, make(chan error)
	options := logOptions{follow: true, status: "2xx"}
	go func() { done <- options.run(ctx, name, nil, out, time.Now()) }()
	if line := <-out.lines; !strings.Contains(line, `"status":200`) {
		t.Error(line)
	}
	file, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := io.WriteString(file, strings.Split(svcHour, "\n")[1]+"\n"); err != nil {
		t.Fatal(err)
	}
	if line := <-out.lines; !strings.Contains(line, `"status":200`) {
		t.Error(line)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestLogCommandReportsAFullPipe(t *testing.T) {
	var options logOptions
	closed, in := io.Pipe()
	_ = closed.Close()
	err := options.run(t.Context(), "-", strings.NewReader(strings.Repeat(svcHour, 100)), in, time.Now())
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

func TestLogCommandReadsWhatTheEncoderWrites(t *testing.T) {
	encoder := &logging.SvcResAPIEncoder{UTC: true}
	if err := encoder.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	logger := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&out), zapcore.InfoLevel))
	logger.Info(svclog.RequestKey, svclog.RequestField(&svclog.Request{Method: http.MethodPost, Path: "/api/oauth2/token"}))
	logger.Info(svclog.ResponseKey, svclog.ResponseField(&svclog.Response{Method: http.MethodPost, Path: "/api/oauth2/token", Status: http.StatusUnauthorized}))
	objects, err := readLog(t, out.String(), "--utc", "-")
	if err != nil || len(objects) != 2 || objects[0]["kind"] != "request" || objects[1]["user"] != "Anonymous" {
		t.Errorf("%v %v", objects, err)
	}
}

// The log writer veeam_queue as Caddy sees it, and our lines in the form that
// journald reads.

package logging

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/logging"

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

func provisionQueue(t *testing.T, config string) (*QueueWriter, error) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	w := new(QueueWriter)
	if err := json.Unmarshal([]byte(config), w); err != nil {
		t.Fatal(err)
	}
	return w, w.Provision(ctx)
}

func TestQueuesOfOneSizeBeforeOneWriterAreOne(t *testing.T) {
	keys := make(map[string]string)
	for name, config := range map[string]string{
		"default": `{"writer":{"output":"file","filename":"/a"}}`,
		"same":    `{"queue":4096,"writer":{"output":"file","filename":"/a"}}`,
		"smaller": `{"queue":4095,"writer":{"output":"file","filename":"/a"}}`,
		"other":   `{"writer":{"output":"file","filename":"/b"}}`,
		"stdout":  `{"writer":{"output":"stdout"}}`,
	} {
		w, err := provisionQueue(t, config)
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = w.WriterKey()
		if name == "stdout" && w.String() != "stdout" || name == "other" && w.String() != "/b" {
			t.Errorf("%s is called %s", name, w)
		}
	}
	if keys["default"] != keys["same"] {
		t.Errorf("%q", keys)
	}
	delete(keys, "same")
	seen := make(map[string]bool)
	for name, key := range keys {
		if seen[key] {
			t.Errorf("%s has the key of another: %q", name, key)
		}
		seen[key] = true
	}
}

func TestAQueueRefusesConfigurationsThatCannotWork(t *testing.T) {
	for config, want := range map[string]string{
		`{}`: "writer is missing",
		`{"queue":-1,"writer":{"output":"stdout"}}`:         "between 1 and 1048576",
		`{"queue":1048577,"writer":{"output":"stdout"}}`:    "between 1 and 1048576",
		`{"writer":{"output":"nothing"}}`:                   "unknown module",
		`{"writer":{"output":"net","address":"tcp/a:1-2"}}`: "multiple ports",
	} {
		if _, err := provisionQueue(t, config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
	w, err := provisionQueue(t, `{"writer":{"output":"file","filename":"`+t.TempDir()+`"}}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.OpenWriter(); err == nil {
		t.Error("a folder was opened as a log")
	}
}

// A datagram is a line, and so is a link of a chain.
func TestOnlyStreamsGetSeveralLinesAtOnce(t *testing.T) {
	dir := t.TempDir()
	file, chained := filepath.Join(dir, "svc.log"), filepath.Join(dir, "chain.log")
	key, _ := chainKey(t, dir)
	for config, want := range map[string]bool{
		`{"output":"stdout"}`:                          true,
		`{"output":"stderr"}`:                          true,
		`{"output":"file","filename":"` + file + `"}`:  true,
		`{"output":"net","address":"udp/127.0.0.1:9"}`: false,
		`{"output":"log_chain","key_file":"` + key + `","writer":{"output":"file","filename":"` + chained + `"}}`: false,
	} {
		w, err := provisionQueue(t, `{"writer":`+config+`}`)
		if err != nil {
			t.Fatal(err)
		}
		log, err := w.OpenWriter()
		if err != nil {
			t.Fatal(err)
		}
		if got := log.(*lineQueue).stream; got != want {
			t.Errorf("%s: %t", config, got)
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAQueueWritesTheFileBehindIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "svc.log")
	w, err := provisionQueue(t, `{"writer":{"output":"file","filename":"`+file+`"}}`)
	if err != nil {
		t.Fatal(err)
	}
	log, err := w.OpenWriter()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Write([]byte("line\n")); err != nil {
		t.Error(err)
	}
	if q := log.(*lineQueue); q.file != file || q.reopen == nil {
		t.Errorf("the queue does not look after its file: %q", q.file)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "line\n" {
		t.Errorf("%q %v", text, err)
	}
}

// Caddy's encoder journald puts the priority before a line, by which journald
// sorts what a service prints.
func TestEncoderWorksInsideCaddysJournaldEncoder(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	outer := &logging.JournaldEncoder{WrappedRaw: json.RawMessage(`{"format":"svc_resapi","utc":true}`)}
	if err := outer.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	logger, out := svcLogger(outer)
	logger.Info(svclog.RequestKey, svclog.RequestField(svcRequest()))
	logger.Error(svclog.LoginFailed("benyoung"), svclog.ThreadField(36))
	want := "<6>" + svcStamp + "<36> Info         " + svcRequestText + "\n<3>" + svcStamp + "<36> Error        Login failed for user 'benyoung'.\n"
	if out.String() != want {
		t.Errorf("\n got %s\nwant %s", out, want)
	}
}

// The log writer log_chain as Caddy sees it: in its configuration, in a running server, over
// rotations and reloads, and behind a queue.

package logging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-veeam/veeam-auth/internal/logchain"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

// chainKey writes a key to a file, and returns its name and the public key.
func chainKey(t testing.TB, dir string) (file, public string) {
	t.Helper()
	private, public, err := logchain.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "key.pem")
	if err := os.WriteFile(file, []byte(private), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, public
}

// verifyChain fails unless a log is whole.
func verifyChain(t *testing.T, log, public string) *logchain.Report {
	t.Helper()
	key, err := logchain.ParsePublic(public)
	if err != nil {
		t.Fatal(err)
	}
	report, err := logchain.NewVerifier(key).VerifyFile(t.Context(), log)
	if err != nil || !report.Whole() {
		t.Fatalf("%v %+v", err, report)
	}
	return report
}

func openChainOf(t *testing.T, config string) (zapcore.WriteSyncer, func() error) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	w := new(ChainWriter)
	if err := json.Unmarshal([]byte(config), w); err != nil {
		t.Fatal(err)
	}
	if err := w.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	log, err := w.OpenWriter()
	if err != nil {
		t.Fatal(err)
	}
	return zapcore.AddSync(log), log.Close
}

const chainGlobal = `{
	admin off
	persist_config off
	log svc {
		include http.handlers.veeam_auth.svc
		output log_chain {
			key_file %s
			every 500
			copies file %s
			output file %s {
				roll_size 1MiB
				roll_keep 20
			}
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
%s`

// Two configurations one after the other, the second one with another site, and files that
// are rotated: the chain is one.
func TestAChainGoesOnOverReloadsAndRotations(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "Svc.ResAPI.log")
	copies := filepath.Join(dir, "copies.log")
	key, public := chainKey(t, dir)
	for _, site := range []string{"", "http://127.0.0.1:0 {\n\trespond 404\n}\n"} {
		config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(fmt.Appendf(nil, chainGlobal, key, copies, log, site), nil)
		if err != nil || len(warnings) > 0 {
			t.Fatal(err, warnings)
		}
		if err := caddy.Load(config, true); err != nil {
			t.Fatal(err)
		}
		logger := caddy.ActiveContext().Logger(svcOwner{}).Named("svc")
		for range 2000 {
			logger.Info(svclog.RequestKey, svclog.RequestField(svcRequest()))
			logger.Info(svclog.ResponseKey, svclog.ResponseField(svcResponse()))
		}
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	endChains(t.Context())
	report := verifyChain(t, log, public)
	if len(report.Segments) != 1 || !report.Segments[0].Ended || len(report.Files) < 2 || report.Lines != 8000+8000/500+2 {
		t.Errorf("%+v", report)
	}
	if text, err := os.ReadFile(copies); err != nil || bytes.Count(text, []byte("\n")) != report.Segments[0].Signatures {
		t.Errorf("%v copies\n%s", err, text)
	}
}

func TestAChainBehindAQueueGoesOnInAFileThatIsCreatedAgain(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "Svc.ResAPI.log")
	key, public := chainKey(t, dir)
	w, err := provisionQueue(t, fmt.Sprintf(`{"writer":{"output":"log_chain","key_file":%q,"writer":{"output":"file","filename":%q}}}`, key, log))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := w.OpenWriter()
	if err != nil {
		t.Fatal(err)
	}
	q := opened.(*lineQueue)
	put := func(line string) {
		t.Helper()
		if _, err := q.Write([]byte(line + "\n")); err != nil {
			t.Fatal(err)
		}
		q.flush(t.Context())
	}
	put("a")
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	q.looked = time.Time{} // nothing waits, so the queue is not at it
	put("b")
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	report := verifyChain(t, log, public)
	if report.Lines != 2 || len(report.Notes) != 1 || report.Segments[0].First != 3 {
		t.Errorf("%+v", report)
	}
}

// The reader of logs gives the same of a line with and without its place in a chain.
func TestTheReaderOfLogsSeesTheSameInAChain(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	key, _ := chainKey(t, dir)
	out, closed := openChainOf(t, fmt.Sprintf(`{"key_file":%q,"writer":{"output":"file","filename":%q}}`, key, log))
	plain := new(bytes.Buffer)
	for _, sink := range []zapcore.WriteSyncer{out, zapcore.AddSync(plain)} {
		logger := zap.New(zapcore.NewCore(svcEncoder(t, func(e *SvcResAPIEncoder) { e.RequestID = true }), sink, zapcore.InfoLevel), zap.WithClock(svcClock{}))
		logger.Info(svclog.RequestKey, svclog.RequestField(svcRequest()))
		logger.Error(svclog.LoginFailed("benyoung"), svclog.ThreadField(36), zap.Error(os.ErrClosed))
		logger.Info(svclog.ResponseKey, svclog.ResponseField(svcResponse()))
		logger.Info("b", zap.String("token", "hunter2"))
	}
	if err := closed(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	read := func(text []byte) (records []svclog.Record) {
		t.Helper()
		err := svclog.Read(t.Context(), bytes.NewReader(text), svclog.Filter{Zone: time.UTC}, func(r svclog.Record) error {
			records = append(records, r)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return records
	}
	chained, want := read(text), read(plain.Bytes())
	signed := 0
	chained = slices.DeleteFunc(chained, func(r svclog.Record) bool {
		if r.Chain == "" {
			t.Errorf("no place in the chain: %+v", r)
		}
		if strings.HasPrefix(r.Message, "Log chain ") {
			signed++
			return true
		}
		return false
	})
	for i := range chained {
		chained[i].Chain = ""
	}
	got, _ := json.Marshal(chained)
	if expected, _ := json.Marshal(want); !bytes.Equal(got, expected) || signed != 2 || len(want) != 5 {
		t.Errorf("\n got %s\nwant %s\nfrom\n%s", got, expected, text)
	}
}

func TestAChainIsRefusedThatCannotBe(t *testing.T) {
	for input, says := range map[string]string{
		"log_chain {\nkey_file k\n}":                                         "output of log_chain is missing",
		"log_chain {\noutput stderr\n}":                                      "key_file of log_chain is missing",
		"log_chain x {\n}":                                                   "log_chain accepts a block only",
		"log_chain {\nkey_file a b\noutput stderr\n}":                        "key_file of log_chain accepts one value",
		"log_chain {\nkey_file k\nkey_file k\noutput stderr\n}":              "key_file is set twice",
		"log_chain {\nkey_file\n}":                                           "key_file of log_chain requires a value",
		"log_chain {\nevery 0\n}":                                            "every 0: it must be a number of lines",
		"log_chain {\ninterval 1ms\n}":                                       "interval 1ms: it must be a duration",
		"log_chain {\nkey k\n}":                                              "unrecognized option 'key'",
		"log_chain {\nkey_file k\noutput file /x {\nsize 3\n}\n}":            "unrecognized subdirective 'size'",
		"log_chain {\nkey_file k\noutput stderr {\nevery 3\n}\n}":            "stderr accepts no arguments",
		"log_chain {\nkey_file k\noutput nothing\n}":                         "nothing",
		"log_chain {\nkey_file k\ncopies nothing\noutput stderr\nevery 3\n}": "nothing",
	} {
		var w ChainWriter
		if err := w.UnmarshalCaddyfile(caddyfile.NewTestDispenser(input)); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%s: %v", input, err)
		}
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	for config, says := range map[string]string{
		`{"writer":{"output":"stderr"}}`:                                                               "key_file is missing",
		`{"key_file":"k"}`:                                                                             "output is missing",
		`{"key_file":"k","every":-1,"writer":{"output":"stderr"}}`:                                     "every is -1",
		`{"key_file":"k","interval":1,"writer":{"output":"stderr"}}`:                                   "interval is 1ns",
		`{"key_file":"k","writer":{"output":"veeam_queue","writer":{"output":"stderr"}}}`:              "not allowed as its output",
		`{"key_file":"{http.request.uri}","writer":{"output":"stderr"}}`:                               "key_file",
		`{"key_file":"k","writer":{"output":"log_chain","key_file":"k","writer":{"output":"stderr"}}}`: "not allowed as its output",
	} {
		var w ChainWriter
		if err := json.Unmarshal([]byte(config), &w); err != nil {
			t.Fatal(err)
		}
		if err := w.Provision(ctx); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", config, err)
		}
	}
	missing := ChainWriter{KeyFile: filepath.Join(t.TempDir(), "key.pem"), WriterRaw: json.RawMessage(`{"output":"stderr"}`)}
	if err := missing.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := missing.OpenWriter(); err == nil || !strings.Contains(err.Error(), "key.pem") {
		t.Error(err)
	}
}

func TestTheOptionsOfAChainTellChainsApart(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	seen := map[string]string{}
	for _, config := range []string{
		`{"key_file":"k","writer":{"output":"stderr"}}`, `{"key_file":"l","writer":{"output":"stderr"}}`,
		`{"key_file":"k","every":2,"writer":{"output":"stderr"}}`, `{"key_file":"k","interval":2000000000,"writer":{"output":"stderr"}}`,
		`{"key_file":"k","writer":{"output":"stdout"}}`, `{"key_file":"k","writer":{"output":"stderr"},"copies":{"output":"stdout"}}`,
	} {
		w := new(ChainWriter)
		if err := json.Unmarshal([]byte(config), w); err != nil {
			t.Fatal(err)
		}
		if err := w.Provision(ctx); err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[w.WriterKey()]; ok {
			t.Errorf("%s is the chain of %s", config, other)
		}
		seen[w.WriterKey()] = config
	}
}

// The cost of a request and its response with and without their places in a chain, in turns,
// so that a busy machine slows both: to a file, and to nowhere.
func BenchmarkChain(b *testing.B) {
	const turn = 500 // with one checkpoint
	request, response := svclog.RequestField(svcRequest()), svclog.ResponseField(svcResponse())
	compare := func(b *testing.B, outputs [2]io.WriteCloser) {
		b.Helper()
		var loggers [2]*zap.Logger
		best := [2]time.Duration{time.Hour, time.Hour} // turns: others are what else the machine does
		for i, out := range outputs {
			loggers[i] = zap.New(zapcore.NewCore(svcEncoder(b), zapcore.AddSync(out), zapcore.InfoLevel))
			defer out.Close()
		}
		for b.Loop() {
			for i, logger := range loggers {
				began := time.Now()
				for range turn {
					logger.Info(svclog.RequestKey, request)
					logger.Info(svclog.ResponseKey, response)
				}
				best[i] = min(best[i], time.Since(began))
			}
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(best[0].Nanoseconds())/(2*turn), "ns/line")
		b.ReportMetric(float64(best[1].Nanoseconds())/(2*turn), "ns/chained-line")
		b.ReportMetric(float64(best[1])/float64(best[0]), "ratio")
	}
	key, _ := chainKey(b, b.TempDir())
	private, err := logchain.ReadKey(key)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("file", func(b *testing.B) {
		var outputs [2]io.WriteCloser
		for i := range outputs {
			file, err := (&logging.FileWriter{Filename: filepath.Join(b.TempDir(), "log"), RollSizeMB: 1000}).OpenWriter()
			if err != nil {
				b.Fatal(err)
			}
			outputs[i] = file
		}
		outputs[1] = logchain.NewWriter(outputs[1], logchain.Options{Key: private})
		compare(b, outputs)
	})
	b.Run("discarded", func(b *testing.B) {
		nowhere := nopCloser{io.Discard}
		compare(b, [2]io.WriteCloser{nowhere, logchain.NewWriter(nowhere, logchain.Options{Key: private})})
	})
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// caddy validate opens the logs of a configuration, as Caddy does with each of its own. Of a
// chain it reads the key, so that a wrong one is found before it is used; it makes none, and
// writes no line.
func TestValidatingAChainReadsItsKeyAndWritesNothing(t *testing.T) {
	dir := t.TempDir()
	log, copies, key := filepath.Join(dir, "Svc.ResAPI.log"), filepath.Join(dir, "copies.log"), filepath.Join(dir, "key.pem")
	validate := func() error {
		t.Helper()
		text, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(fmt.Appendf(nil, chainGlobal, key, copies, log, ""), nil)
		if err != nil {
			t.Fatal(err)
		}
		config := new(caddy.Config)
		if err := json.Unmarshal(text, config); err != nil {
			t.Fatal(err)
		}
		return caddy.Validate(config)
	}
	if err := validate(); err == nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), "log keygen") || strings.Contains(err.Error(), "RawMessage") {
		t.Errorf("without a key: %v", err)
	}
	if _, err := os.Stat(key); !os.IsNotExist(err) {
		t.Errorf("a key was made: %v", err)
	}
	if err := os.WriteFile(key, []byte("no key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := validate(); err == nil || !strings.Contains(err.Error(), key) || strings.Contains(err.Error(), "no key\n") {
		t.Errorf("with a wrong key: %v", err)
	}
	_, public := chainKey(t, dir)
	if err := validate(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{log, copies} {
		if text, err := os.ReadFile(name); err != nil || len(text) > 0 {
			t.Errorf("%s: %q %v", name, text, err)
		}
	}
	writer, end := openChainOf(t, fmt.Sprintf(`{"key_file": %q, "writer": {"output": "file", "filename": %q}}`, key, log))
	if _, err := writer.Write([]byte("[03.10.2022 11:48:00.000] <01> Info         [GET /api/v1/jobs]: [200] \n")); err != nil {
		t.Fatal(err)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(log); err != nil || !bytes.Equal(before, after) {
		t.Errorf("%v\nbefore: %s\nafter: %s", err, before, after)
	}
	verifyChain(t, log, public)
}

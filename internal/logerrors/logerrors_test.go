// What is reported of a log that cannot be written, and how often.

package logerrors

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// output is what was reported, by several goroutines.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) take() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.text.Reset()
	return o.text.String()
}

// expect compares what was reported since the last call, without times.
func expect(t *testing.T, out *output, want ...string) {
	t.Helper()
	synctest.Wait()
	var lines []string
	for line := range strings.Lines(out.take()) {
		_, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " veeam_auth: ")
		lines = append(lines, text)
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("reported %q, want %q", lines, want)
	}
}

type fullDisk struct{ zapcore.WriteSyncer }

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("write /x: no space left on device") }

func TestReporter_ReportsOnceAndThenEveryInterval(t *testing.T) {
	const first = "a log cannot be written, requests are served without: write /x: no space left on device"
	synctest.Test(t, func(t *testing.T) {
		var out output
		errorOutput := &Reporter{Out: &out}
		logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), fullDisk{}, zapcore.InfoLevel), zap.ErrorOutput(errorOutput))
		var writers sync.WaitGroup
		for range 10 {
			writers.Go(func() {
				for range 100 {
					logger.Info("request")
				}
			})
		}
		writers.Wait()
		synctest.Wait()
		expect(t, &out, first)

		time.Sleep(Interval - time.Second)
		logger.Info("again")
		synctest.Wait()
		expect(t, &out)

		time.Sleep(2 * time.Second)
		expect(t, &out, "a log could still not be written, failures in the last 10m0s: 1000, the last one: write /x: no space left on device")

		time.Sleep(2 * Interval)
		expect(t, &out)
		logger.Info("much later")
		synctest.Wait()
		expect(t, &out, first)
		if err := errorOutput.Sync(); err != nil {
			t.Error(err)
		}
		time.Sleep(Interval)
	})
}

func TestReporter_WritesOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		f := &Reporter{Out: &out}
		if n, err := f.Write([]byte("2026-10-03 11:48:31 +0200 CEST write error: a\n[03.10.2022] b\n")); n != 61 || err != nil {
			t.Error(n, err)
		}
		synctest.Wait()
		expect(t, &out, "a log cannot be written, requests are served without: a [03.10.2022] b")
		time.Sleep(Interval)
	})
}

// What is told of a log that cannot be written, and how often.

package caddymodule

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

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

// told is a standard error to read.
type told struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *told) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.Write(p)
}

// lines gives what was told since the last call, without times.
func (t *told) lines() (lines []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for line := range strings.Lines(t.buf.String()) {
		_, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " veeam_auth: ")
		lines = append(lines, text)
	}
	t.buf.Reset()
	return lines
}

func (t *told) expect(test *testing.T, want ...string) {
	test.Helper()
	if got := t.lines(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		test.Errorf("told %q, want %q", got, want)
	}
}

type fullDisk struct{ zapcore.WriteSyncer }

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("write /x: no space left on device") }

func TestALogThatCannotBeWrittenIsToldOnceAndThenEveryTenMinutes(t *testing.T) {
	const first = "a log cannot be written, requests are served without: write /x: no space left on device"
	synctest.Test(t, func(t *testing.T) {
		var out told
		errorOutput := &failures{out: &out}
		logger := zap.New(zapcore.NewCore(svcEncoder(t), fullDisk{}, zapcore.InfoLevel), zap.ErrorOutput(errorOutput))
		var writers sync.WaitGroup
		for range 10 {
			writers.Go(func() {
				for range 100 {
					logger.Info(svclog.RequestKey, svclog.RequestField(svcRequest()))
				}
			})
		}
		writers.Wait()
		synctest.Wait()
		out.expect(t, first)

		time.Sleep(failuresInterval - time.Second)
		logger.Info("again")
		synctest.Wait()
		out.expect(t)

		time.Sleep(2 * time.Second)
		out.expect(t, "a log could still not be written, failures in the last 10m0s: 1000, the last one: write /x: no space left on device")

		time.Sleep(2 * failuresInterval)
		out.expect(t)
		logger.Info("much later")
		synctest.Wait()
		out.expect(t, first)
		if err := errorOutput.Sync(); err != nil {
			t.Error(err)
		}
		time.Sleep(failuresInterval)
	})
}

func TestWhatIsToldOfALogIsOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out told
		f := &failures{out: &out}
		if n, err := f.Write([]byte("2026-10-03 11:48:31 +0200 CEST write error: a\n[03.10.2022] b\n")); n != 61 || err != nil {
			t.Error(n, err)
		}
		synctest.Wait()
		out.expect(t, "a log cannot be written, requests are served without: a [03.10.2022] b")
		time.Sleep(failuresInterval)
	})
}

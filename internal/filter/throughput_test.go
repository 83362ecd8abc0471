//go:build unix

// How fast the filter is, in processor time, which only Unix tells.

package filter

import (
	"bytes"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"
)

func BenchmarkJSON(b *testing.B) {
	prepare()
	for name, document := range map[string][]byte{
		"list":    list(2000),
		"short":   []byte(`{"data":[` + strings.Repeat(`{"id":"6745a759-2205-4cd2-b172-8ec8f7e60ef8","name":"Nightly","description":"Created by the administrator","size":1024},`, 820) + `{}]}`),
		"text":    []byte(`["` + strings.Repeat("A line of a session log, with words and 17 numbers. ", 20_000) + `"]`),
		"base64":  []byte(`["` + strings.Repeat("TWFuIGlzIGRpc3Rpbmd1aXNoZWQ", 40_000) + `"]`),
		"numbers": []byte(`[` + strings.Repeat("12345.678,", 100_000) + `0]`),
		"secrets": []byte(`[` + strings.Repeat(`{"password":"abcdefgh","token":["x","y"]},`, 20_000) + `0]`),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(document)))
			b.ReportAllocs()
			buf := make([]byte, 32<<10)
			before := processorTime(b)
			for b.Loop() {
				f := JSON(bytes.NewReader(document))
				for {
					if _, err := f.Read(buf); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
			}
			// What others do on this machine counts less in this figure.
			b.ReportMetric(float64(b.N)*float64(len(document))/1e6/(processorTime(b)-before).Seconds(), "MB/cpu-s")
		})
	}
}

// processorTime is what the process has used so far.
func processorTime(tb testing.TB) time.Duration {
	tb.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

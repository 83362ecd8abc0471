// The load generator: wrk, a program in C, so that it costs less than what it measures.

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// load is what one run of wrk has seen and used.
type load struct {
	requests  int
	p50       time.Duration
	processor time.Duration // of wrk itself
}

// wrk is a way to ask.
type wrk struct {
	connections int
	seconds     int
	url         string
	header      []string // lines "Name: value"
	script      string   // a file in Lua
}

// run asks until the time has passed. Answers other than 2xx and 3xx, and requests without
// an answer, are an error.
func (w wrk) run(ctx context.Context) (load, error) {
	args := []string{"--latency", "-t1", fmt.Sprint("-c", w.connections), fmt.Sprintf("-d%ds", w.seconds), "--timeout", "10s"}
	for _, line := range w.header {
		args = append(args, "-H", line)
	}
	if w.script != "" {
		args = append(args, "-s", w.script)
	}
	cmd := exec.CommandContext(ctx, "wrk", append(args, w.url)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			err = errors.New("wrk is not in PATH: apt-get install wrk")
		}
		return load{}, fmt.Errorf("%w %s", err, out.Bytes())
	}
	l, err := readWrk(out.String())
	l.processor = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return l, err
}

var (
	wrkRequests = regexp.MustCompile(`(?m)^\s*(\d+) requests in `)
	wrkMedian   = regexp.MustCompile(`(?m)^\s*50%\s+([0-9.]+)(us|ms|s)\s*$`)
	wrkFailure  = regexp.MustCompile(`(?m)^\s*(Non-2xx or 3xx responses: .*|Socket errors: .*)$`)
)

// readWrk reads what wrk prints.
func readWrk(out string) (l load, err error) {
	if failure := wrkFailure.FindStringSubmatch(out); failure != nil {
		return l, errors.New(failure[1])
	}
	requests, median := wrkRequests.FindStringSubmatch(out), wrkMedian.FindStringSubmatch(out)
	if requests == nil || median == nil {
		return l, fmt.Errorf("unexpected output of wrk: %q", out)
	}
	l.requests, err = strconv.Atoi(requests[1])
	if err != nil {
		return l, err
	}
	if l.requests == 0 {
		return l, errors.New("no request was answered in time")
	}
	l.p50, err = time.ParseDuration(median[1] + median[2])
	return l, err
}

// post writes a script that has wrk send a body of JSON.
func post(dir, body string) (script string, err error) {
	script = filepath.Join(dir, "post.lua")
	text := fmt.Sprintf("wrk.method = \"POST\"\nwrk.body = %s\nwrk.headers[\"Content-Type\"] = \"application/json\"\n", luaString(body))
	return script, os.WriteFile(script, []byte(text), 0o600)
}

// luaString quotes with as many equals signs as the text requires.
func luaString(s string) string {
	level := ""
	for strings.Contains(s+"]", "]"+level+"]") {
		level += "="
	}
	return "[" + level + "[" + s + "]" + level + "]"
}

// Tests of reading what wrk prints.

package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

const wrkPrints = `Running 2s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.32ms    1.20ms  19.92ms   80.00%
    Req/Sec     7.01k   250.00     7.50k    70.00%
  Latency Distribution
     50%  MEDIAN
     75%    4.99ms
     90%    5.70ms
     99%    8.11ms
  13950 requests in 2.00s, 25.30MB read
Requests/sec:   6975.00
Transfer/sec:     12.65MB
`

func TestWhatWrkPrintsIsRead(t *testing.T) {
	for median, want := range map[string]time.Duration{"812.00us": 812 * time.Microsecond, "4.20ms": 4200 * time.Microsecond, "1.05s ": 1050 * time.Millisecond} {
		got, err := readWrk(strings.Replace(wrkPrints, "MEDIAN", median, 1))
		if err != nil || got != (load{requests: 13950, p50: want}) {
			t.Errorf("%s: got %+v, %v", median, got, err)
		}
	}
}

func TestFailedRequestsOfWrkAreAnError(t *testing.T) {
	good := strings.Replace(wrkPrints, "MEDIAN", "4.20ms", 1)
	for _, line := range []string{"  Non-2xx or 3xx responses: 13950\n", "  Socket errors: connect 0, read 3, write 0, timeout 0\n"} {
		if _, err := readWrk(strings.Replace(good, "Requests/sec", line+"Requests/sec", 1)); err == nil || !strings.Contains(line, err.Error()) {
			t.Errorf("got %v for %q", err, line)
		}
	}
	if _, err := readWrk("unable to connect"); err == nil {
		t.Error("no error for other output")
	}
}

func TestABodyIsQuotedForLua(t *testing.T) {
	for body, want := range map[string]string{`{"a":1}`: `[[{"a":1}]]`, `[[1]]`: `[=[[[1]]]=]`, ``: `[[]]`} {
		if got := luaString(body); got != want {
			t.Errorf("%s: got %s, want %s", body, got, want)
		}
	}
}

func TestWorkloadsNameProxiesOfTheTable(t *testing.T) {
	known := make(map[string]bool)
	for _, p := range proxies {
		known[p.name] = true
	}
	for _, w := range workloads {
		names := append([]string{w.ref}, w.proxies...)
		for name := range w.goals {
			names = append(names, name)
		}
		for _, name := range names {
			if name != "" && !known[name] {
				t.Errorf("%s: there is no proxy %q", w.name, name)
			}
		}
	}
}

// The answer to an operation that is not documented is searched, which costs more than what
// a workload is to show.
func TestWorkloadsAskForDocumentedOperations(t *testing.T) {
	index, ok := operation.For("vbr")
	if !ok {
		t.Fatal("there is no index of operations")
	}
	for _, w := range workloads {
		method := http.MethodGet
		if w.post {
			method = http.MethodPost
		}
		if op, ok := index.Lookup(method, w.path, ""); !ok || op.Class == operation.Secret {
			t.Errorf("%s: %s %s is of class %v", w.name, method, w.path, op.Class)
		}
	}
}

// Clients: many requests at once, and what came of them.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// newClient keeps as many connections as there are clients.
func newClient(clients int) *http.Client {
	return &http.Client{
		Timeout: time.Minute,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
			MaxIdleConnsPerHost: clients,
			DisableCompression:  true,
		},
	}
}

// tally counts outcomes.
type tally struct {
	mu       sync.Mutex
	outcomes map[string]int // status, or error
	took     []time.Duration
	requests int
	failed   int

	unanswered int // of the failed ones: without a status
}

// kindOf leaves out of an error what is different each time.
func kindOf(err error) string {
	if call, ok := errors.AsType[*url.Error](err); ok {
		err = call.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// add counts one request.
func (t *tally) add(status int, err error, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	outcome := fmt.Sprint(status)
	if err != nil {
		outcome = kindOf(err)
		t.unanswered++
	}
	if t.outcomes == nil {
		t.outcomes = make(map[string]int)
	}
	t.outcomes[outcome]++
	t.took = append(t.took, took)
	t.requests++
	if err != nil || status < 200 || status > 299 {
		t.failed++
	}
}

// failures says which outcomes were not good, "0" if all were.
func (t *tally) failures() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed == 0 {
		return fmt.Sprintf("0 of %d", t.requests)
	}
	var kinds []string
	for _, outcome := range slices.Sorted(maps.Keys(t.outcomes)) {
		kinds = append(kinds, fmt.Sprintf("%d × %s", t.outcomes[outcome], outcome))
	}
	return fmt.Sprintf("%d of %d: %s", t.failed, t.requests, strings.Join(kinds, ", "))
}

// count is how many requests had this status.
func (t *tally) count(status int) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int64(t.outcomes[fmt.Sprint(status)])
}

// send makes one request and reads the answer to its end.
func send(ctx context.Context, client *http.Client, method, address string, header http.Header) (status int, err error) {
	return sendWith(ctx, client, address, func(req *http.Request) {
		req.Method = method
		maps.Copy(req.Header, header)
	})
}

// sendWith makes a GET that prepare may change.
func sendWith(ctx context.Context, client *http.Client, address string, prepare func(*http.Request)) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return 0, err
	}
	prepare(req)
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

// stampede has many clients send one request each at the same moment.
func stampede(ctx context.Context, address string, clients int) *tally {
	client := newClient(clients)
	defer client.CloseIdleConnections()
	t := new(tally)
	now := make(chan struct{})
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			<-now
			begun := time.Now()
			status, err := send(ctx, client, http.MethodGet, address, nil)
			t.add(status, err, time.Since(begun))
		})
	}
	close(now)
	wg.Wait()
	return t
}

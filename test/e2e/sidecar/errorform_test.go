// The error documents of the products: what a refusal of the sidecar's own must
// look like to a client that knows nothing of it.

package sidecar

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// refusedAs checks that an answer is an error with this status in the product's
// own form.
func (a *answer) refusedAs(t *testing.T, p *product, atToken bool, status int) {
	t.Helper()
	a.want(t, status)
	contentType := "application/json"
	if p.problem {
		contentType = "application/problem+json"
	}
	if got := a.header.Get("Content-Type"); !strings.HasPrefix(got, contentType) {
		t.Errorf("%s: Content-Type %q", p.name, got)
	}
	keys := p.errors
	switch {
	case p.name == vspc.name && atToken:
		keys = []string{"error", "error_description", "error_uri"}
	case p.name == azure.name && status == http.StatusBadRequest:
		keys = []string{"type", "title", "status", "detail", "errors", "traceId"}
	}
	if got := keysOf(t, a.body); !slices.Equal(got, keys) {
		t.Errorf("%s: an error document with the keys %q, not %q: %v", p.name, got, keys, a)
	}
	a.statusInBody(t, p, atToken)
	if status == http.StatusTooManyRequests {
		a.retryAfter(t)
	}
}

// retryAfter is how many seconds an answer asks to wait.
func (a *answer) retryAfter(t *testing.T) int {
	t.Helper()
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		t.Errorf("%d with Retry-After %q", a.status, a.header.Get("Retry-After"))
	}
	return seconds
}

// statusInBody checks the status that some documents repeat.
func (a *answer) statusInBody(t *testing.T, p *product, atToken bool) {
	t.Helper()
	var doc struct {
		Status    int
		ErrorCode string
		Error     string
		Errors    json.RawMessage
	}
	a.into(t, &doc)
	switch {
	case p.name == vspc.name && atToken:
		if doc.Error == "" {
			t.Errorf("no error: %v", a)
		}
	case p.name == vspc.name:
		var list []struct {
			Message, Type string
			Code          int
		}
		if json.Unmarshal(doc.Errors, &list) != nil || len(list) != 1 || list[0].Code != a.status || list[0].Type == "" || list[0].Message == "" {
			t.Errorf("%v", a)
		}
	case slices.Contains(p.errors, "errorCode"):
		if doc.ErrorCode == "" {
			t.Errorf("no errorCode: %v", a)
		}
	}
	if p.problem && doc.Status != a.status {
		t.Errorf("the document says status %d: %v", doc.Status, a)
	}
}

// keysOf are the keys of a JSON object in their order.
func keysOf(t *testing.T, object []byte) (keys []string) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(object))
	if token, err := dec.Token(); err != nil || token != json.Delim('{') {
		t.Fatalf("no JSON object: %.300s", object)
	}
	for dec.More() {
		key, err := dec.Token()
		var value json.RawMessage
		if err == nil {
			err = dec.Decode(&value)
		}
		if err != nil {
			t.Fatalf("%v: %.300s", err, object)
		}
		keys = append(keys, key.(string))
	}
	return keys
}

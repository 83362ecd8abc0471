package veeam

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"regexp"
	"testing"
	"time"
)

// A new kind without a word, and a word without a row, fail here.
func TestEveryKindHasOneReason(t *testing.T) {
	if kind := KindWrongUser; int(kind) != len(kindRows)-1 {
		t.Errorf("the last kind here is %v; there are %d rows", kind, len(kindRows)-1)
	}
	for k := Kind(1); int(k) < len(kindRows); k++ {
		row := kindRows[k]
		if row.name == "" || row.reason == "" {
			t.Errorf("kind %d has no row", k)
			continue
		}
		if _, ok := reasonRows[row.reason]; !ok {
			t.Errorf("%v: the reason %q is not in the table", k, row.reason)
		}
		if !row.reason.Row().Account {
			t.Errorf("%v: %q is no reason of an account", k, row.reason)
		}
		if got := ReasonOf(fmt.Errorf("wrapped: %w", &Error{Kind: k})); got != row.reason {
			t.Errorf("%v: got %q, want %q", k, got, row.reason)
		}
	}
	for _, k := range []Kind{0, -1, Kind(len(kindRows))} {
		if k.Reason() != ReasonInternal || k.String() != "unknown fault" {
			t.Errorf("kind %d: %q, %q", k, k.Reason(), k)
		}
	}
}

func TestTheVocabularyIsClosed(t *testing.T) {
	word := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	if len(reasonRows) != len(reasonTable) {
		t.Errorf("%d words for %d rows", len(reasonRows), len(reasonTable))
	}
	for _, row := range Reasons() {
		if !word.MatchString(string(row.Reason)) || row.Meaning == "" || row.Action == "" {
			t.Errorf("%+v", row)
		}
		if (row.Status == 0) != row.Reason.Healthy() || (row.form == nil) != row.Reason.Healthy() {
			t.Errorf("%s: status %d, form %v", row.Reason, row.Status, row.form)
		}
		if row.Status == 0 && !row.Account {
			t.Errorf("%s is the reason of nothing", row.Reason)
		}
	}
	if got := Reason("nonsense").Row().Reason; got != ReasonInternal {
		t.Errorf("a word outside the vocabulary is %q", got)
	}
}

type reasoner Reason

func (r reasoner) Error() string  { return "an error of its own" }
func (r reasoner) Reason() Reason { return Reason(r) }

func TestAnErrorHasOneReason(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	unknown := &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
	expired, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	for name, tt := range map[string]struct{ got, want Reason }{
		"nil":                  {ReasonOf(nil), ReasonOK},
		"other":                {ReasonOf(errors.New("x")), ReasonInternal},
		"deadline":             {ReasonOf(fmt.Errorf("x: %w", context.DeadlineExceeded)), ReasonTimeout},
		"canceled":             {ReasonOf(context.Canceled), ReasonCanceled},
		"code":                 {ReasonOf(&Error{Kind: KindRefused, Grant: GrantMFA}), ReasonCodeRefused},
		"cause knows more":     {ReasonOf(&Error{Kind: KindTLS, Err: reasoner(ReasonPin)}), ReasonPin},
		"cause knows nothing":  {ReasonOf(&Error{Kind: KindTLS, Err: unknown}), ReasonTLS},
		"dial":                 {TransportReason(t.Context(), refused), ReasonUnreachable},
		"certificate":          {TransportReason(t.Context(), unknown), ReasonTLS},
		"transport, own":       {TransportReason(t.Context(), fmt.Errorf("x: %w", reasoner(ReasonPin))), ReasonPin},
		"transport, deadline":  {TransportReason(expired, errors.New("x")), ReasonTimeout},
		"transport, client":    {TransportReason(t.Context(), context.Canceled), ReasonCanceled},
		"dial inside an error": {ReasonOf(transportError(t.Context(), refused, nil)), ReasonUnreachable},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %q, want %q", name, tt.got, tt.want)
		}
	}
}

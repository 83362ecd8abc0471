package journal

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-veeam/veeam-auth/tokencache"
)

func TestAMessageThatEveryRequestCausesIsWrittenOnceInAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		var said Seldom
		fail := func(err error) {
			j := New(zap.New(core), httptest.NewRequest(http.MethodGet, "/api/v1/jobs", http.NoBody))
			j.NoSession(err, " Advice.", &said)
		}
		hold := func() error {
			return &tokencache.BlockedError{Cause: errors.New("refused"), Held: true, Until: time.Now().Add(time.Minute)}
		}
		first := hold()
		for range 1000 { // in 20 seconds
			fail(first)
			time.Sleep(20 * time.Millisecond)
		}
		second := hold()
		fail(second)
		fail(errors.New("the secret is empty"))
		fail(second)
		var got []string
		for _, entry := range logs.All() {
			got = append(got, entry.Message)
		}
		const withheld = " Further requests refused for this reason since the last such line: "
		if len(got) != 4 || strings.Contains(got[0], withheld) || !strings.HasSuffix(got[1], " Advice."+withheld+"499.") ||
			strings.Contains(got[2], withheld) || !strings.Contains(got[3], "the secret is empty") {
			t.Errorf("%d lines:\n%s", len(got), strings.Join(got, "\n"))
		}
	})
}

func TestWhatIsSaidSeldomIsBounded(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.InfoLevel)
	var said Seldom
	for i := range 3 * maxSeldomKinds {
		said.Error(zap.New(core), fmt.Sprint(i), "m")
		said.Error(zap.New(core), fmt.Sprint(i), "m")
	}
	if len(said.kinds) > maxSeldomKinds || logs.Len() != 3*maxSeldomKinds {
		t.Errorf("%d kinds, %d lines", len(said.kinds), logs.Len())
	}
	(*Seldom)(nil).Error(zap.New(core), "", "m")
	if logs.Len() != 3*maxSeldomKinds+1 {
		t.Error("without a Seldom nothing is written")
	}
}

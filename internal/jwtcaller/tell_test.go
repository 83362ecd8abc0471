package jwtcaller

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-veeam/veeam-auth/internal/events"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// The line says until when the last keys count, if there are any.
func TestTheLineOfAFailureSaysHowLongTheLastKeysCount(t *testing.T) {
	t.Parallel()
	for _, until := range []time.Time{{}, time.Unix(1e9, 0)} {
		core, lines := observer.New(zapcore.ErrorLevel)
		telling := Telling{Count: func(_, _ string) {}, Emit: func(events.Event) {}, Log: func() *zap.Logger { return zap.New(core) }}
		telling.Tell(Report{Provider: "k8s", Reason: veeam.ReasonUnreachable, Err: errors.New("down"), Until: until, Changed: true})
		if _, says := lines.All()[0].ContextMap()["until"]; says == until.IsZero() {
			t.Errorf("until %v: %v", until, lines.All()[0].ContextMap())
		}
	}
}

// Who is told of attempts to read keys.

package jwtcaller

import (
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/events"
)

// Telling tells of attempts to read keys: each is counted, and the first failure in a row
// is logged and raises an event. All fields are required. What they do outlives
// configurations.
type Telling struct {
	// Count counts an attempt: ok, or a word of the closed vocabulary of reasons.
	Count func(provider, result string)

	// Emit raises an event.
	Emit func(events.Event)

	// Log returns the current log of the process.
	Log func() *zap.Logger
}

// Tell tells of an attempt.
func (t Telling) Tell(r Report) {
	t.Count(r.Provider, string(r.Reason))
	if !r.Changed {
		return
	}
	logger := t.Log().With(zap.String("provider", r.Provider), zap.String("reason", string(r.Reason)))
	if !r.Until.IsZero() { // which there is without any keys
		logger = logger.With(zap.Time("until", r.Until))
	}
	if r.Err == nil {
		logger.Info("the keys of the identity provider can be read again")
		return
	}
	logger.Error("the keys of the identity provider cannot be read: the last keys stay in use until then; without keys, its callers are refused", zap.Error(r.Err))
	t.Emit(events.KeysFailing(r.Provider, string(r.Reason), r.Until))
}

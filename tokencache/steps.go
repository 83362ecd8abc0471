// The used steps of verification codes, for all processes.

package tokencache

import (
	"context"
	"crypto/sha256"
)

// A step that is further ahead than this was recorded by a process whose clock
// was wrong: no server has taken its code.
const stepsAhead = 10

// stepRecord is the value of a key of the store.
type stepRecord struct {
	Step int64 `json:"step"`
}

// TakeStep implements totp.Steps: a step is recorded before its code is sent, and
// no step twice.
func (s *Shared) TakeStep(ctx context.Context, seed [sha256.Size]byte, step int64) (last int64, taken bool, err error) {
	sealer, err := s.options.Keys()
	if err != nil {
		return 0, false, s.keyless(err)
	}
	name := sealer.Name("totp", string(seed[:]))
	at := place{key: "veeam_auth/totp/" + name, associated: associated("totp", name), sealer: sealer}
	err = update(ctx, s, at, nil, func(found *stepRecord) *stepRecord {
		if found != nil && found.Step >= step && found.Step-step <= stepsAhead {
			last = found.Step
			return nil
		}
		taken = true
		return &stepRecord{Step: step}
	})
	return last, taken && err == nil, err
}

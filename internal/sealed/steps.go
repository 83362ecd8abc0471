// The used steps of verification codes, for all processes.

package sealed

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
func (s *Store) TakeStep(ctx context.Context, seed [sha256.Size]byte, step int64) (last int64, taken bool, err error) {
	sealer, err := s.Sealer()
	if err != nil {
		return 0, false, err
	}
	name := sealer.Name("totp", string(seed[:]))
	at := RecordKey{Key: "veeam_auth/totp/" + name, Bound: Join("totp", name), Sealer: sealer}
	err = Update(ctx, s, at, nil, func(found *stepRecord) *stepRecord {
		if found != nil && found.Step >= step && found.Step-step <= stepsAhead {
			last = found.Step
			return nil
		}
		taken = true
		return &stepRecord{Step: step}
	})
	return last, taken && err == nil, err
}

// Messages that every request would cause.

package journal

import (
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// seldomInterval is how often a message that goes on is written again.
	seldomInterval = 10 * time.Second

	maxSeldomKinds = 1000
)

// Seldom lets the first of many messages of a kind be written at once, and then one in ten
// seconds, with the number of those that were withheld. At most 1000 kinds are remembered. The
// zero value remembers nothing.
type Seldom struct {
	mu    sync.Mutex
	kinds map[string]*kind
}

type kind struct {
	last     time.Time
	withheld int
}

// Say reports whether a message of the kind is to be written, and how many were withheld
// since the last one. Without a Seldom every message is.
func (s *Seldom) Say(of string) (withheld int, say bool) {
	if s == nil {
		return 0, true
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.kinds[of]
	switch {
	case k != nil && now.Sub(k.last) < seldomInterval:
		k.withheld++
		return 0, false
	case k == nil && len(s.kinds) >= maxSeldomKinds:
		clear(s.kinds) // what is written once more does no harm
	}
	if s.kinds == nil {
		s.kinds = make(map[string]*kind)
	}
	s.kinds[of] = &kind{last: now}
	if k != nil {
		withheld = k.withheld
	}
	return withheld, true
}

// Error writes an error to a log if one of the kind is to be written.
func (s *Seldom) Error(log *zap.Logger, of, message string, fields ...zap.Field) {
	withheld, say := s.Say(of)
	if !say {
		return
	}
	if withheld > 0 {
		fields = append(fields, zap.Int("withheld", withheld))
	}
	log.Error(message, fields...)
}

// more says in a sentence how many were withheld.
func more(withheld int) string {
	if withheld == 0 {
		return ""
	}
	return " Further requests refused for this reason since the last such line: " + strconv.Itoa(withheld) + "."
}

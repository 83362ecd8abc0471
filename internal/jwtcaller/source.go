// Where the keys of a provider come from, and how long they count.

package jwtcaller

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/pool"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

const (
	// fetchTimeout is how long one attempt to read the keys takes at most.
	fetchTimeout = 10 * time.Second

	// urlInterval and fileInterval are the shortest times between two attempts, whatever
	// the tokens of requests say.
	urlInterval  = 10 * time.Second
	fileInterval = time.Second

	// filePeriod is how often a file is read.
	filePeriod = 5 * time.Second
)

// Report is the result of an attempt to read the keys of a provider.
type Report struct {
	// Provider is the name of the provider in the configuration.
	Provider string

	// Reason is a word of the closed vocabulary, veeam.ReasonOK after a success. Err is
	// the error, which has nothing of an answer or a token.
	Reason veeam.Reason
	Err    error

	// Changed reports whether the attempt before has had another result. There is a success
	// before the first attempt.
	Changed bool

	// Until is when the last keys that were read cease to count, zero without keys.
	Until time.Time
}

// place identifies where keys come from, and with which limits.
type place struct {
	provider, file, url, ca, tokenFile string
	every, maxAge                      time.Duration
}

// source has the keys of a provider, over reloads.
type source struct {
	place    place
	fetch    func(ctx context.Context) ([]byte, error)
	interval time.Duration // the shortest time between attempts
	tell     func(Report)

	set   atomic.Pointer[keySet]
	good  atomic.Int64 // when the keys were read last, in nanoseconds since 1970
	tried atomic.Int64 // when the last attempt began

	flight bounded.Flight[error]
	failed atomic.Bool // the last attempt has
	files  map[string]*file

	ctx    context.Context //nolint:containedctx // the end of the source, which no caller has
	cancel context.CancelFunc
	start  sync.Once
	loop   sync.WaitGroup
}

// sources are those of the process: a reload does not read the keys again.
var sources = pool.New[place]((*source).stop)

func newSource(at place, tell func(Report)) *source {
	s := &source{place: at, tell: tell, interval: urlInterval, files: make(map[string]*file)}
	for _, name := range []string{at.file, at.ca, at.tokenFile} {
		s.files[name] = new(file)
	}
	s.fetch = s.fetchURL
	if at.file != "" {
		s.interval = fileInterval
		s.fetch = func(ctx context.Context) ([]byte, error) { return s.readFile(ctx, "jwks_file", at.file, maxDocument) }
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// begin reads the keys, and again before they are too old, until stop.
func (s *source) begin() {
	s.start.Do(func() {
		s.loop.Go(func() {
			for s.ctx.Err() == nil {
				if wait := s.due(time.Now()); wait > 0 {
					timer := time.NewTimer(wait)
					select {
					case <-s.ctx.Done():
						timer.Stop()
					case <-timer.C:
					}
					continue
				}
				_ = s.refresh(s.ctx) // which has told it
			}
		})
	})
}

// due returns when the next attempt is due: soon after one that has failed.
func (s *source) due(now time.Time) time.Duration {
	wait := s.place.every
	if s.failed.Load() {
		wait = min(wait, s.interval)
	}
	return min(wait, wait-s.since(now)) // the clock may have been put back
}

// since returns how long ago the last attempt began.
func (s *source) since(now time.Time) time.Duration {
	return time.Duration(now.UnixNano() - s.tried.Load())
}

func (s *source) stop() {
	s.cancel()
	s.loop.Wait()
}

// current returns the keys that count at a time, nil if there are none or they are too
// old.
func (s *source) current(now time.Time) *keySet {
	if now.UnixNano()-s.good.Load() >= int64(s.place.maxAge) {
		return nil
	}
	return s.set.Load()
}

// key returns the key of a token, and the set that has it. If the key is not known, the
// keys are read again, unless that was tried a moment ago.
func (s *source) key(ctx context.Context, id, algorithm string) (*keySet, crypto.PublicKey, error) {
	set := s.current(time.Now())
	if set != nil {
		public, err := set.find(id, algorithm)
		if !errors.Is(err, errKeyUnknown) {
			return set, public, err
		}
	}
	failed := s.refresh(ctx)
	if set = s.current(time.Now()); set == nil {
		if errors.Is(failed, context.Canceled) {
			return nil, nil, failed
		}
		return nil, nil, &Error{reason: veeam.ReasonJWKS, text: "the keys of the provider cannot be read, or were read too long ago; see Caddy's log", RetryAfter: s.interval}
	}
	public, err := set.find(id, algorithm)
	return set, public, err
}

// refresh reads the keys, unless that was tried a moment ago, and waits for it. All who
// ask meanwhile share one attempt.
func (s *source) refresh(ctx context.Context) error {
	if s.flight.Ended() == nil && s.tooSoon() {
		return nil
	}
	result := s.flight.Join(ctx, 2*fetchTimeout, func(*bounded.LateError) (error, error) { return s.attempt(), nil })
	if result.Err != nil {
		return result.Err
	}
	return result.Value
}

func (s *source) tooSoon() bool {
	since := s.since(time.Now())
	return since >= 0 && since < s.interval
}

// attempt reads the keys once. The flight makes one attempt at a time.
func (s *source) attempt() error {
	if s.tooSoon() {
		return nil // another attempt has ended in between
	}
	began := time.Now()
	s.tried.Store(began.UnixNano())
	ctx, cancel := context.WithTimeout(s.ctx, fetchTimeout)
	defer cancel()
	set, err := s.read(ctx)
	if err == nil {
		if old := s.set.Load(); old == nil || old.sum != set.sum {
			s.set.Store(set)
		}
		s.good.Store(began.UnixNano())
	}
	if s.ctx.Err() == nil { // the end of the configuration is no failure
		s.report(err)
	}
	return err
}

// read reads the keys.
func (s *source) read(ctx context.Context) (*keySet, error) {
	document, err := s.fetch(ctx)
	if err != nil {
		return nil, err
	}
	set, err := parseKeys(document)
	if err != nil && s.place.file != "" {
		err = fmt.Errorf("jwks_file %s: %w", s.place.file, err)
	}
	if err != nil {
		return nil, &readError{veeam.ReasonUnexpectedAnswer, err}
	}
	return set, nil
}

func (s *source) report(err error) {
	r := Report{Provider: s.place.provider, Reason: veeam.ReasonOf(err), Err: err}
	r.Changed = s.failed.Swap(err != nil) != (err != nil)
	if good := s.good.Load(); good > 0 {
		r.Until = time.Unix(0, good).Add(s.place.maxAge)
	}
	s.tell(r)
}

// readError is why the keys could not be read.
type readError struct {
	reason veeam.Reason
	err    error
}

func (e *readError) Error() string        { return e.err.Error() }
func (e *readError) Unwrap() error        { return e.err }
func (e *readError) Reason() veeam.Reason { return e.reason }

// Left returns for each provider of the process how long its keys count if they cannot be
// read again, 0 without keys. If several providers have one name, it is the shortest time.
func Left(now time.Time) map[string]time.Duration {
	shortest := make(map[string]time.Duration)
	for at, s := range sources.All() {
		var left time.Duration
		if good := s.good.Load(); good > 0 {
			left = max(0, time.Unix(0, good).Add(at.maxAge).Sub(now))
		}
		if before, known := shortest[at.provider]; !known || left < before {
			shortest[at.provider] = left
		}
	}
	return shortest
}

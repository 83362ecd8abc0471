// Records that nobody needs any more: those of secrets that were replaced, and of
// accounts that are gone.

package sealed

import (
	"context"
	"slices"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/store"
)

const (
	// sweepEvery is how often a process looks for old records, with the first login
	// after that time.
	sweepEvery = 24 * time.Hour

	// keptFor is how long a record is kept that nobody has written to. A session is
	// written with every renewal, and no refresh token lives longer than two weeks.
	keptFor = 30 * 24 * time.Hour

	sweepFor = time.Minute
)

// folders are where records lie.
var folders = []string{"veeam_auth/sessions", "veeam_auth/totp", "veeam_auth/pace", "veeam_auth/tries", "veeam_auth/guesses", store.HoldersFolder}

// Sweep has old records of one more folder removed, which belongs to this process.
func (s *Store) Sweep(folder string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweeps = append(s.sweeps, folder)
}

// folders are where records lie that this process may remove.
func (s *Store) folders() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(slices.Clone(folders), s.sweeps...)
}

// RemoveOld removes the records of a folder that nobody has written to for a month.
func RemoveOld(ctx context.Context, to *store.Attachment, folder string) {
	old, err := to.Before(ctx, folder, time.Now().Add(-keptFor))
	if err != nil {
		return
	}
	for _, key := range old {
		_ = to.Delete(ctx, key)
	}
}

// sweepSometimes removes old records in the background, once in a while. A record
// that is taken up again in that very moment is lost, which costs a login.
func (s *Store) sweepSometimes(to *store.Attachment) {
	now := time.Now()
	last := s.swept.Load()
	if last != 0 && now.Sub(time.Unix(last, 0)) < sweepEvery || !s.swept.CompareAndSwap(last, now.Unix()) {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), sweepFor)
		defer cancel()
		for _, folder := range s.folders() {
			RemoveOld(ctx, to, folder)
		}
	}()
}

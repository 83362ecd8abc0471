// What outlives a configuration: sessions that live, and what is known of servers.

package upstream

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/events"
	"github.com/caddy-veeam/veeam-auth/internal/pool"
	"github.com/caddy-veeam/veeam-auth/internal/totp"
)

// State is what outlives a configuration: live sessions, which the next configuration
// takes over, and what is known of servers, such as versions, rates and tries. A
// process has one.
type State struct {
	// Events gets what happens to accounts.
	Events events.Emitter

	sessions *pool.Pool[sessionKey, *Session]
	sending  *pool.Pool[sessionKey, chan struct{}] // held while a credential of an account is sent
	caches   *pool.Pool[string, *Cache]
	accounts accountTable
	versions versionCache
	rates    rateMap
	tries    triesMap
	codes    totp.Ledger // the verification codes that were used
	servers  serverTable
	books    bookTable

	certificates certificates

	logouts bounded.Group // under way
	exiting atomic.Bool   // no request is left that a logout could disturb
}

// NewState returns an empty State.
func NewState() *State {
	s := &State{accounts: accountTable{accounts: make(map[configuredAccount]*accountEntry)}}
	s.sessions = pool.NewGrouped(sessionKey.group, func(session *Session) { session.background(session.end) })
	s.sending = pool.New[sessionKey](func(chan struct{}) {})
	s.caches = pool.New[string](func(*Cache) {})
	return s
}

// Find returns the live sessions of an account at a product, at the server of an origin, or
// else at servers whose origin contains the text. An empty text matches any.
func (s *State) Find(account, product, origin string) (found []*Session) {
	exact := false
	for k, session := range s.sessions.All() {
		if cmp.Or(account, k.account) == k.account && cmp.Or(product, k.product) == k.product && strings.Contains(k.origin, origin) {
			found, exact = append(found, session), exact || k.origin == origin
		}
	}
	if exact { // vbr01:443 is not vbr01:4430
		found = slices.DeleteFunc(found, func(s *Session) bool { return s.key.origin != origin })
	}
	slices.SortFunc(found, func(a, b *Session) int {
		return cmp.Or(cmp.Compare(a.key.account, b.key.account), cmp.Compare(a.key.origin, b.key.origin), cmp.Compare(a.key.user, b.key.user))
	})
	return found
}

// Names returns the names of the configured accounts, sorted.
func (s *State) Names() []string { return s.accounts.names() }

// Exit waits for the running logouts, until ctx ends and at most 5 seconds. No session
// may be used after it.
func (s *State) Exit(ctx context.Context) {
	s.exiting.Store(true)
	done := make(chan struct{})
	go func() {
		s.logouts.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	case <-time.After(LogoutFor):
	}
}

// Settle waits for all logouts without a time limit. The State may be used after it. It
// is for the end of tests.
func (s *State) Settle() {
	s.exiting.Store(true)
	defer s.exiting.Store(false)
	time.Sleep(2 * ReplacedEvery) // who sleeps may begin another one
	s.logouts.Wait()
}

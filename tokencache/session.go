// One upstream session: the lock-free read of its token and the single flight
// that gets a new one.

package tokencache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/caddy-veeam/veeam-auth/internal/lockout"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
)

// Defaults of Options.
const (
	DefaultRefreshBefore = time.Minute
	DefaultGrantTimeout  = 90 * time.Second
	DefaultHoldLeast     = time.Minute
	DefaultHoldShared    = 5 * time.Minute // with a shared store, where replicas and restarts add tries
	DefaultHoldMost      = 30 * time.Minute
)

// Options are the options of a Session. The zero value is ready for use.
type Options struct {
	// RefreshBefore is how long before its expiry a token is renewed in the background,
	// at most a third of the token's lifetime. Default: 1m.
	RefreshBefore time.Duration

	// GrantTimeout is the time limit of one grant with all its steps, including the
	// wait for the next TOTP code. Default: 90s.
	GrantTimeout time.Duration

	// HoldLeast is the first hold of a refused credential. Up to a fifth is added at
	// random, and each refusal doubles it, up to HoldMost. Defaults: 1m, or 5m with
	// Shared, and 30m.
	HoldLeast, HoldMost time.Duration

	// Header is the name of the request header for the token, and Prefix precedes the
	// token there. Default: Authorization with "Bearer ".
	Header, Prefix string

	// Shared keeps the session for other processes and for the next start. Default: not
	// shared.
	Shared *sealed.Store

	// Identity identifies the session. Required with Shared.
	Identity Identity

	// HoldOnly shares only the hold of a refused credential and runs one grant at a
	// time in all processes. Each process has its own token.
	HoldOnly bool

	// ReadExtra decodes Token.Extra from its JSON. Default: a token from the store has
	// no Extra.
	ReadExtra func(json.RawMessage) any

	// ReasonOf returns a word for the error of a grant, which other processes get with
	// its text. Default: none.
	ReasonOf func(error) string

	// Budget returns the remaining tries of the session's credential. If none is left,
	// a refused credential is held until there is one. Default: not counted.
	Budget func() lockout.Budget

	// LookAtBudget has Budget know the tries of other processes, too. It is called before
	// a hold of another process is taken over. Default: Budget knows them.
	LookAtBudget func(context.Context)

	// Turned is called when the standing of the credential may have changed, without a
	// lock: with the hold if it is held, otherwise with nil. It may be called with the
	// same hold again and must not block. Default: not called.
	Turned func(turn Turn, hold *BlockedError)

	// Joined is called when a caller of Get begins to wait for a grant, with the context
	// of Get. Default: not called.
	Joined func(context.Context)

	// LeftBehind is called when the lease of another process is taken over that it took at a
	// time: the server may have a session that the other one did not store. Default: not
	// called.
	LeftBehind func(since time.Time)

	// Discard is called with tokens that nobody will use because another process was
	// faster. Default: they expire.
	Discard func(*Token)
}

// GrantFunc gets a token from the server. prev is the session's current token or nil.
// If it is Renewable its refresh token should be tried first, and if the server refuses
// that, the GrantFunc calls prev.Exhaust. ctx ends with the time limit of the grant,
// not with the request that caused it.
//
// The error may have three methods: CredentialRefused() bool tells that the server has
// refused the credential, which starts a hold. Suspends() bool tells that a person has
// to act before the next grant. Delay() time.Duration is how long the server has asked
// to wait. Any other error is temporary.
type GrantFunc func(ctx context.Context, prev *Token) (*Token, error)

// Session is the upstream session of one account on one server. All methods may
// be called from any goroutine. An idle session has no goroutine and no timer.
type Session struct {
	id      uint64 // in this process
	options Options
	current atomic.Pointer[Token]
	renewal atomic.Bool // a background renewal is under way
	waiters atomic.Int64

	pinging atomic.Pointer[context.CancelFunc] // stops the pings of a server that hangs, see ping; nil if there are none
	asked   atomic.Int64                       // when a token was needed meanwhile, unix nanoseconds

	floor     atomic.Uint64          // fence of the latest token that the session had
	blockedAt atomic.Uint64          // fence of the last hold
	looked    atomic.Int64           // when the store was read last, unix nanoseconds
	quiet     atomic.Int64           // until when no renewal begins in the background, unix nanoseconds
	holder    atomic.Pointer[string] // who is getting a token
	past      atomic.Pointer[past]   // lets the next grant begin; nil as a rule

	mu       sync.Mutex
	spare    *Token // the last token that was rejected
	block    *BlockedError
	refusals int    // of the credential, since it was good last
	accepted moment // when the credential was accepted last
	got      moment // when the last grant has succeeded
	renewed  moment // when the last renewal has succeeded
	streak   int    // other failures in a row
	blame    blame
	ahead    *sealed.Ahead // a hold or pause in the store, nil as a rule
}

// NewSession returns a session without a token.
func NewSession(options Options) *Session {
	return &Session{id: lastSession.Add(1), options: options.complete()}
}

// lastSession is the id of the latest session of this process. Sessions outlive a reload.
var lastSession atomic.Uint64

// Adapt has RefreshBefore, HoldLeast, HoldMost and Budget of other options count from now
// on. The token that is in use and a hold that is in force stay as they are.
func (s *Session) Adapt(options Options) {
	options = options.complete()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options.RefreshBefore, s.options.HoldLeast, s.options.HoldMost = options.RefreshBefore, options.HoldLeast, options.HoldMost
	s.options.Budget, s.options.LookAtBudget = options.Budget, options.LookAtBudget
}

// Options returns the options with their defaults, and as Adapt has changed them.
func (s *Session) Options() Options {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.options
}

// budget is what is left of the tries of the credential. s.mu is held.
func (s *Session) budget() lockout.Budget {
	if s.options.Budget == nil {
		return lockout.Budget{}
	}
	return s.options.Budget()
}

func (options Options) complete() Options {
	if options.RefreshBefore <= 0 {
		options.RefreshBefore = DefaultRefreshBefore
	}
	if options.GrantTimeout <= 0 {
		options.GrantTimeout = DefaultGrantTimeout
	}
	if options.HoldLeast <= 0 {
		options.HoldLeast = DefaultHoldLeast
		if options.Shared != nil {
			options.HoldLeast = DefaultHoldShared
		}
	}
	if options.HoldMost <= 0 {
		options.HoldMost = DefaultHoldMost
	}
	options.HoldMost = max(options.HoldMost, options.HoldLeast)
	return options
}

// Current returns the token if it may be used now, and whether it is due for renewal.
// It takes no lock and allocates nothing.
func (s *Session) Current(now time.Time) (tok *Token, due bool) {
	tok = s.current.Load()
	if !tok.usable(now) {
		return nil, true
	}
	return tok, tok.due(now)
}

// Get returns a token that may be used now. If there is none, the first caller starts a
// grant and all others wait for it. A caller whose ctx ends returns, and the grant
// continues for the others. After a failure Get returns a *BlockedError at once until
// its hold or pause has ended.
func (s *Session) Get(ctx context.Context, grant GrantFunc) (*Token, error) {
	now := time.Now()
	if tok, _ := s.Current(now); tok != nil {
		return tok, nil
	}
	if blocked := s.stopped(now); blocked != nil {
		return nil, blocked
	}
	return s.await(ctx, grant)
}

// await waits for the one grant.
func (s *Session) await(ctx context.Context, grant GrantFunc) (*Token, error) {
	s.waiters.Add(1)
	defer s.waiters.Add(-1)
	if s.options.Joined != nil {
		s.options.Joined(ctx)
	}
	for {
		select {
		case result := <-s.fly(ctx, grant):
			if result.Err != nil {
				return nil, result.Err
			}
			// A flight that was about to end when it was joined brings a token that may have
			// been used and rejected before: the caller may be the one who rejected it.
			if tok := result.Val.(*Token); !tok.Rejected() {
				return tok, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// MayRenew reports whether Renew is worth calling: no renewal is running, and none was
// found to be held within the last second. It takes no lock and allocates nothing.
func (s *Session) MayRenew(now time.Time) bool {
	return !s.renewal.Load() && now.UnixNano() >= s.quiet.Load()
}

// Renew starts a renewal in the background, unless one is running or the last one
// failed a moment ago. The current token stays in use meanwhile, and if the renewal
// fails.
func (s *Session) Renew(ctx context.Context, grant GrantFunc) {
	if !s.renewal.CompareAndSwap(false, true) {
		return
	}
	now := time.Now()
	if blocked := s.stopped(now); blocked != nil {
		until := now.Add(lookEvery)
		if !blocked.Suspended && blocked.Until.Before(until) {
			until = blocked.Until
		}
		s.quiet.Store(until.UnixNano())
		s.renewal.Store(false)
		return
	}
	go func() {
		defer s.renewal.Store(false)
		<-s.fly(ctx, grant)
	}()
}

// fly starts the one grant or joins it.
func (s *Session) fly(ctx context.Context, grant GrantFunc) <-chan singleflight.Result {
	ctx = context.WithoutCancel(ctx)
	return flights.DoChan(s.flight(), func() (any, error) {
		return s.renew(ctx, grant)
	})
}

// flights are the running grants of all sessions. A group for each would take more memory
// of an idle session than its token.
var flights singleflight.Group

// flight is the key of the session in flights.
func (s *Session) flight() string { return strconv.FormatUint(s.id, 36) }

func (s *Session) renew(ctx context.Context, grant GrantFunc) (*Token, error) {
	now := time.Now()
	prev, spare := s.current.Load(), (*Token)(nil)
	if prev.usable(now) && !prev.due(now) {
		return prev, nil // a flight ended between the caller's look and this one
	}
	if blocked := s.stopped(now); blocked != nil {
		return nil, blocked
	}
	if prev == nil {
		spare = s.takeSpare()
		prev = spare
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.GrantTimeout)
	defer cancel()
	obtain := s.grantAlone
	if s.options.Shared != nil {
		obtain = s.sharedGrant
	}
	tok, err := obtain(ctx, grant, prev)
	if err != nil && !refused(err) {
		s.returnSpare(spare) // its refresh token may yet be needed
	}
	return tok, err
}

// grantAlone gets a token for this process only.
func (s *Session) grantAlone(ctx context.Context, grant GrantFunc, prev *Token) (*Token, error) {
	tok, err := s.ask(ctx, grant, prev)
	if err != nil {
		return nil, s.failed(err)
	}
	tok.fence = s.floor.Load() + 1
	s.succeeded(tok)
	return tok, nil
}

// ask runs the grant and makes its token fit for use.
func (s *Session) ask(ctx context.Context, grant GrantFunc, prev *Token) (*Token, error) {
	s.past.Store(nil)
	if err := s.spaceLogins(ctx, prev); err != nil {
		return nil, err
	}
	tok, err := protect(ctx, grant, prev)
	if err != nil {
		return nil, err
	}
	if prev != nil && tok.Refresh.Equal(prev.Refresh) {
		tok.refreshSince = prev.refreshSince
	}
	tok.arm(s.Options())
	if !tok.usable(time.Now()) {
		return nil, errDeadOnArrival
	}
	return tok, nil
}

var (
	errDeadOnArrival = errors.New("the grant took longer than the lifetime of the token")
	errNoToken       = errors.New("the grant returned neither a token nor an error")
)

// protect turns a panic of a grant into an error: in a goroutine of its own it
// would end the process.
func protect(ctx context.Context, grant GrantFunc, prev *Token) (tok *Token, err error) {
	defer func() {
		if r := recover(); r != nil {
			// The value may quote a secret: its type has to do.
			tok, err = nil, fmt.Errorf("the grant panicked with a %T", r)
		}
	}()
	tok, err = grant(ctx, prev)
	if err == nil && (tok == nil || tok.Access.IsZero()) {
		return nil, errNoToken
	}
	return tok, err
}

func (s *Session) succeeded(tok *Token) {
	if tok.Static { // the grant of a key sends nothing
		tok.keyAccepted = func() { s.turned(TurnAccepted, nil) }
	} else {
		defer s.turned(TurnAccepted, nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.block, s.spare = nil, nil
	s.blame.lostTokens.outlived(s.current.Load(), time.Now())
	s.floor.Store(tok.fence)
	s.got.advance(tok.Requested)
	switch {
	case tok.Login:
		s.accepted.advance(tok.Requested)
	case !tok.loaded, moment(tok.Requested.UnixNano()) > s.accepted:
		s.renewed.advance(tok.Requested)
	}
	if !tok.Static { // a key is only good when it has been accepted
		s.refusals, s.streak = 0, 0
	}
	s.current.Store(tok)
}

func (s *Session) takeSpare() *Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	spare := s.spare
	s.spare = nil
	return spare
}

func (s *Session) returnSpare(spare *Token) {
	if spare == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spare == nil {
		s.spare = spare
	}
}

// Waiting returns the number of callers that wait for a grant.
func (s *Session) Waiting() int64 { return s.waiters.Load() }

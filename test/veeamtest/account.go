// Accounts: who may log in, and the memory that a server keeps about each.

package veeamtest

import (
	"crypto/sha1"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Account is a user of the emulated server.
type Account struct {
	Username string
	Password string

	// TOTPSecret is a Base32 seed. When set, the password alone leads to an MFA challenge
	// (at VBR, which has no MFA over REST: to a refusal).
	TOTPSecret string

	// MFA marks a VBR user that is not a service account on a server with MFA on: REST logins are refused.
	MFA bool

	// ReadOnly makes every token of the account read-only: anything but GET, HEAD and OPTIONS is answered 403.
	ReadOnly bool

	// RedirectTo marks an Azure user of an identity provider: the response to a
	// password contains this address and no tokens.
	RedirectTo string

	// ClientID and Assertion are the credentials of a VB365 user for the grants of an
	// identity provider.
	ClientID, Assertion string

	// Tenant marks a user of Enterprise Manager whose name and password are in the body
	// of the login, in addition to the Basic credentials of another user.
	Tenant bool

	UID  string // default: a UUID made from the name
	Role string // default: the product's administrator
}

// The default accounts of a server. WithAccount replaces them.
const (
	DefaultUser        = "svc-monitor"
	DefaultPassword    = "monitor-pass-1"
	DefaultMFAUser     = "svc-mfa"
	DefaultMFAPassword = "mfa-pass-1"
	DefaultTOTPSecret  = "JBSWY3DPEHPK3PXP"
	DefaultClientID    = "5c1c7a3e-1c5e-4f62-9c0a-2f0a6b1f0d11"
	DefaultAssertion   = "eyJhbGciOiJub25lIn0.eyJhdWQiOiJ2YjM2NSJ9.YXNzZXJ0aW9u"
)

func defaultAccounts() []Account {
	return []Account{
		{Username: DefaultUser, Password: DefaultPassword, ClientID: DefaultClientID, Assertion: DefaultAssertion},
		{Username: DefaultMFAUser, Password: DefaultMFAPassword, TOTPSecret: DefaultTOTPSecret, MFA: true},
	}
}

// account is an Account with what the server remembers about it. All fields are guarded by Server.mu.
type account struct {
	Account
	families    []*family // logins that may still be alive
	lastStep    int64     // newest TOTP step that was spent
	scratch     []string  // codes that replace a TOTP code once each
	failures    int
	lastFailure time.Time
}

func (s *Server) addAccount(a Account) {
	if a.UID == "" {
		sum := sha1.Sum([]byte(strings.ToLower(a.Username)))
		a.UID = fmt.Sprintf("%x-%x-5%03x-8%03x-%x", sum[0:4], sum[4:6], uint16(sum[6])<<4|uint16(sum[7]>>4), uint16(sum[8])<<4|uint16(sum[9]>>4), sum[10:16])
	}
	a.MFA = a.MFA || a.TOTPSecret != ""
	if a.Role == "" {
		a.Role = s.product.defaultRole
	}
	added := &account{Account: a}
	if a.TOTPSecret != "" && s.product.scratchCodes {
		added.scratch = newScratchCodes()
		s.issued = append(s.issued, added.scratch...)
	}
	s.accounts[strings.ToLower(a.Username)] = added
}

// account finds a user by name, ignoring case as Windows does. The caller holds s.mu.
func (s *Server) account(name string) *account {
	return s.accounts[strings.ToLower(name)]
}

func (s *Server) accountByUID(uid string) *account {
	for _, a := range s.accounts {
		if strings.EqualFold(a.UID, uid) {
			return a
		}
	}
	return nil
}

// accountNamed finds a user by what a path may call it. The caller holds s.mu.
func (s *Server) accountNamed(id string) *account {
	if a := s.accountByUID(id); a != nil {
		return a
	}
	return s.account(id)
}

// SetPassword changes the password of user. Tokens issued before remain valid. It
// panics if there is no such user.
func (s *Server) SetPassword(user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.account(user)
	if a == nil {
		panic("veeamtest: no account " + user)
	}
	a.Password = password
}

// SetAssertion changes the assertion of user. It panics if there is no such user.
func (s *Server) SetAssertion(user, assertion string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.account(user)
	if a == nil {
		panic("veeamtest: no account " + user)
	}
	a.Assertion = assertion
}

// locked reports whether too many wrong secrets were sent for a. The caller holds s.mu.
func (s *Server) locked(a *account) bool {
	if s.cfg.lockoutAfter == 0 || a.failures < s.cfg.lockoutAfter {
		return false
	}
	if s.now().Sub(a.lastFailure) >= s.cfg.lockoutWindow {
		a.failures = 0
		return false
	}
	return true
}

// failed notes a wrong secret. The caller holds s.mu.
func (s *Server) failed(a *account) {
	now := s.now()
	if now.Sub(a.lastFailure) >= s.cfg.lockoutWindow {
		a.failures = 0
	}
	a.failures++
	a.lastFailure = now
}

// listAccounts returns a copy of every account, sorted by name.
func (s *Server) listAccounts() []Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Account
	for _, name := range slices.Sorted(maps.Keys(s.accounts)) {
		all = append(all, s.accounts[name].Account)
	}
	return all
}

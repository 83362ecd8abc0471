// The login at a Vault.

package secretsource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// vaultSession has the token of a Vault.
type vaultSession struct {
	login VaultLogin

	mu     sync.Mutex
	text   secret.Value
	expiry time.Time // zero: it does not end
}

// token returns a token; fresh if it was got or read just now. Without a login it is empty.
func (s *vaultSession) token(ctx context.Context, v *Vault) (token string, fresh bool, err error) {
	switch {
	case s.login.Token != "":
		token, err = s.login.Expand(s.login.Token)
		if err != nil {
			return "", false, fmt.Errorf("the token of vault: %w", err)
		}
		return token, true, nil
	case s.login.Mount == "":
		return "", true, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.text.IsZero() && (s.expiry.IsZero() || time.Now().Before(s.expiry)) {
		return s.text.Reveal(), false, nil
	}
	fields := make(map[string]string, len(s.login.Fields))
	for name, text := range s.login.Fields {
		if fields[name], err = s.login.Expand(text); err != nil {
			return "", false, fmt.Errorf("the %s of vault: %w", name, err)
		}
	}
	body, err := json.Marshal(fields)
	if err != nil {
		return "", false, err
	}
	answer, err := v.ask(ctx, http.MethodPost, "auth/"+s.login.Mount+"/login", "", body)
	if err != nil {
		return "", false, loginError{err}
	}
	if answer.Auth == nil || answer.Auth.Token == "" {
		return "", false, loginError{errors.New("the answer has no token")}
	}
	s.text, s.expiry = secret.New(answer.Auth.Token), time.Time{}
	if lease := time.Duration(answer.Auth.Lease) * time.Second; lease > 0 {
		s.expiry = time.Now().Add(lease / 5 * 4)
	}
	return s.text.Reveal(), true, nil
}

// drop forgets a token that is refused, and reports whether another can be got.
func (s *vaultSession) drop(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.text.Reveal() == token {
		s.text = secret.Value{}
	}
	return s.login.Mount != ""
}

// loginError is the error of a login. What is absent is the auth method, not the secret.
type loginError struct{ err error }

func (e loginError) Error() string { return "the login at vault failed: " + e.err.Error() }

// Is tells whether the error may pass by itself.
func (e loginError) Is(target error) bool {
	return target == secret.ErrUnavailable && errors.Is(e.err, secret.ErrUnavailable)
}

// The outcome of a grant: what its error means, what the cache keeps of its token, and
// what the metrics count.

package upstream

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// unansweredError is the error of a grant that got no answer. Its Ping finds out whether
// the server answers again.
type unansweredError struct {
	error
	client *veeam.Client
}

func (e *unansweredError) Unwrap() error { return e.error }

// Ping sends the server a request without a credential.
func (e *unansweredError) Ping(ctx context.Context) error { return e.client.Ping(ctx) }

// unanswered completes the error of a grant that got no answer.
func unanswered(err error, client *versionedClient) error {
	if !noAnswer(err) {
		return err
	}
	return &unansweredError{err, client.Client}
}

// noAnswer reports whether the server has a token request and does not answer it.
func noAnswer(err error) bool {
	if _, ok := errors.AsType[*ParentError](err); ok {
		return false // the parent's session asks
	}
	failed, ok := errors.AsType[*veeam.Error](err)
	return ok && failed.Kind == veeam.KindTimeout && !failed.Unsent
}

// OtherProduct returns the warning that a login has worked at a server of another
// product.
func OtherProduct(configured, found *veeam.Product) string {
	return "the server answers the login like " + found.Title + ", not like " + configured.Title + ": set product " + found.Name
}

const usedHint = "the secret of this grant is valid for a single login and was used: configure a new one, or enter one: caddy veeam-auth sessions credential"

// singleUse reports whether the account's secret is valid for one login. It is
// not sent again then: a server may take that for an attack and end the session
// that came of it.
func singleUse(a *veeam.Account) bool {
	return a.Grant == veeam.GrantRefreshToken || a.Grant == veeam.GrantMFA || a.Grant == veeam.GrantAuthorizationCode && a.Parent == nil
}

// keyFault makes a failed call with an API key the fault of its grant. A key whose
// user may not do this, or that the server understands too little of, works.
func keyFault(err error) error {
	failed, ok := errors.AsType[*veeam.Error](err)
	switch {
	case !ok:
		return err
	case failed.Kind == veeam.KindForbidden, failed.Kind == veeam.KindProtocol:
		return nil
	}
	fault := *failed
	fault.Grant = veeam.GrantAPIKey
	return &fault
}

// spent reports whether the server has taken a secret for one login: it has accepted or
// refused it, or asks for a code.
func spent(err error) bool {
	failed, ok := errors.AsType[*veeam.Error](err)
	_, asked := errors.AsType[*veeam.MFAChallengeError](err)
	return err == nil || asked || ok && failed.Kind == veeam.KindRefused
}

// fallsBack reports whether a login may help where a refresh did not.
func fallsBack(err error) bool {
	var failed *veeam.Error
	if !errors.As(err, &failed) {
		return false
	}
	switch failed.Kind {
	case veeam.KindRefused, veeam.KindMFARequired, veeam.KindSSORequired, veeam.KindProtocol, veeam.KindMalformed,
		veeam.KindAccount, veeam.KindWrongUser:
		return true
	}
	return false
}

// cached is a token as the cache keeps it, with the shape of the server's answer.
func cached(tok *veeam.Token) *tokencache.Token {
	return &tokencache.Token{
		Access:    tok.Access,
		Refresh:   tok.Refresh,
		Requested: tok.Requested,
		Lifetime:  tok.Lifetime,
		Static:    tok.Grant == veeam.GrantAPIKey,
		Extra:     tok.Shape,
	}
}

// ShapeOf returns the shape of the server's latest token answer, or nil.
func ShapeOf(tok *tokencache.Token) *veeam.Shape {
	shape, _ := tok.Extra.(*veeam.Shape)
	return shape
}

// resultOK and resultMFA are results of a token request beside the reasons of
// failures.
const (
	resultOK  = string(veeam.ReasonOK)
	resultMFA = "mfa" // the server wanted a verification code, which was sent next
)

// observe counts the token requests of one grant.
func (s *Server) observe(grant veeam.Grant, start time.Time, tok *veeam.Token, err error) {
	if grant == "" {
		grant = veeam.GrantPassword
	}
	count := func(step veeam.Grant, result string) {
		s.Metrics.Grants.WithLabelValues(s.Product.Name, string(step), result).Inc()
	}
	s.Metrics.GrantSeconds.WithLabelValues(s.Product.Name, string(grant)).Observe(time.Since(start).Seconds())
	last, result := grant, resultOK
	var failed *veeam.Error
	switch {
	case err == nil:
		last = tok.Grant
	case errors.As(err, &failed):
		last, result = failed.Grant, string(failed.Reason())
	default:
		result = string(veeam.ReasonOf(err))
	}
	if last == veeam.GrantMFA && grant != veeam.GrantMFA {
		count(grant, resultMFA)
	}
	count(last, result)
}

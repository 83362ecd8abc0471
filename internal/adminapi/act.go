// Who has done what, for the log.

package adminapi

import (
	"context"
	"net/http"
	"strconv"

	"github.com/caddy-veeam/veeam-auth/internal/process"
)

// Act is something that an operator has done.
type Act struct {
	// Name is the last part of the path, such as login or revoke.
	Name string

	// Account and Server name the session, Client whose tokens. Empty where they do not
	// apply.
	Account, Server, Client string

	// Operator is who has done it, empty if that is not known. Address is from where.
	Operator, Address string

	// Forced reports that it was done although it could lock the user.
	Forced bool

	// Err is why it has failed, nil if it has not. It holds no secret.
	Err error
}

type operatorKey struct{}

// WithOperator names the operator for the requests of a context.
func WithOperator(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, operatorKey{}, name)
}

// Operator is the name of the operator of a request: that of WithOperator, or the common
// name of a client certificate that was verified, or empty.
func Operator(r *http.Request) string {
	if name, ok := r.Context().Value(operatorKey{}).(string); ok && name != "" {
		return name
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return r.TLS.VerifiedChains[0][0].Subject.CommonName
	}
	return ""
}

// tell tells of an act with its operator.
func tell(told func(Act), r *http.Request, act Act) {
	if told == nil {
		return
	}
	act.Operator, act.Address = Operator(r), addressOf(r)
	told(act)
}

// addressOf is from where a request has come. At a unix socket it is the user, if that is
// known: whoever connects there may choose its address.
func addressOf(r *http.Request) string {
	if !process.OverUnix(r.Context()) {
		return r.RemoteAddr
	}
	if peer, ok := process.PeerOfRequest(r.Context()); ok {
		return "unix uid " + strconv.Itoa(peer.UID)
	}
	return "unix"
}

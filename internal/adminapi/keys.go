// The keys of clients: list, issue, rotation and revocation.

package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/keys"
)

// Keys implements the endpoints for the keys of clients.
type Keys struct {
	// Holders has the configured clients. Required.
	Holders *issuer.Holders

	// Tell is told what operators do. Default: nobody is told.
	Tell func(Act)
}

// Paths of the admin endpoints for keys.
const (
	KeysPath      = "/veeam_auth/keys"
	IssueKeyPath  = KeysPath + "/issue"
	RotateKeyPath = KeysPath + "/rotate"
	RevokeKeyPath = KeysPath + "/revoke"
)

// Routes returns the handlers by their paths.
func (k Keys) Routes() map[string]Handler {
	return map[string]Handler{
		KeysPath:      guarded(k.list),
		IssueKeyPath:  posting(mostBody, func(o KeyOrder) bool { return o.Client != "" && o.Seconds > 0 }, `{"client": "<name>", "seconds": <number>}`, k.issue),
		RotateKeyPath: posting(mostBody, func(r KeyRotation) bool { return r.Name != "" && r.Overlap >= 0 && r.Seconds >= 0 }, `{"name": "<key>", "overlap_seconds": <number>}`, k.rotate),
		RevokeKeyPath: posting(mostBody, func(r KeyRevocation) bool { return r.Name != "" }, `{"name": "<key>"}`, k.revoke),
	}
}

// KeyOrder is the body of a request to IssueKeyPath.
type KeyOrder struct {
	Client string `json:"client"`
	Name   string `json:"name,omitempty"` // default: one that begins with the client's
	keys.Scope

	// Seconds is how long the key is valid.
	Seconds int64 `json:"seconds"`
}

// KeyRotation is the body of a request to RotateKeyPath.
type KeyRotation struct {
	Name    string `json:"name"`
	Overlap int64  `json:"overlap_seconds"` // how long the old key stays valid

	// Seconds is how long the new key is valid. Default: as long as the old one was issued
	// for.
	Seconds int64 `json:"seconds,omitempty"`
}

// KeyRevocation is the body of a request to RevokeKeyPath.
type KeyRevocation struct {
	Name string `json:"name"`
}

// IssuedKey is the answer of IssueKeyPath and RotateKeyPath: the only one with a key.
type IssuedKey struct {
	Key string `json:"key"`
	keys.State
}

func (Keys) list(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return &Error{http.StatusMethodNotAllowed, errors.New("use GET")}
	}
	states, err := keys.List(r.Context(), time.Now())
	if err != nil {
		return &Error{http.StatusServiceUnavailable, err}
	}
	return answer(w, states)
}

func (k Keys) issue(w http.ResponseWriter, r *http.Request, order KeyOrder) error {
	if !k.Holders.Configured(order.Client) {
		return &Error{http.StatusNotFound, fmt.Errorf("no client named %q is configured%s", order.Client, k.configured())}
	}
	return k.hand(w, r, "issue", order.Client, func(ctx context.Context, stored *keys.Keys) (string, keys.State, error) {
		return stored.Issue(ctx, keys.Order{Client: order.Client, Name: order.Name, Scope: order.Scope, For: lasting(order.Seconds)})
	})
}

func (k Keys) rotate(w http.ResponseWriter, r *http.Request, body KeyRotation) error {
	return k.hand(w, r, "rotate", body.Name, func(ctx context.Context, stored *keys.Keys) (string, keys.State, error) {
		return stored.Rotate(ctx, body.Name, lasting(body.Overlap), lasting(body.Seconds))
	})
}

// lasting is a number of seconds, not more than a duration can hold.
func lasting(n int64) time.Duration {
	return time.Duration(min(n, int64(2*keys.MaxLifetime/time.Second))) * time.Second
}

// hand has a key made and answers with it.
func (k Keys) hand(w http.ResponseWriter, r *http.Request, name, of string, issue func(context.Context, *keys.Keys) (string, keys.State, error)) error {
	stored, err := theKeys()
	if err != nil {
		return err
	}
	text, state, err := issue(r.Context(), stored)
	if err == nil {
		of = state.Client + "/" + state.Name
	}
	tell(k.Tell, r, Act{Name: "key " + name, Client: of, Err: err})
	if err != nil {
		return refused(err)
	}
	return answer(w, IssuedKey{text, state})
}

func (k Keys) revoke(w http.ResponseWriter, r *http.Request, body KeyRevocation) error {
	stored, err := theKeys()
	if err != nil {
		return err
	}
	err = stored.Revoke(r.Context(), body.Name)
	tell(k.Tell, r, Act{Name: "key revoke", Client: body.Name, Err: err})
	if err != nil {
		return refused(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// refused is an error of an operator, or of the storage.
func refused(err error) error {
	if _, ok := errors.AsType[*keys.OrderError](err); ok {
		return &Error{http.StatusBadRequest, err}
	}
	return &Error{http.StatusServiceUnavailable, err}
}

// theKeys are the keys of the storage. While a configuration with another storage is
// loaded there are two.
func theKeys() (*keys.Keys, error) {
	live := keys.Live()
	switch len(live) {
	case 1:
		return live[0], nil
	case 0:
		return nil, &Error{http.StatusNotFound, errors.New("no veeam_auth is configured")}
	}
	return nil, &Error{http.StatusServiceUnavailable, errors.New("the storage is being changed: try again in a moment")}
}

// configured lists the configured clients.
func (k Keys) configured() string {
	var names []string
	for _, s := range k.Holders.List(time.Now()) {
		if s.Configured {
			names = append(names, s.Client)
		}
	}
	if len(names) == 0 {
		return "; write client <name> { ... } in the configuration"
	}
	return "; configured: " + strings.Join(names[:min(len(names), 20)], ", ")
}

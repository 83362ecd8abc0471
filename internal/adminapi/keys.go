// The keys of clients: list, issue, rotation and revocation.

package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/keys"
)

// Keys implements the endpoints for the keys of clients.
type Keys struct {
	// Holders has the configured clients. Required.
	Holders *issuer.Holders

	// Accounts returns the names of the configured accounts. Required.
	Accounts func() []string

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
	if err := noKeys(order.Client, order.Name, order.Account); err != nil {
		return err
	}
	if !k.Holders.Configured(order.Client) {
		return &Error{http.StatusNotFound, notConfigured("client", order.Client, k.clients())}
	}
	// A UUID is a user of an account that acts as users.
	if names := k.Accounts(); order.Account != "" && !account.IsUUID(order.Account) && !slices.Contains(names, order.Account) {
		return &Error{http.StatusNotFound, notConfigured("account", order.Account, names)}
	}
	return k.hand(w, r, "issue", order.Client, func(ctx context.Context, stored *keys.Keys) (string, keys.State, error) {
		return stored.Issue(ctx, keys.Order{Client: order.Client, Name: order.Name, Scope: order.Scope, For: lasting(order.Seconds)})
	})
}

func (k Keys) rotate(w http.ResponseWriter, r *http.Request, body KeyRotation) error {
	if err := noKeys(body.Name); err != nil {
		return err
	}
	return k.hand(w, r, "rotate", body.Name, func(ctx context.Context, stored *keys.Keys) (string, keys.State, error) {
		return stored.Rotate(ctx, body.Name, lasting(body.Overlap), lasting(body.Seconds))
	})
}

// noKeys refuses a key in the place of a name, which errors and the log would repeat.
func noKeys(names ...string) error {
	if slices.ContainsFunc(names, keys.Within) {
		return &Error{http.StatusBadRequest, errors.New("write the name of the key, not the key itself; caddy veeam-auth keys list shows the names")}
	}
	return nil
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
	if err = refused(err); err == nil {
		of = state.Client + "/" + state.Name
	}
	tell(k.Tell, r, Act{Name: "key " + name, Client: of, Err: err})
	if err != nil {
		return err
	}
	return answer(w, IssuedKey{text, state})
}

func (k Keys) revoke(w http.ResponseWriter, r *http.Request, body KeyRevocation) error {
	if err := noKeys(body.Name); err != nil {
		return err
	}
	stored, err := theKeys()
	if err != nil {
		return err
	}
	err = refused(stored.Revoke(r.Context(), body.Name))
	tell(k.Tell, r, Act{Name: "key revoke", Client: body.Name, Err: err})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// refused is an error of an operator, or of the storage.
func refused(err error) error {
	if err == nil {
		return nil
	}
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

// clients returns the names of the configured clients.
func (k Keys) clients() (names []string) {
	for _, s := range k.Holders.List(time.Now()) {
		if s.Configured {
			names = append(names, s.Client)
		}
	}
	return names
}

// notConfigured is the error of the name of a client or an account that does not exist.
func notConfigured(kind, name string, names []string) error {
	known := fmt.Sprintf("write %s <name> ... in the configuration", kind)
	if len(names) > 0 {
		known = "configured: " + strings.Join(names[:min(len(names), 20)], ", ")
	}
	return fmt.Errorf("no %s named %q is configured; %s", kind, name, known)
}

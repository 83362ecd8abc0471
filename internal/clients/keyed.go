// Clients that are known by keys.

package clients

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/keys"
	"github.com/caddy-veeam/veeam-auth/internal/password"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// Keyed identifies clients by their keys: those of the configuration and those of a
// storage.
type Keyed struct {
	clients *Clients
	ring    *keys.Ring
}

// Keyed returns what identifies the clients by their keys. stored may be nil.
func (c *Clients) Keyed(stored *keys.Keys) *Keyed { return &Keyed{c, c.ring.With(stored)} }

// Enter adds the configured keys to those of the process, until leave is called.
func (k *Keyed) Enter() (leave func()) { return k.ring.Enter() }

// Caller returns the client of a key, which is the password of an attempt. If the attempt
// has a name, it must be the client's. A key that is not known counts as a wrong password
// of the source. The error is a *keys.Error or that of Ring.Find.
func (k *Keyed) Caller(ctx context.Context, attempt password.Attempt, peer policy.Peer) (policy.Caller, error) {
	key, err := k.ring.Find(ctx, attempt.Password, time.Now())
	if err == nil && attempt.Name != "" && attempt.Name != key.Client {
		err = keys.Unknown("the key " + key.Name + " is of client " + key.Client + ", and was sent with the name " + quoteName(attempt.Name))
	}
	var caller policy.Caller
	if err == nil {
		caller, err = k.caller(key, peer)
	}
	if unknown, ok := errors.AsType[*keys.Error](err); ok && unknown.Reason() == veeam.ReasonUnknownKey {
		if wait := k.clients.Passwords.Wrong(attempt.Site, attempt.Name, attempt.Source); wait > 0 {
			return policy.Caller{}, keys.Throttled(wait, unknown.Error())
		}
	}
	return caller, err
}

// CallerByID is Caller for a token that a client got for the key with an ID. A key that has
// become that of another client vouches for no token of the former one.
func (k *Keyed) CallerByID(ctx context.Context, id, client string, peer policy.Peer) (policy.Caller, error) {
	key, err := k.byID(ctx, id, client)
	if err != nil {
		return policy.Caller{}, err
	}
	return k.caller(key, peer)
}

// Check returns why a key does not count any more, or is not configured any more. The error
// is a *keys.Error or that of Ring.ByID.
func (k *Keyed) Check(ctx context.Context, key *policy.Key) error {
	if k.ring.Removed(key.ID) {
		return keys.Unknown("the key " + key.Name + " is no longer configured")
	}
	_, err := k.byID(ctx, key.ID, key.Client)
	return err
}

func (k *Keyed) byID(ctx context.Context, id, client string) (*keys.Key, error) {
	key, err := k.ring.ByID(ctx, id, time.Now())
	if err == nil && key.Client != client {
		err = keys.Unknown("the key " + key.Name + " is of client " + key.Client + ", and the token of client " + client)
	}
	return key, err
}

func (k *Keyed) caller(key *keys.Key, peer policy.Peer) (policy.Caller, error) {
	client := k.clients.Named(key.Client)
	if client == nil {
		return policy.Caller{}, keys.Unknown("the key " + key.Name + " is of client " + key.Client + ", which is not configured at this site")
	}
	if err := key.CheckPeer(peer); err != nil {
		return policy.Caller{}, err
	}
	key.Touch(time.Now())
	caller := client.Caller()
	caller.Key = &key.Key
	return caller, nil
}

// Key returns the configured key with a name, nil if there is none.
func (c *Clients) Key(name string) *policy.Key {
	if key := c.ring.Named(name); key != nil {
		return &key.Key
	}
	return nil
}

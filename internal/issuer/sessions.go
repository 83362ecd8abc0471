// Sessions that clients hold by an id without meaning, and that end when they are not
// used.

package issuer

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// sessionID is a GUID of version 4. Its last bytes are a code of authentication of the
// others: who makes up ids does not cause exchanges with the store.
type sessionID uuid.UUID

// codeAt is where the code of authentication begins.
const codeAt = 12

// session is one session in memory.
type session struct {
	id   sessionID
	kept keptSession // as it was issued

	used  atomic.Int64 // when last, in milliseconds since 1970
	saved atomic.Int64 // the use that the store has, 0 for none
	known atomic.Int64 // when the store had it, so that it had not ended, 0 for never
	ended atomic.Bool
}

// keptSession is a session as it lies in the store.
type keptSession struct {
	Client   string `json:"client"`
	Account  string `json:"account,omitempty"`
	Login    string `json:"login,omitempty"`
	Vouch    string `json:"vouch,omitempty"`
	Family   string `json:"family"`
	Audience string `json:"audience"`
	Note     string `json:"note,omitempty"`

	Made  int64 `json:"made"`  // in milliseconds since 1970
	Until int64 `json:"until"` // in seconds since 1970
	Idle  int64 `json:"idle"`  // how long it may be unused, in seconds
	Used  int64 `json:"used"`  // when last, in milliseconds since 1970
}

// IssueSession starts a session for a client. The session represents sub, like an
// access token, until it was unused for the duration idle, at most for RefreshLifetime
// and not beyond sub.Until. Pair.Access is the Base64 of its id, a GUID. SessionNote
// returns note.
//
// Other replicas, and this process after a restart, read the session from the store. If
// the store is slow, they get it only if Watch runs.
func (i *Issuer) IssueSession(ctx context.Context, sub Subject, audience, note string, idle time.Duration) (Pair, error) {
	key, err := i.keys.signing(ctx)
	if err != nil {
		return Pair{}, err
	}
	now := time.Now()
	until := now.Add(RefreshLifetime)
	if !sub.Until.IsZero() && sub.Until.Before(until) {
		until = sub.Until
	}
	s := &session{id: newSessionID(key), kept: keptSession{
		Client: sub.Client, Account: sub.Account, Login: sub.Login, Vouch: sub.Vouch, Family: rand.Text(), Audience: audience, Note: note,
		Made: i.ledger.next(sub.Client).UnixMilli(), Until: until.Unix(), Idle: int64(idle / time.Second),
	}}
	s.used.Store(now.UnixMilli())
	i.saveAtOnce(ctx, s)
	for _, out := range i.sessions.add(sub.Client, s.id, s) {
		out.ended.Store(true)
		go i.forget(context.WithoutCancel(ctx), out.id)
	}
	return Pair{Access: s.id.presented(), Issued: now, Lifetime: idle}, nil
}

func newSessionID(key Key) sessionID {
	id := sessionID(uuid.New())
	copy(id[codeAt:], id.code(key))
	return id
}

func (id sessionID) code(key Key) []byte {
	mac := hmac.New(sha256.New, key.Secret)
	mac.Write([]byte("session\x00")) // no token is signed with these bytes
	mac.Write(id[:codeAt])
	return mac.Sum(nil)[:len(id)-codeAt]
}

func (id sessionID) presented() string {
	return base64.StdEncoding.EncodeToString([]byte(uuid.UUID(id).String()))
}

// path is where the session lies in the store, which does not tell the id.
func (id sessionID) path() string {
	hash := sha256.Sum256(id[:])
	return SessionsFolder + "/" + hex.EncodeToString(hash[:]) + ".json"
}

// readSessionID reads what a client presents.
func readSessionID(presented string) (id sessionID, ok bool) {
	var text [36]byte
	if len(presented) != base64.StdEncoding.EncodedLen(len(text)) {
		return id, false
	}
	if n, err := base64.StdEncoding.Decode(text[:], []byte(presented)); err != nil || n != len(text) {
		return id, false
	}
	read, err := uuid.ParseBytes(text[:])
	return sessionID(read), err == nil
}

// checkSession is Check for a session, which is used by it.
func (i *Issuer) checkSession(ctx context.Context, id sessionID, audience string) (Subject, error) {
	s, err := i.session(ctx, id)
	if err != nil {
		return Subject{}, err
	}
	c := s.claims()
	if err = i.judge(&c, audience, useAccess); errors.Is(err, ErrForgotten) {
		if _, err = i.readSession(ctx, s); err == nil {
			c = s.claims()
			err = i.judge(&c, audience, useAccess)
		}
	}
	if err != nil {
		return Subject{}, err
	}
	s.use(time.Now())
	return c.subject(), nil
}

// readSession reads a session from the store, and notes that it had not ended: sessions
// that end are removed from the store. So a client that logs in and out more often than
// the ledger can remember ends none of its other sessions.
func (i *Issuer) readSession(ctx context.Context, s *session) (keptSession, error) {
	ctx, cancel := context.WithTimeout(ctx, storeFor)
	defer cancel()
	asked := time.Now().Add(-skew)
	kept, err := i.loadSession(ctx, s.id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return kept, ErrForgotten
	case err != nil:
		return kept, &KeysError{Err: err}
	}
	s.known.Store(asked.UnixMilli())
	return kept, nil
}

// session returns a session that is not idle for too long.
func (i *Issuer) session(ctx context.Context, id sessionID) (*session, error) {
	if _, ended := i.ending.get(id); ended {
		return nil, ErrEnded
	}
	s, ok := i.sessions.use(id)
	if ok && s.living(time.Now()) {
		return s, nil
	}
	good, err := i.keys.anyIs(ctx, func(key Key) bool { return hmac.Equal(id.code(key), id[codeAt:]) })
	switch {
	case err != nil:
		return nil, err
	case !good:
		return nil, ErrInvalid
	}
	// Another replica has issued it, or was the last one to be used.
	found := &session{id: id}
	found.kept, err = i.readSession(ctx, found)
	switch {
	case errors.Is(err, ErrForgotten) && ok:
		return nil, ErrExpired
	case errors.Is(err, ErrForgotten):
		return nil, ErrInvalid
	case err != nil:
		return nil, err
	}
	found.used.Store(found.kept.Used)
	found.saved.Store(found.kept.Used)
	if !found.living(time.Now()) {
		return nil, ErrExpired
	}
	c := found.claims()
	if err := i.ledger.judge(&c); err != nil {
		return nil, err
	}
	i.sessions.add(found.kept.Client, id, found)
	return found, nil
}

// SessionNote returns the note of a session. It is empty for a session that is not in
// the memory of this process; Check loads it.
func (i *Issuer) SessionNote(presented string) string {
	if id, ok := readSessionID(presented); ok {
		if s, ok := i.sessions.use(id); ok {
			return s.kept.Note
		}
	}
	return ""
}

// EndSession ends a session and reports whether it existed. Other replicas apply it
// within a second if Watch runs.
func (i *Issuer) EndSession(ctx context.Context, presented string) bool {
	id, ok := readSessionID(presented)
	if !ok {
		return false
	}
	s, err := i.session(ctx, id)
	if err != nil {
		return false
	}
	i.ledger.end(s.kept.Client, s.kept.Family)
	s.ended.Store(true)
	i.sessions.take(id)
	if !i.forget(ctx, id) && s.saved.Load() != 0 { // save does the same for one that it stores right now
		i.ending.add(s.kept.Client, id, s)
	}
	return true
}

// living reports whether the session was used lately enough.
func (s *session) living(now time.Time) bool {
	return !s.ended.Load() && now.Sub(time.UnixMilli(s.used.Load())) < time.Duration(s.kept.Idle)*time.Second
}

// use notes a use. Of several at once the last one counts.
func (s *session) use(now time.Time) {
	for at := now.UnixMilli(); ; {
		last := s.used.Load()
		if at <= last || s.used.CompareAndSwap(last, at) {
			return
		}
	}
}

func (s *session) claims() claims {
	k := &s.kept
	return claims{
		RegisteredClaims: jwt.RegisteredClaims{Subject: k.Client, Audience: jwt.ClaimStrings{k.Audience}},
		Account:          k.Account, Login: k.Login, Vouch: k.Vouch, Family: k.Family, Made: k.Made, Until: k.Until,
		Use: useAccess, Known: s.known.Load(),
	}
}

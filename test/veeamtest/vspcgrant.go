// The grants that only VSPC has: public_key with its challenge, and as.

package veeamtest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Padding is the padding of an encrypted challenge.
type Padding string

// The paddings of .NET.
const (
	PKCS1v15   Padding = "pkcs1v15"
	OAEPSHA1   Padding = "oaep-sha1"
	OAEPSHA256 Padding = "oaep-sha256"
)

func (p Padding) encrypt(key *rsa.PublicKey, plain []byte) ([]byte, error) {
	switch p {
	case OAEPSHA1:
		return rsa.EncryptOAEP(sha1.New(), rand.Reader, key, plain, nil)
	case OAEPSHA256:
		return rsa.EncryptOAEP(sha256.New(), rand.Reader, key, plain, nil)
	default:
		return rsa.EncryptPKCS1v15(rand.Reader, key, plain) //nolint:staticcheck // what a .NET server may well use
	}
}

const challengeLifetime = 30 * time.Second

// challengeCode is a code that was sent encrypted.
type challengeCode struct {
	login   *userLogin
	expires time.Time
}

// encryptCode makes a code for l that only the holder of the private key can read.
func (s *Server) encryptCode(l *userLogin) (encrypted string, expires time.Time, err error) {
	// Text with a + in it shows who forgets to encode it.
	plain := []byte(opaqueText())
	answer := string(plain)
	if s.cfg.binaryChallenge {
		plain = randomBytes(32)
		answer = base64.StdEncoding.EncodeToString(plain)
	}
	sealed, err := s.cfg.padding.encrypt(l.public, plain)
	if err != nil {
		return "", time.Time{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	expires = s.now().Add(challengeLifetime)
	s.encrypted[answer] = &challengeCode{l, expires}
	s.issued = append(s.issued, answer)
	return base64.StdEncoding.EncodeToString(sealed), expires, nil
}

func opaqueText() string {
	for {
		if text := base64.StdEncoding.EncodeToString(randomBytes(24)); strings.Contains(text, "+") {
			return text
		}
	}
}

func publicKeyGrant(x *exchange) {
	fields, ok := x.require("public_key")
	if !ok {
		return
	}
	presented, err := base64.StdEncoding.DecodeString(x.plus(fields[0]))
	if err != nil {
		x.refuseToken(badRequest, "public_key")
		return
	}
	x.s.mu.Lock()
	l := x.s.loginByKey(presented)
	x.s.mu.Unlock()
	if l == nil {
		x.refuseToken(badCredentials)
		return
	}
	encrypted, _, err := x.s.encryptCode(l)
	if err != nil {
		x.refuseToken(badRequest, "public_key")
		return
	}
	x.json(http.StatusOK, vspcToken{EncryptedCode: &encrypted, ExpiresIn: json.RawMessage("0")})
}

// decryptedCodeGrant is VSPC's authorization_code: it takes the answer to a challenge and no other code.
func decryptedCodeGrant(x *exchange) {
	if fields, ok := x.require("code"); ok {
		x.answerChallenge(x.plus(fields[0]))
	}
}

func (x *exchange) answerChallenge(answer string) {
	s := x.s
	s.mu.Lock()
	c := s.encrypted[answer]
	delete(s.encrypted, answer)
	good := c != nil && s.now().Before(c.expires)
	s.mu.Unlock()
	if !good {
		x.refuseToken(badAuthorizationCode)
		return
	}
	w := x.wish()
	w.readOnly = w.readOnly || c.login.ReadOnly
	x.begin(c.login.account, w)
}

// impersonators are the roles whose users may act as others.
var impersonators = []string{
	"Portal Administrator", "Location Administrator", "Site Administrator", "Portal Operator", "SP Global Administrator",
	"SP Administrator", "SP Operator", "Company Owner", "Company Administrator",
}

func asGrant(x *exchange) {
	fields, ok := x.require("refresh_token", "userUid")
	if !ok {
		return
	}
	s := x.s
	s.mu.Lock()
	target := s.accountByUID(fields[1])
	caller := s.tokens[fields[0]]
	allowed := caller != nil && slices.Contains(impersonators, caller.family.account.Role)
	s.mu.Unlock()
	switch {
	case target == nil:
		x.refuseToken(badUser)
		return
	case caller != nil && !allowed:
		x.refuseToken(notAllowed)
		return
	}
	f, why := x.spendRefresh(fields[0])
	if why != "" {
		x.refuseToken(why)
		return
	}
	if s.cfg.asKeepsRefresh {
		s.mu.Lock()
		caller.spent = false
		s.mu.Unlock()
	}
	w := x.wish()
	w.readOnly, w.as = w.readOnly || f.readOnly, true
	x.begin(s.mixUp(target), w)
}

// mixUp returns a, or now and then another user, see WithSwappedUsers.
func (s *Server) mixUp(a *account) *account {
	if s.cfg.swapOneIn == 0 {
		return a
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.swapRandom.IntN(s.cfg.swapOneIn) != 0 {
		return a
	}
	s.count.Swapped++
	names := slices.Sorted(maps.Keys(s.accounts))
	for {
		if other := s.accounts[names[s.cfg.swapRandom.IntN(len(names))]]; other != a {
			return other
		}
	}
}

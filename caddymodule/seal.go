// Sealed texts: secrets that lie in files or in the configuration and open with a
// keyset only, each in its own place.

package caddymodule

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// sealedPrefix begins a sealed text. Base64 follows.
const sealedPrefix = "veeam-auth:sealed:v1:"

// scratchPurpose is what scratch codes are sealed for. Secrets of an account are
// sealed for their option.
const scratchPurpose = "scratch codes"

var (
	errNotOpened = errors.New("it was sealed with another key, or for another product, account or option, or it is damaged")
	errNoCache   = errors.New("it is sealed, and the configuration has no cache whose encryption_key opens it; write one, with the key that it was sealed with")
	errCacheKey  = errors.New("it is sealed, and the encryption_key of the cache is empty, cannot be read or is no keyset")
)

// sealing has the keys for the secrets of one account. The zero value has none.
type sealing struct {
	product, account string
	read             func() (tokencache.Sealer, error) // nil: there is no cache
}

// associated binds a sealed text to its place: elsewhere it does not open.
func (s sealing) associated(purpose string) []byte {
	place := []byte("veeam_auth sealed text 1") // no record of the cache has this
	for _, part := range []string{s.product, s.account, purpose} {
		place = strconv.AppendInt(append(place, ' '), int64(len(part)), 10)
		place = append(append(place, ':'), part...)
	}
	return place
}

// seal returns the sealed text, in one line without an end.
func (s sealing) seal(keys tokencache.Sealer, purpose, text string) (string, error) {
	sealed, err := keys.Encrypt([]byte(text), s.associated(purpose))
	if err != nil {
		return "", err
	}
	return sealedPrefix + base64.StdEncoding.EncodeToString(sealed), nil
}

// open returns the text. The error is errNotOpened.
func (s sealing) open(keys tokencache.Sealer, purpose, text string) (string, error) {
	sealed, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(strings.TrimSpace(text), sealedPrefix))
	if err != nil {
		return "", errNotOpened
	}
	opened, err := keys.Decrypt(sealed, s.associated(purpose))
	if err != nil || len(opened) == 0 {
		return "", errNotOpened
	}
	return string(opened), nil
}

// option opens the value of an option if it is sealed.
func (s sealing) option(option, value string) (string, error) {
	if !isSealed(value) {
		return value, nil
	}
	if s.read == nil {
		return "", errNoCache
	}
	keys, err := s.read()
	if late, ok := errors.AsType[*bounded.LateError](err); ok {
		return "", fmt.Errorf("it is sealed with the encryption_key of the cache, and %w", late)
	}
	if err != nil {
		return "", errCacheKey
	}
	return s.open(keys, option, value)
}

// isSealed reports whether a text is sealed.
func isSealed(text string) bool { return strings.HasPrefix(strings.TrimSpace(text), sealedPrefix) }

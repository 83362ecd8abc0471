// Sealed texts: secrets that lie in files or in the configuration and open with a
// keyset only, each in its own place.

package account

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
)

// SealedPrefix is the prefix of a sealed text. Base64 follows.
const SealedPrefix = "veeam-auth:sealed:v1:"

// ScratchPurpose is the purpose for which scratch codes are sealed. The purpose of an
// account's secret is its option.
const ScratchPurpose = "scratch codes"

var (
	// ErrNotOpened reports that a sealed text cannot be opened with these keys.
	ErrNotOpened = errors.New("it is damaged, or was sealed with another key or for another product, account or option")

	// ErrNoCache reports that there is no key for a sealed text.
	ErrNoCache = errors.New("it is sealed and requires a cache: write cache { encryption_key … } with the key it was sealed with")

	// ErrCacheKey reports that the key for a sealed text is not usable.
	ErrCacheKey = errors.New("it is sealed, and the encryption_key of the cache is empty, unreadable or not a keyset")
)

// Seal holds the keys for the secrets of one account. The zero value has none.
type Seal struct {
	Product, Account string
	Keys             func() (sealed.Sealer, error) // nil: there is no cache
}

// associated binds a sealed text to its place: elsewhere it does not open.
func (s Seal) associated(purpose string) []byte {
	place := []byte("veeam_auth sealed text 1") // no record of the cache has this
	for _, part := range []string{s.Product, s.Account, purpose} {
		place = strconv.AppendInt(append(place, ' '), int64(len(part)), 10)
		place = append(append(place, ':'), part...)
	}
	return place
}

// Seal returns the sealed text, in one line without an end.
func (s Seal) Seal(keys sealed.Sealer, purpose, text string) (string, error) {
	sealed, err := keys.Encrypt([]byte(text), s.associated(purpose))
	if err != nil {
		return "", err
	}
	return SealedPrefix + base64.StdEncoding.EncodeToString(sealed), nil
}

// Open returns the text. The error is errNotOpened.
func (s Seal) Open(keys sealed.Sealer, purpose, text string) (string, error) {
	sealed, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(strings.TrimSpace(text), SealedPrefix))
	if err != nil {
		return "", ErrNotOpened
	}
	opened, err := keys.Decrypt(sealed, s.associated(purpose))
	if err != nil || len(opened) == 0 {
		return "", ErrNotOpened
	}
	return string(opened), nil
}

// Option opens the value of an option if it is sealed.
func (s Seal) Option(option, value string) (string, error) {
	if !IsSealed(value) {
		return value, nil
	}
	if s.Keys == nil {
		return "", ErrNoCache
	}
	keys, err := s.Keys()
	if late, ok := errors.AsType[*bounded.LateError](err); ok {
		return "", fmt.Errorf("it is sealed with the encryption_key of the cache, and %w", late)
	}
	if err != nil {
		return "", ErrCacheKey
	}
	return s.Open(keys, option, value)
}

// IsSealed reports whether a text is sealed.
func IsSealed(text string) bool { return strings.HasPrefix(strings.TrimSpace(text), SealedPrefix) }

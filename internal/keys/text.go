// Package keys holds the keys of clients: for programs that can send only a fixed header.
// A key identifies a client without its password, and narrows what it may do. Keys are
// issued into a storage that several processes share, or configured by their hashes.
//
// Only hashes are kept. A key has 178 bits of randomness, so nobody can try keys until one
// has a known hash, and a fast hash such as SHA-256 protects it as well as a slow one,
// which passwords need. A request with a key costs one hash.
package keys

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"math/big"
	"net/http"
	"net/url"
	"strings"
)

// Prefix is how each key begins, so that scanners recognize it.
const Prefix = "vak_"

// A key is the prefix, random digits, and the CRC-32 (IEEE) of both in digits, as in the
// tokens of GitHub. The digits are those of base 62.
const (
	digits      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	randomSize  = 30
	checkSize   = 6
	checkedSize = len(Prefix) + randomSize
	textSize    = checkedSize + checkSize
)

// Hash is the SHA-256 of a key.
type Hash [sha256.Size]byte

// hashPrefix is how the text of a hash begins.
const hashPrefix = "sha256:"

// String returns the text of the hash for a configuration.
func (h Hash) String() string { return hashPrefix + hex.EncodeToString(h[:]) }

// ID returns a short text that identifies the hash, and from which it cannot be computed.
func (h Hash) ID() string {
	again := sha256.Sum256(append([]byte("veeam-auth key "), h[:]...))
	return hex.EncodeToString(again[:10])
}

// ParseHash parses the text of a hash.
func ParseHash(text string) (h Hash, err error) {
	encoded, ok := strings.CutPrefix(text, hashPrefix)
	if n, decodeErr := hex.Decode(h[:], []byte(encoded)); !ok || decodeErr != nil || len(encoded) != hex.EncodedLen(len(h)) || n != len(h) {
		return Hash{}, errors.New("the hash of a key is sha256: and 64 hex digits, as printed by caddy veeam-auth keys hash")
	}
	return h, nil
}

// Make returns a new key.
func Make() string {
	text := make([]byte, 0, textSize)
	text = append(text, Prefix...)
	for range randomSize {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(digits))))
		if err != nil {
			panic(err) // never, see crypto/rand
		}
		text = append(text, digits[n.Int64()])
	}
	return string(appendCheck(text))
}

func appendCheck(text []byte) []byte {
	sum := ^uint32(0)
	for _, c := range text { // crc32.ChecksumIEEE has its argument escape to the heap
		sum = crc32.IEEETable[byte(sum)^c] ^ sum>>8
	}
	sum = ^sum
	var check [checkSize]byte
	for i := checkSize - 1; i >= 0; i-- {
		check[i] = digits[sum%uint32(len(digits))]
		sum /= uint32(len(digits))
	}
	return append(text, check[:]...)
}

// Looks reports whether a text is meant to be a key.
func Looks(text string) bool { return strings.HasPrefix(text, Prefix) }

// InAddress reports whether a path or a query holds a text in the form of a key, also in
// percent-encoding. Addresses get into logs and histories that nobody masks.
func InAddress(address string) bool {
	if strings.IndexByte(address, '%') >= 0 {
		if decoded, err := url.PathUnescape(address); err == nil {
			address = decoded
		}
	}
	return Within(address)
}

// Within reports whether a text holds one in the form of a key.
func Within(text string) bool {
	for {
		at := strings.Index(text, Prefix)
		if at < 0 {
			return false
		}
		text = text[at+len(Prefix):]
		if size := textSize - len(Prefix); len(text) >= size && strings.Trim(text[:size], digits) == "" {
			return true
		}
	}
}

// ErrMistyped is the error of a text that is no key, because its checksum is wrong.
var ErrMistyped = errors.New("the text is not a key: its checksum is wrong")

// Read returns the hash of a key. The error is ErrMistyped.
func Read(text string) (Hash, error) {
	if len(text) != textSize || !Looks(text) {
		return Hash{}, ErrMistyped
	}
	var room [textSize]byte
	if string(appendCheck(append(room[:0], text[:checkedSize]...))) != text {
		return Hash{}, ErrMistyped
	}
	for i := len(Prefix); i < checkedSize; i++ {
		if strings.IndexByte(digits, text[i]) < 0 {
			return Hash{}, ErrMistyped
		}
	}
	copy(room[:], text)
	return sha256.Sum256(room[:]), nil
}

// Header is the header for a key besides Authorization: Bearer.
const Header = "X-Api-Key"

// Presented returns the key in the header Authorization or X-Api-Key, empty if neither has
// one. That it looks like a key does not mean that it is valid.
func Presented(header http.Header) string {
	const scheme = "bearer "
	if len(header["Authorization"]) == 0 && len(header[Header]) == 0 {
		return ""
	}
	if text := header.Get("Authorization"); len(text) > len(scheme) && strings.EqualFold(text[:len(scheme)], scheme) {
		if text = strings.TrimSpace(text[len(scheme):]); Looks(text) {
			return text
		}
	}
	if text := strings.TrimSpace(header.Get(Header)); Looks(text) {
		return text
	}
	return ""
}

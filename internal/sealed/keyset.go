// The keys that seal what is stored: a Tink keyset and a key for names, in one
// line of text.

package sealed

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Keyset seals records with its newest key (AES-256-GCM) and opens those of all its
// keys.
type Keyset struct {
	tink.AEAD

	handle *keyset.Handle
	names  []byte
}

// ErrKeyset says that a text is not a keyset.
var ErrKeyset = errors.New("not a keyset: make one with caddy veeam-auth keygen")

const nameKeyBytes = 32

// keysetText is a keyset as it is written down: as JSON, or that in base64.
type keysetText struct {
	// Names is the key for names. It stays the same when the others rotate, so
	// that records are found again.
	Names []byte `json:"names"`

	// Seal is the cleartext keyset of Tink.
	Seal json.RawMessage `json:"seal"`
}

// NewKeyset returns a keyset with one new key.
func NewKeyset() (*Keyset, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	names := make([]byte, nameKeyBytes)
	_, _ = rand.Read(names) // never fails, see crypto/rand
	return newKeyset(handle, names)
}

func newKeyset(handle *keyset.Handle, names []byte) (*Keyset, error) {
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, ErrKeyset
	}
	return &Keyset{AEAD: primitive, handle: handle, names: names}, nil
}

// ReadKeyset reads what Text has written. The error does not repeat the text.
func ReadKeyset(text string) (*Keyset, error) {
	raw := []byte(strings.TrimSpace(text))
	if !bytes.HasPrefix(raw, []byte("{")) {
		decoded, err := base64.StdEncoding.DecodeString(string(raw))
		if err != nil {
			return nil, ErrKeyset
		}
		raw = decoded
	}
	var parts keysetText
	if err := json.Unmarshal(raw, &parts); err != nil || len(parts.Names) < nameKeyBytes || len(parts.Seal) == 0 {
		return nil, ErrKeyset
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(parts.Seal)))
	if err != nil {
		return nil, ErrKeyset
	}
	return newKeyset(handle, parts.Names)
}

// Rotate returns a keyset with an additional key, which seals. The old keys still open
// records.
func (k *Keyset) Rotate() (*Keyset, error) {
	manager := keyset.NewManagerFromHandle(k.handle)
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err == nil {
		err = manager.SetPrimary(id)
	}
	if err != nil {
		return nil, fmt.Errorf("adding a key: %w", err)
	}
	handle, err := manager.Handle()
	if err != nil {
		return nil, fmt.Errorf("adding a key: %w", err)
	}
	return newKeyset(handle, k.names)
}

// Keys returns the number of keys.
func (k *Keyset) Keys() int { return k.handle.Len() }

// Text returns the keyset in one line of base64. It is a secret.
func (k *Keyset) Text() (string, error) {
	var seal bytes.Buffer
	if err := insecurecleartextkeyset.Write(k.handle, keyset.NewJSONWriter(&seal)); err != nil {
		return "", fmt.Errorf("writing the keyset: %w", err)
	}
	raw, err := json.Marshal(keysetText{Names: k.names, Seal: seal.Bytes()})
	if err != nil {
		return "", fmt.Errorf("writing the keyset: %w", err)
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}

// String returns the number of keys, without the keys.
func (k *Keyset) String() string { return fmt.Sprintf("keyset of %d", k.Keys()) }

// GoString returns the number of keys, without the keys.
func (k *Keyset) GoString() string { return k.String() }

// Format writes the number of keys for every verb, without the keys.
func (k *Keyset) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

// Name returns the name of a record: a keyed hash that does not reveal its parts.
func (k *Keyset) Name(parts ...string) string {
	mac := hmac.New(sha256.New, k.names)
	mac.Write(Join(parts...))
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(mac.Sum(nil)))
}

var _ Sealer = (*Keyset)(nil)

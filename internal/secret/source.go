// Secrets that neither files nor variables hold: where their placeholders are read.

package secret

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
)

// The kinds of placeholders that Sources read: {exec./path argument} and
// {vault.path#field}.
const (
	SourceExec  = "exec"
	SourceVault = "vault"
)

var (
	// ErrUnavailable says that a source does not answer now, which may pass by itself.
	ErrUnavailable = errors.New("its source is not available")

	// ErrAbsent says that a source answers and has no such secret.
	ErrAbsent = errors.New("there is no such secret")
)

// Sources read the secrets of placeholders by kind. name is what follows the kind and a
// dot. Values are handled like the content of a file. An error says nothing of a value.
type Sources struct {
	Read map[string]func(name string) (string, error)
}

// inForce are the sources of the configuration that runs. A reload replaces them; sessions
// that outlive it read their secrets from the new ones.
var inForce atomic.Pointer[Sources]

// Offer puts sources in force if none are: those of the first configuration, before it runs.
func (s *Sources) Offer() { inForce.CompareAndSwap(nil, s) }

// Use puts sources in force instead of others.
func (s *Sources) Use() { inForce.Store(s) }

// Withdraw ends their use, unless others are in force.
func (s *Sources) Withdraw() { inForce.CompareAndSwap(s, nil) }

// fromSource reads a placeholder of a source; known is false if it is none.
func fromSource(key string) (content string, known bool, err error) {
	kind, name, _ := strings.Cut(key, ".")
	if kind != SourceExec && kind != SourceVault {
		return "", false, nil
	}
	if sources := inForce.Load(); sources != nil && sources.Read[kind] != nil {
		content, err = sources.Read[kind](name)
		if err == nil {
			content, err = Decode([]byte(content))
		}
		return content, true, err
	}
	return "", true, fmt.Errorf("the global option veeam_secrets has no %s", kind)
}

// refusals counts refused secrets. The count continues after a reload, because readers
// compare it with an earlier one.
var refusals atomic.Uint64

// Refused tells sources that a server has refused a secret: what they have read is read
// again.
func Refused() { refusals.Add(1) }

// Refusals returns how many secrets were refused.
func Refusals() uint64 { return refusals.Load() }

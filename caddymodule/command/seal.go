// The keys with which the commands seal what they write, and open it again.

package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// keyFlag names the keyset for scratch codes.
type keyFlag struct{ key string }

func (f *keyFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.key, "key", "", "Key file for scratch codes, created by keygen. Default: the encryption_key of the account's cache")
}

// commandSeal seals for one account and one purpose.
type commandSeal struct {
	account.Seal
	keys    sealed.Sealer
	purpose string
	from    string // where the keys are from, for people
}

var errNoSealKey = errors.New("the account has no cache with an encryption_key")

// scratchSeal has the key of the option --key, or else that of the cache.
func (r *reached) scratchSeal(key string) (*commandSeal, error) {
	if key == "" {
		return r.cacheSeal(account.ScratchPurpose)
	}
	keys, err := readKeyFile(key)
	if err != nil {
		return nil, fmt.Errorf("--key: %w", err)
	}
	return &commandSeal{r.Account.Seal(), keys, account.ScratchPurpose, "--key " + key}, nil
}

// cacheSeal has the key of the account's cache. The error is errNoSealKey if there
// is no cache.
func (r *reached) cacheSeal(purpose string) (*commandSeal, error) {
	s := r.Account.Seal()
	if s.Keys == nil {
		return nil, errNoSealKey
	}
	keys, err := s.Keys()
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	return &commandSeal{s, keys, purpose, "the encryption_key of the cache"}, nil
}

// readKeyFile reads a keyset.
func readKeyFile(name string) (*sealed.Keyset, error) {
	text, err := secret.ReadFile(name)
	if err != nil {
		return nil, err
	}
	keyset, err := sealed.ReadKeyset(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return keyset, nil
}

// seal returns the content of a file: one line. Without a seal it is the text.
func (s *commandSeal) seal(text string) (string, error) {
	if s == nil {
		return text, nil
	}
	sealed, err := s.Seal.Seal(s.keys, s.purpose, strings.TrimSuffix(text, "\n"))
	return sealed + "\n", err
}

// open returns what seal was given.
func (s *commandSeal) open(text string) (string, error) {
	return s.Seal.Open(s.keys, s.purpose, text)
}

// sealedWith says for people how a file is written.
func (s *commandSeal) sealedWith() string {
	if s == nil {
		return ""
	}
	return ", sealed with " + s.from
}

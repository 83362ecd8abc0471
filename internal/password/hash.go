// Hashes of passwords: which are known, what they cost.

package password

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

// Bounds of a hash. A dearer one would hold a place for minutes; a shorter key would
// be no secret: with none at all, every password has the hash.
const (
	maxBcryptCost   = 18            // about 16 s of a processor
	maxArgon2Memory = 1 << 20       // KiB
	maxArgon2Work   = 8 * (1 << 20) // KiB written
	minArgon2Key    = 16            // bytes
)

// The errors of Parse.
var (
	ErrUnknown = errors.New("the hash is neither bcrypt nor argon2id: make one with caddy hash-password")
	ErrTooDear = errors.New("checking the hash would take too long: at most bcrypt cost 18, or argon2id with 1 GiB of memory and m*t of 8 GiB")
)

// Hash is a password hash with its cost. Comparisons with hashes of the same cost take
// the same time.
type Hash struct{ text, cost string }

// Parse parses a hash of `caddy hash-password`, bcrypt or argon2id.
func Parse(text string) (Hash, error) {
	if strings.HasPrefix(text, "$2") {
		cost, err := bcrypt.Cost([]byte(text))
		switch {
		case err != nil || !isBcrypt().MatchString(text):
			return Hash{}, ErrUnknown
		case cost > maxBcryptCost:
			return Hash{}, ErrTooDear
		}
		return Hash{text, costOf(text)}, nil
	}
	parts := argon2id().FindStringSubmatch(text)
	if parts == nil {
		return Hash{}, ErrUnknown
	}
	memory, errMemory := strconv.ParseUint(parts[1], 10, 32)
	passes, errPasses := strconv.ParseUint(parts[2], 10, 32)
	threads, errThreads := strconv.ParseUint(parts[3], 10, 8)
	_, errSalt := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	key, errKey := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if errors.Join(errMemory, errPasses, errThreads, errSalt, errKey) != nil || passes == 0 || threads == 0 || len(key) < minArgon2Key {
		return Hash{}, ErrUnknown
	}
	if memory > maxArgon2Memory || memory*passes > maxArgon2Work {
		return Hash{}, ErrTooDear
	}
	return Hash{text, costOf(text)}, nil
}

// isBcrypt matches a text that has the form of a bcrypt hash, which the package bcrypt
// reads with less care. For any of this form, comparing takes as long as its cost says.
var isBcrypt = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}$`) })

// argon2id finds the parts of an argon2id hash (PHC string format): memory, passes,
// threads, salt and key.
var argon2id = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([^$]*)\$([^$]*)$`)
})

// costOf is what decides how long a comparison takes: the algorithm and its
// parameters, and the lengths of what is hashed.
func costOf(text string) string {
	parts := strings.Split(text, "$")
	switch len(parts) {
	case 4: // $2a$14$salt and hash
		return "bcrypt " + parts[2]
	case 6: // $argon2id$v=19$m=47104,t=1,p=1$salt$hash
		return fmt.Sprint("argon2id ", parts[2], " ", parts[3], " ", len(parts[4]), " ", len(parts[5]))
	}
	return ""
}

// Cost returns a description of the cost, for messages.
func (h Hash) Cost() string { return h.cost }

// Costs returns one of the hashes for each different cost.
func Costs(hashes []Hash) []Hash {
	sorted := slices.SortedFunc(slices.Values(hashes), func(a, b Hash) int { return cmp.Compare(a.cost, b.cost) })
	return slices.CompactFunc(sorted, func(a, b Hash) bool { return a.cost == b.cost })
}

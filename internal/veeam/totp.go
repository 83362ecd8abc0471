// Time-based one-time passwords: reading a seed, computing a code.

package veeam

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// TOTP generates verification codes. It is immutable; NewTOTP makes it.
type TOTP struct {
	seed      secret.Value // base32 without padding, in capitals
	id        [sha256.Size]byte
	digits    otp.Digits
	period    time.Duration
	algorithm otp.Algorithm
}

var (
	errNoSeed    = errors.New("the TOTP secret is empty")
	errBadSeed   = errors.New("the TOTP secret is not base32")
	errBadURI    = errors.New("the otpauth URI is not of type totp, or has no secret")
	errAlgorithm = errors.New("the otpauth URI names an algorithm other than SHA1, SHA256 and SHA512")
)

// NewTOTP reads a seed: Base32 in any case, with or without blanks, hyphens and
// padding, or an otpauth://totp/ URI, which may specify digits (6 to 8), period (5 to
// 300 seconds) and algorithm. Default: 6 digits, 30 seconds, SHA1, as used by Veeam's
// servers. Errors contain no part of the seed.
func NewTOTP(seed secret.Value) (*TOTP, error) {
	t := &TOTP{digits: otp.DigitsSix, period: 30 * time.Second, algorithm: otp.AlgorithmSHA1}
	text := strings.TrimSpace(seed.Reveal())
	const scheme = "otpauth:"
	if len(text) >= len(scheme) && strings.EqualFold(text[:len(scheme)], scheme) {
		var err error
		if text, err = t.readURI(text); err != nil {
			return nil, err
		}
	}
	text = strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\r', '\n', '-', '=', '\u00a0':
			return -1
		}
		return r
	}, text)
	text = strings.ToUpper(text)
	if text == "" {
		return nil, errNoSeed
	}
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(text)
	if err != nil || len(raw) == 0 {
		return nil, errBadSeed
	}
	t.seed = secret.New(text)
	t.id = sha256.Sum256(fmt.Appendf(nil, "veeam-auth totp %v %d\x00%s", t.period, t.algorithm, raw))
	if _, err := t.code(0); err != nil {
		return nil, errBadSeed
	}
	return t, nil
}

// readURI reads the settings of an otpauth URI and returns its seed. Only the query is
// read as a URI: servers print labels with broken escapes, such as
// administrator&40host.
func (t *TOTP) readURI(text string) (seed string, err error) {
	label, query, ok := strings.Cut(text, "?")
	if !ok || !strings.HasPrefix(strings.ToLower(label), "otpauth://totp/") {
		return "", errBadURI
	}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if unescaped, err := url.QueryUnescape(value); err == nil {
			value = unescaped
		}
		switch strings.ToLower(name) {
		case "secret":
			seed = value
		case "digits":
			n, err := strconv.Atoi(value)
			if err != nil || n < 6 || n > 8 {
				return "", errors.New("the digits of the otpauth URI are not 6 to 8")
			}
			t.digits = otp.Digits(n)
		case "period":
			n, err := strconv.Atoi(value)
			if err != nil || n < 5 || n > 300 {
				return "", errors.New("the period of the otpauth URI is not 5 to 300 seconds")
			}
			t.period = time.Duration(n) * time.Second
		case "algorithm":
			switch strings.TrimPrefix(fold(value), "hmac") {
			case "sha1":
				t.algorithm = otp.AlgorithmSHA1
			case "sha256":
				t.algorithm = otp.AlgorithmSHA256
			case "sha512":
				t.algorithm = otp.AlgorithmSHA512
			default:
				return "", errAlgorithm
			}
		}
	}
	if seed == "" {
		return "", errBadURI
	}
	return seed, nil
}

// String returns a text without the seed.
func (t *TOTP) String() string {
	return fmt.Sprintf("totp %s, %d digits, %v", secret.Mask, t.digits, t.period)
}

// usual reports whether all settings are the default.
func (t *TOTP) usual() bool {
	return t.digits == otp.DigitsSix && t.period == 30*time.Second && t.algorithm == otp.AlgorithmSHA1
}

// step is the number of whole periods since 1970.
func (t *TOTP) step(now time.Time) int64 { return now.Unix() / int64(t.period/time.Second) }

// start is when a step begins.
func (t *TOTP) start(step int64) time.Time {
	return time.Unix(step*int64(t.period/time.Second), 0)
}

// code is the verification code of a step.
func (t *TOTP) code(step int64) (string, error) {
	return totp.GenerateCodeCustom(t.seed.Reveal(), t.start(step), totp.ValidateOpts{
		Period:    uint(t.period / time.Second),
		Digits:    t.digits,
		Algorithm: t.algorithm,
	})
}

// Package totp makes verification codes, time-based one-time passwords (RFC 6238), each
// at most once.
package totp

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

// Secret is a seed with its settings. It is immutable; Parse makes it.
type Secret struct {
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

// separators are left out of the names of algorithms, such as SHA-1 and HMAC_SHA1.
var separators = strings.NewReplacer("-", "", "_", "", ".", "", " ", "")

// Parse reads a seed: Base32 in any case, with or without blanks, hyphens and
// padding, or an otpauth://totp/ URI, which may specify digits (6 to 8), period (5 to
// 300 seconds) and algorithm. Default: 6 digits, 30 seconds, SHA1, as used by Veeam's
// servers. Errors contain no part of the seed.
func Parse(seed secret.Value) (*Secret, error) {
	s := &Secret{digits: otp.DigitsSix, period: 30 * time.Second, algorithm: otp.AlgorithmSHA1}
	text := strings.TrimSpace(seed.Reveal())
	const scheme = "otpauth:"
	if len(text) >= len(scheme) && strings.EqualFold(text[:len(scheme)], scheme) {
		var err error
		if text, err = s.readURI(text); err != nil {
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
	s.seed = secret.New(text)
	s.id = sha256.Sum256(fmt.Appendf(nil, "veeam-auth totp %v %d\x00%s", s.period, s.algorithm, raw))
	if _, err := s.code(0); err != nil {
		return nil, errBadSeed
	}
	return s, nil
}

// readURI reads the settings of an otpauth URI and returns its seed. Only the query is
// read as a URI: servers print labels with broken escapes, such as
// administrator&40host.
func (s *Secret) readURI(text string) (seed string, err error) {
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
			s.digits = otp.Digits(n)
		case "period":
			n, err := strconv.Atoi(value)
			if err != nil || n < 5 || n > 300 {
				return "", errors.New("the period of the otpauth URI is not 5 to 300 seconds")
			}
			s.period = time.Duration(n) * time.Second
		case "algorithm":
			switch strings.TrimPrefix(separators.Replace(strings.ToLower(value)), "hmac") {
			case "sha1":
				s.algorithm = otp.AlgorithmSHA1
			case "sha256":
				s.algorithm = otp.AlgorithmSHA256
			case "sha512":
				s.algorithm = otp.AlgorithmSHA512
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
func (s *Secret) String() string {
	return fmt.Sprintf("totp %s, %d digits, %v", secret.Mask, s.digits, s.period)
}

// Base32 returns the seed without its settings, in capitals and without padding.
func (s *Secret) Base32() secret.Value { return s.seed }

// IsDefault reports whether all settings are the default, so that Base32 says everything.
func (s *Secret) IsDefault() bool {
	return s.digits == otp.DigitsSix && s.period == 30*time.Second && s.algorithm == otp.AlgorithmSHA1
}

// step is the number of whole periods since 1970.
func (s *Secret) step(now time.Time) int64 { return now.Unix() / int64(s.period/time.Second) }

// start is when a step begins.
func (s *Secret) start(step int64) time.Time {
	return time.Unix(step*int64(s.period/time.Second), 0)
}

// code is the verification code of a step.
func (s *Secret) code(step int64) (string, error) {
	return totp.GenerateCodeCustom(s.seed.Reveal(), s.start(step), totp.ValidateOpts{
		Period:    uint(s.period / time.Second),
		Digits:    s.digits,
		Algorithm: s.algorithm,
	})
}

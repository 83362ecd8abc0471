// Tests of seeds and codes.

package totp

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The seeds of RFC 6238, appendix B, as base32.
const (
	rfcSHA1   = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
	rfcSHA256 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA"
	rfcSHA512 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNA"
)

func codeAt(t *testing.T, seed string, unix int64) string {
	t.Helper()
	parsed, err := Parse(secret.New(seed))
	if err != nil {
		t.Fatalf("%s: %v", seed, err)
	}
	code, err := parsed.code(parsed.step(time.Unix(unix, 0)))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func TestCodesOfTheRFC(t *testing.T) {
	uri := func(seed, algorithm string) string {
		return "otpauth://totp/x?secret=" + seed + "&digits=8&algorithm=" + algorithm
	}
	for _, tt := range []struct {
		seed string
		unix int64
		want string
	}{
		{uri(rfcSHA1, "SHA1"), 59, "94287082"},
		{uri(rfcSHA256, "sha256"), 59, "46119246"},
		{uri(rfcSHA512, "HmacSHA512"), 59, "90693936"},
		{uri(rfcSHA1, "SHA-1"), 1111111109, "07081804"},
		{uri(rfcSHA256, "SHA256"), 1234567890, "91819424"},
		{uri(rfcSHA512, "SHA512"), 20000000000, "47863826"},
		{rfcSHA1, 59, "287082"},
	} {
		if got := codeAt(t, tt.seed, tt.unix); got != tt.want {
			t.Errorf("%s at %d: got %s, want %s", tt.seed, tt.unix, got, tt.want)
		}
	}
}

func TestSeedsInEveryForm(t *testing.T) {
	want := codeAt(t, "5XKNCVA54BPWQWCXLJZYLMIBD4", 1_700_000_000)
	for _, seed := range []string{
		"5XKNCVA54BPWQWCXLJZYLMIBD4",
		"5xkncva54bpwqwcxljzylmibd4",
		" 5XKN CVA5 4BPW QWCX LJZY LMIB D4\r\n",
		"5xkn-cva5-4bpw-qwcx-ljzy-lmib-d4",
		"5XKNCVA54BPWQWCXLJZYLMIBD4======",
		"otpauth://totp/administrator&40ip-172-31-71-115?secret=5XKNCVA54BPWQWCXLJZYLMIBD4&issuer=ip-172-31-71-115",
		"OTPAUTH://TOTP/%zz%?issuer=My%20Company%20Portal&SECRET=5xkncva54bpwqwcxljzylmibd4&period=30&digits=6",
		"otpauth://totp/vspc%5cAdministrator?secret=5XKN%20CVA54BPWQWCXLJZYLMIBD4%3D&issuer=%zz",
	} {
		if got := codeAt(t, seed, 1_700_000_000); got != want {
			t.Errorf("%s: got %s, want %s", seed, got, want)
		}
	}
	if got := codeAt(t, "otpauth://totp/x?secret=5XKNCVA54BPWQWCXLJZYLMIBD4&period=60", 1_700_000_000*2); got != want {
		t.Errorf("period 60: got %s, want %s", got, want)
	}
}

func TestSeedsThatAreNone(t *testing.T) {
	for _, seed := range []string{
		"", "  ", "====", "A", "not base32!", "01189998", "5XKNCVA54BPWQWCXLJZYLMIBD4?",
		"otpauth://hotp/x?secret=5XKNCVA54BPWQWCXLJZYLMIBD4",
		"otpauth://totp/x", "otpauth://totp/x?issuer=y", "otpauth://totp/x?secret=",
		"otpauth://totp/x?secret=5XKNCVA54BPWQWCXLJZYLMIBD4&digits=5",
		"otpauth://totp/x?secret=5XKNCVA54BPWQWCXLJZYLMIBD4&digits=six",
		"otpauth://totp/x?secret=5XKNCVA54BPWQWCXLJZYLMIBD4&period=0",
		"otpauth://totp/x?secret=5XKNCVA54BPWQWCXLJZYLMIBD4&period=-30",
		"otpauth://totp/x?secret=5XKNCVA54BPWQWCXLJZYLMIBD4&period=3000",
		"otpauth://totp/x?secret=5XKNCVA54BPWQWCXLJZYLMIBD4&algorithm=MD5",
		"otpauth:5XKNCVA54BPWQWCXLJZYLMIBD4",
	} {
		parsed, err := Parse(secret.New(seed))
		if err == nil {
			t.Errorf("%q became %v", seed, parsed)
		} else if len(seed) > 6 && strings.Contains(err.Error(), seed) || strings.Contains(err.Error(), "5XKN") {
			t.Errorf("%q is in %v", seed, err)
		}
	}
}

func TestSeedIsNeverPrinted(t *testing.T) {
	parsed, err := Parse(secret.New(rfcSHA1))
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%v %+v %#v %s", parsed, parsed, *parsed, parsed)
	if strings.Contains(text, "GEZD") || strings.Contains(text, "12345678901") {
		t.Errorf("printed: %s", text)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		rfcSHA1, "5xkn cva5", "otpauth://totp/administrator&40host?secret=5XKNCVA54BPWQWCXLJZYLMIBD4&issuer=x",
		"otpauth://totp/x?secret=A&digits=8&period=60&algorithm=SHA512", "otpauth://totp/?secret=%", "", "=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed string) {
		parsed, err := Parse(secret.New(seed))
		if err != nil {
			return
		}
		for _, step := range []int64{0, 1, 1 << 30} {
			code, err := parsed.code(step)
			if err != nil || len(code) != int(parsed.digits) || strings.Trim(code, "0123456789") != "" {
				t.Fatalf("%q: code %q, %v", seed, code, err)
			}
		}
		again, err := Parse(parsed.seed)
		if err != nil || !again.seed.Equal(parsed.seed) {
			t.Fatalf("%q: its own form is not a seed: %v", seed, err)
		}
	})
}

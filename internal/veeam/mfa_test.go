// Tests of the verification code: when one is used, and what follows a refusal.
// Time is that of testing/synctest, which starts at midnight.

package veeam

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/totp"
)

// rfcSHA1 is the seed of RFC 6238, appendix B, in Base32.
const rfcSHA1 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"

func newTOTP(t *testing.T, seed string) *totp.Secret {
	t.Helper()
	parsed, err := totp.Parse(secret.New(seed))
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// useCode uses up the code of the current step.
func useCode(t *testing.T, c *Client, a *Account) {
	t.Helper()
	if _, err := c.ledger().Next(t.Context(), a.TOTP, codeOptions(0, nil)); err != nil {
		t.Fatal(err)
	}
}

func mfaAccount(t *testing.T) *Account {
	t.Helper()
	a := testAccount()
	a.TOTP = newTOTP(t, rfcSHA1)
	return a
}

func TestMFALogin(t *testing.T) {
	for product, want := range map[string]string{"azure": "Mfa", "aws": "mfa", "gcp": "mfa"} {
		status, _ := lookup(t, product).MFAChallenge("", "", nil)
		c, s := client(t, product,
			canned{status: status, body: golden(t, product+"_mfa_wanted.json")},
			canned{status: 200, body: golden(t, product+"_mfa.json")})
		a := mfaAccount(t)
		token := login(t, c, a)
		if token.Grant != GrantMFA || token.Access.IsZero() || token.Lifetime < 15*time.Minute {
			t.Errorf("%s: got %+v", product, token)
		}
		challenge, _ := readObject([]byte(golden(t, product+"_mfa_wanted.json")))
		sent, err := url.ParseQuery(s.seen[1].body)
		if err != nil || sent.Get("grant_type") != want || sent.Get("mfa_token") != challenge.text("mfatoken") || len(sent.Get("mfa_code")) != 6 {
			t.Errorf("%s: sent %s", product, s.seen[1].body)
		}
	}
}

func TestMFALoginAtVSPC(t *testing.T) {
	c, s := client(t, "vspc",
		canned{status: 200, body: `{"access_token":null,"token_type":null,"refresh_token":null,"mfa_token":"m+/=","encrypted_code":null,"expires_in":0}`},
		canned{status: 200, body: golden(t, "vspc_password.json")})
	a := mfaAccount(t)
	a.ReadOnly = true
	login(t, c, a)
	sent, _ := url.ParseQuery(s.seen[1].body)
	if sent.Get("mfa_token") != "m+/=" || sent.Get("readOnly") != "true" {
		t.Errorf("sent %s", s.seen[1].body)
	}
}

func TestARefusedCodeIsFollowedByTheNextOneOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := client(t, "vspc",
			canned{status: 200, body: `{"mfa_token":"m"}`},
			canned{status: 400, body: `{"error":"invalid_grant"}`},
			canned{status: 200, body: `{"access_token":"a","expires_in":60}`})
		start := time.Now()
		token := login(t, c, mfaAccount(t))
		if time.Since(start) != 30*time.Second || len(s.seen) != 3 || s.seen[1].body == s.seen[2].body {
			t.Errorf("after %v: %+v", time.Since(start), s.seen)
		}
		if age := time.Since(token.Requested); age != 0 {
			t.Errorf("the lifetime counts from %v ago", age)
		}
	})
}

func TestTwoRefusedCodesAreARefusedLogin(t *testing.T) {
	for _, refusal := range []canned{
		{status: 400, body: `{"error":"invalid_request"}`},
		{status: 401, body: `{"title":"Unauthorized"}`},
		{status: 400, body: `{"errorCode":"UnexpectedContent"}`},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, _ := client(t, "aws", canned{status: 200, body: golden(t, "aws_mfa_wanted.json")}, refusal, refusal)
			_, err := c.Login(context.Background(), mfaAccount(t))
			if e := fault(t, err, KindRefused); e.Grant != GrantMFA || e.Hint == "" {
				t.Errorf("got %v", e)
			}
		})
	}
}

func TestNoSecondCodeIfThereIsNoTimeForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := client(t, "aws", canned{status: 200, body: golden(t, "aws_mfa_wanted.json")}, canned{status: 401})
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		start := time.Now()
		_, err := c.Login(ctx, mfaAccount(t))
		if fault(t, err, KindRefused); time.Since(start) != 0 {
			t.Errorf("took %v", time.Since(start))
		}
	})
}

func TestNoTimeForTheFirstCodeIsATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := client(t, "aws", canned{status: 200, body: golden(t, "aws_mfa_wanted.json")})
		a := mfaAccount(t)
		useCode(t, c, a)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_, err := c.Login(ctx, a)
		if e := fault(t, err, KindTimeout); e.Grant != GrantMFA || len(s.seen) != 1 {
			t.Errorf("got %v", e)
		}
	})
}

func TestOtherFaultsOfTheSecondStepEndTheLogin(t *testing.T) {
	for _, tt := range []struct {
		answer canned
		want   Kind
	}{
		{canned{status: 429}, KindThrottled},
		{canned{status: 503}, KindServerFault},
		{canned{status: 428}, KindMFARequired},
		{canned{status: 200, body: `{"mfa_token":"again"}`}, KindMalformed},
		{canned{status: 200, body: `{}`}, KindMalformed},
		{canned{err: errors.New("reset")}, KindUnavailable},
	} {
		c, _ := client(t, "azure", canned{status: 200, body: golden(t, "azure_mfa_wanted.json")}, tt.answer)
		_, err := c.Login(context.Background(), mfaAccount(t))
		if e := fault(t, err, tt.want); e.Grant != GrantMFA {
			t.Errorf("%+v: got %v", tt.answer, e)
		}
	}
}

func TestVBRCannotUseACode(t *testing.T) {
	c, _ := client(t, "vbr", canned{status: 200, body: `{"mfa_token":"m"}`})
	_, err := c.Login(context.Background(), mfaAccount(t))
	fault(t, err, KindMFARequired)
}

func TestClientsWithoutALedgerShareOne(t *testing.T) {
	if one, other := (&Client{}).ledger(), (&Client{}).ledger(); one != other {
		t.Error("two clients have two ledgers")
	}
}

func TestTheSecretOfAnAccountsCodesIsNeverPrinted(t *testing.T) {
	a := mfaAccount(t)
	if text := fmt.Sprintf("%v %+v %#v %v %+v", a, a, a, *a, *a); strings.Contains(text, rfcSHA1[:4]) || strings.Contains(text, "12345678901") {
		t.Errorf("printed: %s", text)
	}
}

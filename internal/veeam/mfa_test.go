// Tests of the verification code: when one is used, and what follows a refusal.
// Time is that of testing/synctest, which starts at midnight.

package veeam

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

func newTOTP(t *testing.T, seed string) *TOTP {
	t.Helper()
	totp, err := NewTOTP(secret.New(seed))
	if err != nil {
		t.Fatal(err)
	}
	return totp
}

// next gets a code and says after how long.
func next(t *testing.T, l *TOTPLedger, totp *TOTP) (string, time.Duration) {
	t.Helper()
	start := time.Now()
	code, err := l.Next(context.Background(), totp)
	if err != nil {
		t.Fatal(err)
	}
	return code, time.Since(start)
}

func TestACodeIsUsedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, totp := &TOTPLedger{}, newTOTP(t, rfcSHA1)
		time.Sleep(10 * time.Second)
		first, waited := next(t, l, totp)
		if waited != 0 {
			t.Errorf("the first code came after %v", waited)
		}
		second, waited := next(t, l, totp)
		if waited != 20*time.Second || second == first {
			t.Errorf("the second code, %s after %s, came after %v", second, first, waited)
		}
		if want, _ := totp.code(totp.step(time.Now())); second != want {
			t.Errorf("got %s, want %s of the step that has begun", second, want)
		}
	})
}

func TestACodeThatIsAboutToEndIsNotUsed(t *testing.T) {
	for _, tt := range []struct {
		seed        string
		sleep, want time.Duration
	}{
		{rfcSHA1, 29 * time.Second, 0}, // a second is left
		{rfcSHA1, 29*time.Second + time.Millisecond, 999 * time.Millisecond},
		{rfcSHA1, 30 * time.Second, 0},
		{"otpauth://totp/x?period=5&secret=" + rfcSHA1, 4500 * time.Millisecond, 0},
		{"otpauth://totp/x?period=5&secret=" + rfcSHA1, 4501 * time.Millisecond, 499 * time.Millisecond},
		{"otpauth://totp/x?period=60&secret=" + rfcSHA1, 59500 * time.Millisecond, 500 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(tt.sleep)
			totp := newTOTP(t, tt.seed)
			code, waited := next(t, &TOTPLedger{}, totp)
			if want, _ := totp.code(totp.step(time.Now())); waited != tt.want || code != want {
				t.Errorf("at %v: waited %v, want %v; code %s, want %s", tt.sleep, waited, tt.want, code, want)
			}
		})
	}
}

func TestEverybodyWithOneSeedGetsAStepOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, other := &TOTPLedger{}, newTOTP(t, rfcSHA256)
		var mu sync.Mutex
		steps := map[int64]bool{}
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				totp := newTOTP(t, rfcSHA1) // a seed, not an object, is what counts
				if _, err := l.Next(context.Background(), totp); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				steps[totp.step(time.Now())] = true
			})
		}
		synctest.Wait()
		if _, waited := next(t, l, other); waited != 0 {
			t.Errorf("another seed waited %v", waited)
		}
		wg.Wait()
		if len(steps) != 5 {
			t.Errorf("five logins used %d steps", len(steps))
		}
	})
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, totp := &TOTPLedger{}, newTOTP(t, rfcSHA1)
		next(t, l, totp)

		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		start := time.Now()
		if _, err := l.Next(ctx, totp); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 0 {
			t.Errorf("hopeless wait: %v after %v", err, time.Since(start))
		}
		ctx, cancel = context.WithCancel(context.Background())
		time.AfterFunc(7*time.Second, cancel)
		if _, err := l.Next(ctx, totp); !errors.Is(err, context.Canceled) || time.Since(start) != 7*time.Second {
			t.Errorf("canceled: %v after %v", err, time.Since(start))
		}
		if _, waited := next(t, l, totp); waited != 23*time.Second {
			t.Errorf("who gave up used a step: waited %v", waited)
		}
	})
}

func TestNoStepIsUsedAgainWhenTheClockIsSetBack(t *testing.T) {
	l, totp := &TOTPLedger{}, newTOTP(t, rfcSHA1)
	now := time.Unix(1_700_000_010, 0)
	step, wait := l.reserve(totp, now)
	if wait != 0 || step != totp.step(now) {
		t.Fatalf("got step %d, wait %v", step, wait)
	}
	back := now.Add(-65 * time.Second)
	if _, wait := l.reserve(totp, back); wait != totp.start(step+1).Sub(back) {
		t.Errorf("waits %v", wait)
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
		next(t, c.TOTPLedger, a.TOTP)
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

// Tests of scratch codes, and of how many codes one login sends.

package veeam

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

const challengeBody = `{"mfa_token":"mfa-canary"}`

func TestAScratchCodeIsAskedForWhenItIsNeededAndSentOnce(t *testing.T) {
	asked := 0
	a := testAccount()
	a.ScratchCode = func(context.Context) (secret.Value, error) {
		asked++
		return secret.New("79529234"), nil
	}
	c, _ := client(t, "azure", canned{status: 200, body: `{"access_token":"a","expires_in":60}`})
	login(t, c, a)
	if asked != 0 {
		t.Error("asked for although the server wants none")
	}
	c, s := client(t, "azure", canned{status: 200, body: challengeBody}, canned{status: 401})
	_, err := c.Login(context.Background(), a)
	fault(t, err, KindRefused)
	if asked != 1 || len(s.seen) != 2 || s.seen[1].body != "grant_type=Mfa&mfa_token=mfa-canary&mfa_code=79529234" {
		t.Errorf("asked %d times: %v", asked, s.seen)
	}

	gone := errors.New("none is left")
	a.ScratchCode = func(context.Context) (secret.Value, error) { return secret.Value{}, gone }
	c, _ = client(t, "azure", canned{status: 200, body: challengeBody})
	if _, err := c.Login(context.Background(), a); !errors.Is(err, gone) {
		t.Error(err)
	}
	c, _ = client(t, "vspc", canned{status: 200, body: challengeBody})
	_, err = c.Login(context.Background(), a)
	fault(t, err, KindAccount)
}

func TestAClientMaySendOneCodeOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := testAccount()
		a.TOTP = newTOTP(t, rfcSHA1)
		c, s := client(t, "azure", canned{status: 200, body: challengeBody}, canned{status: 401})
		c.MFATries = 1
		_, err := c.Login(context.Background(), a)
		if e := fault(t, err, KindRefused); e.Grant != GrantMFA || len(s.seen) != 2 {
			t.Errorf("%v, %d requests", err, len(s.seen))
		}
	})
}

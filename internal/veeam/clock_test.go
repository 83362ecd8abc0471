package veeam

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/totp"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func TestTheOffsetOfAServersClockIsRead(t *testing.T) {
	sent := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for date, want := range map[string]time.Duration{
		"Sun, 01 Mar 2026 12:00:00 GMT": 0,
		"Sun, 01 Mar 2026 12:00:02 GMT": 0,
		"Sun, 01 Mar 2026 12:01:05 GMT": 65 * time.Second,
		"Sun, 01 Mar 2026 11:58:55 GMT": -65 * time.Second,
	} {
		got, ok := readOffset(http.Header{"Date": {date}}, sent, sent.Add(time.Second))
		if !ok || (got-want).Abs() > time.Second {
			t.Errorf("%s: %v", date, got)
		}
	}
	for _, date := range []string{"", "yesterday", "Sun, 99 Mar 2026 12:00:00 GMT"} {
		if got, ok := readOffset(http.Header{"Date": {date}}, sent, sent); ok || got != 0 {
			t.Errorf("%q: %v", date, got)
		}
	}
}

// mfaReplica is a process that logs in with codes.
func mfaReplica(t *testing.T, server *veeamtest.Server, steps totp.Steps) (*Client, *Account) {
	t.Helper()
	client := &Client{
		Product: lookup(t, "vspc"), Transport: server.Transport(), BaseURL: "https://veeam.test",
		TOTPLedger: &totp.Ledger{}, TOTPSteps: steps,
	}
	return client, &Account{
		Username: veeamtest.DefaultMFAUser, Password: secret.New(veeamtest.DefaultMFAPassword), TOTP: newTOTP(t, veeamtest.DefaultTOTPSecret),
	}
}

func TestTheClientTellsOfTheOffset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := veeamtest.New(veeamtest.VSPC, veeamtest.WithClock(func() time.Time { return time.Now().Add(40 * time.Second) }))
		c, a := mfaReplica(t, server, nil)
		var told time.Duration
		c.Clock = func(offset time.Duration) { told = offset }
		if _, err := c.Login(t.Context(), a); err != nil || (told-40*time.Second).Abs() > 2*time.Second {
			t.Errorf("%v, told %v", err, told)
		}
	})
}

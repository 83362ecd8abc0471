// Tests of the lifetime of tokens, case by case.

package veeam

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// jwt makes a token with these claims and no signature worth the name.
func jwt(claims string) string {
	return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func TestLifetime(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	exp := func(d time.Duration) int64 { return now.Add(d).Unix() }
	opaque := "an-opaque-token"
	for _, tt := range []struct {
		expiresIn, access string
		want              time.Duration
	}{
		{`3600`, opaque, time.Hour},
		{`900`, jwt(fmt.Sprintf(`{"exp":%d}`, exp(time.Hour))), 15 * time.Minute}, // expires_in wins
		{`3599.5`, opaque, 3599*time.Second + 500*time.Millisecond},
		{`9e2`, opaque, 15 * time.Minute},
		{`"3600"`, opaque, time.Hour},
		{`" 3600.0 "`, opaque, time.Hour},
		{`0.25`, opaque, time.Second},
		{`86400`, opaque, 24 * time.Hour},
		{`86401`, opaque, 24 * time.Hour},
		{`1e12`, opaque, 24 * time.Hour},
		{`1e400`, opaque, 24 * time.Hour},
		{`99999999999999999999999999`, opaque, 24 * time.Hour},
		{`0`, opaque, time.Minute},
		{`-1`, opaque, time.Minute},
		{`"-3600"`, opaque, time.Minute},
		{`-1e400`, opaque, time.Minute},
		{``, opaque, 15 * time.Minute},
		{`null`, opaque, 15 * time.Minute},
		{`""`, opaque, 15 * time.Minute},
		{`"abc"`, opaque, 15 * time.Minute},
		{`"NaN"`, opaque, 15 * time.Minute},
		{`"Infinity"`, opaque, 15 * time.Minute},
		{`"0x10"`, opaque, 15 * time.Minute},
		{`"1_000"`, opaque, 15 * time.Minute},
		{`true`, opaque, 15 * time.Minute},
		{`{"seconds":3600}`, opaque, 15 * time.Minute},
		{`[3600]`, opaque, 15 * time.Minute},

		{``, jwt(fmt.Sprintf(`{"exp":%d}`, exp(40*time.Minute))), 40 * time.Minute},
		{`null`, jwt(fmt.Sprintf(`{"exp":"%d"}`, exp(48*time.Minute))), 48 * time.Minute}, // VSPC's are strings
		{`"abc"`, jwt(fmt.Sprintf(`{"exp":%d.0}`, exp(time.Hour))), time.Hour},
		{``, jwt(fmt.Sprintf(`{"exp":%d}`, exp(14*24*time.Hour))), 24 * time.Hour},
		{``, jwt(`{"exp":1e30}`), 24 * time.Hour},
		{``, jwt(fmt.Sprintf(`{"exp":%d}`, exp(-time.Hour))), 15 * time.Minute}, // one of the clocks is wrong
		{``, jwt(`{"exp":"soon"}`), 15 * time.Minute},
		{``, jwt(`{}`), 15 * time.Minute},
		{``, jwt(`not json`), 15 * time.Minute},
		{``, "a.%%.c", 15 * time.Minute},
		{``, "a.b", 15 * time.Minute},
		{``, "a." + base64.StdEncoding.EncodeToString([]byte(`{"exp":1700000060}`)) + ".c", time.Minute},
	} {
		if got := readLifetime(json.RawMessage(tt.expiresIn), tt.access, now); got != tt.want {
			t.Errorf("%s with %s: got %v, want %v", tt.expiresIn, tt.access, got, tt.want)
		}
	}
}

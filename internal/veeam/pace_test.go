// Tests of the turns of token requests: who has to wait for one, and when.

package veeam

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
	"github.com/caddy-veeam/veeam-auth/internal/ratelimit"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// pacer has requests wait, and keeps what it is told.
type pacer struct {
	wait  time.Duration
	err   error
	steps []ratelimit.Step
	told  []time.Duration
}

func (p *pacer) Pace(ctx context.Context, step ratelimit.Step) error {
	p.steps = append(p.steps, step)
	if p.err != nil {
		return p.err
	}
	return bounded.Sleep(ctx, p.wait)
}

func (p *pacer) Throttled(_ context.Context, wait time.Duration) { p.told = append(p.told, wait) }

type tooSoonError time.Duration

func (tooSoonError) Error() string          { return "too soon" }
func (d tooSoonError) Delay() time.Duration { return time.Duration(d) }

func TestEveryTokenRequestHasATurn(t *testing.T) {
	const token, codeBody = `{"access_token":"a","refresh_token":"r","expires_in":60}`, `{"code":"c"}`
	withCode := func(a *Account) { a.TOTP = newTOTP(t, rfcSHA1) }
	for _, tt := range []struct {
		name, product string
		change        func(*Account)
		answers       []string
		want          []ratelimit.Step
	}{
		{"password", "vbr", nil, []string{token}, []ratelimit.Step{ratelimit.StepOnly}},
		{"password with a code", "vspc", withCode, []string{challengeBody, token}, []ratelimit.Step{ratelimit.StepFirst, ratelimit.StepNext}},
		{"a code that is not asked for", "azure", withCode, []string{token}, []ratelimit.Step{ratelimit.StepFirst}},
		{"refresh token", "aws", func(a *Account) { a.Grant = GrantRefreshToken }, []string{token}, []ratelimit.Step{ratelimit.StepOnly}},
		{"authorization code", "vbr", func(a *Account) { a.Grant = GrantAuthorizationCode }, []string{token}, []ratelimit.Step{ratelimit.StepOnly}},
		{"authorization code of a parent", "vbr", func(a *Account) {
			a.Grant, a.Parent = GrantAuthorizationCode, parent(new([]string))
		}, []string{codeBody, token}, []ratelimit.Step{ratelimit.StepOnly}},
		{"saml", "azure", func(a *Account) { a.Grant = GrantSAML }, []string{token}, []ratelimit.Step{ratelimit.StepOnly}},
		{"a code that somebody else was asked for", "aws", func(a *Account) {
			a.Grant, a.MFAToken = GrantMFA, secret.New("mfa-canary")
		}, []string{token}, []ratelimit.Step{ratelimit.StepNext}},
		{"API key", "vspc", func(a *Account) { a.Grant, a.Password = GrantAPIKey, secret.New("key") }, nil, nil},
		{"public key", "vspc", func(a *Account) {
			a.Grant, a.Key = GrantPublicKey, keyAccount(t, "").Key
		}, []string{challenge(t, PaddingPKCS1v15, "c"), token}, []ratelimit.Step{ratelimit.StepFirst, ratelimit.StepNext}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var answers []canned
			for _, body := range tt.answers {
				answers = append(answers, canned{status: 200, body: body})
			}
			c, _ := client(t, tt.product, answers...)
			p := &pacer{}
			c.Pacer = p
			a := testAccount()
			if tt.change != nil {
				tt.change(a)
			}
			login(t, c, a)
			if !slices.Equal(p.steps, tt.want) {
				t.Errorf("steps %v, want %v", p.steps, tt.want)
			}
		})
	}
}

func TestACodeIsMadeWhenItsTurnHasCome(t *testing.T) {
	for _, used := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(3 * time.Second)
			a := testAccount()
			a.TOTP = newTOTP(t, rfcSHA1)
			c, s := client(t, "vspc", canned{status: 200, body: challengeBody}, canned{status: 200, body: `{"access_token":"a"}`})
			c.Pacer = &pacer{wait: 28 * time.Second}
			if used { // then that of the next step is waited for before the turn
				useCode(t, c, a)
			}
			login(t, c, a)
			form, _ := url.ParseQuery(s.seen[1].body)
			if want, _ := totp.GenerateCode(rfcSHA1, time.Now()); form.Get("mfa_code") != want {
				t.Errorf("sent %s, the code of the moment is %s", form.Get("mfa_code"), want)
			}
			if took := time.Since(time.Unix(946684800, 0)); took > 75*time.Second {
				t.Errorf("at %v", took)
			}
		})
	}
}

func TestWhatIsNotSentForItsPaceIsThrottled(t *testing.T) {
	c, s := client(t, "vbr")
	c.Pacer = &pacer{err: tooSoonError(42 * time.Second)}
	_, err := c.Login(context.Background(), testAccount())
	if e := fault(t, err, KindThrottled); e.RetryAfter != 42*time.Second || e.Product != "vbr" || e.Grant != GrantPassword || len(s.seen) != 0 {
		t.Errorf("%+v, %d requests", e, len(s.seen))
	}
	c.Pacer = &pacer{wait: time.Hour}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err = c.Refresh(ctx, testAccount(), secret.New("r"))
	fault(t, err, KindTimeout)
}

func TestThePacerIsToldWhatTheServerAsksFor(t *testing.T) {
	for _, tt := range []struct {
		answer canned
		want   []time.Duration
	}{
		{canned{status: 429}, []time.Duration{0}},
		{canned{status: 429, header: http.Header{"Retry-After": {"7"}}}, []time.Duration{7 * time.Second}},
		{canned{status: 429, body: `{"errors":[{"type":"transport","code":429,"retryAfter":25}]}`}, []time.Duration{25 * time.Second}},
		{canned{status: 503, header: http.Header{"Retry-After": {"9"}}}, []time.Duration{9 * time.Second}},
		{canned{status: 503}, nil},
		{canned{status: 400, header: http.Header{"Retry-After": {"9"}}}, nil},
		{canned{err: errors.New("connection reset")}, nil},
	} {
		c, _ := client(t, "vspc", tt.answer)
		p := &pacer{}
		c.Pacer = p
		if _, err := c.Login(context.Background(), testAccount()); err == nil {
			t.Error("a token")
		}
		if !slices.Equal(p.told, tt.want) {
			t.Errorf("%+v: told %v, want %v", tt.answer, p.told, tt.want)
		}
	}
}

func TestPacesAreWrittenAsInTheConfiguration(t *testing.T) {
	for want, p := range map[string]ratelimit.Rates{
		"off": {}, "1/s 5/m 1500/h": {PerSecond: 1, PerMinute: 5, PerHour: 1500}, "20/s": {PerSecond: 20}, "3/m": {PerMinute: 3},
	} {
		if p.String() != want {
			t.Errorf("%+v is %s, want %s", p, p, want)
		}
	}
	// These servers refuse what exceeds a quota that is published.
	published := map[string]ratelimit.Rates{"vb365": {PerSecond: 1, PerMinute: 5, PerHour: 1500}}
	for _, p := range products {
		if quota, ok := published[p.Name]; ok {
			if p.Pace != quota {
				t.Errorf("%s: the pace is %s", p.Name, p.Pace)
			}
			continue
		}
		if p.Pace.PerSecond < 5 || p.Pace.PerMinute < 60 {
			t.Errorf("%s: a start with many accounts would notice a pace of %s", p.Name, p.Pace)
		}
	}
}

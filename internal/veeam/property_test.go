// Properties that hold for every date and every form.

package veeam

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestEveryDateIsReadInTheLayoutInWhichItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		quarter := rapid.IntRange(-48, 56).Draw(t, "quarters of an hour")
		want := DateLayout{
			Fraction: rapid.IntRange(0, 9).Draw(t, "fraction"),
			Zone:     rapid.SampledFrom([]Zone{ZoneNone, ZoneUTC, ZoneOffset}).Draw(t, "zone"),
		}
		if want.Zone != ZoneUTC {
			want.Offset = quarter * 15 * 60
		}
		now := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "time"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds"))
		text := string(want.append(nil, now))
		got := readDateLayout(text, now)
		if got == nil || *got != want {
			t.Fatalf("%s: got %+v, want %+v", text, got, want)
		}
	})
}

// A request that one of our clients would send is read as what it was.
func TestWhatIsSentIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SampledFrom(products).Filter(func(p *Product) bool { return p.legacy == nil }).Draw(t, "product")
		text := rapid.String().Filter(func(s string) bool { return s != "" && strings.TrimSpace(s) == s })
		want := flat{
			Grant:    GrantPassword,
			Username: text.Draw(t, "username"),
			Password: text.Draw(t, "password"),
			Refresh:  text.Draw(t, "refresh token"),
		}
		f := p.newForm(GrantPassword)
		f.add("username", want.Username)
		f.add("password", want.Password)
		f.add("refresh_token", want.Refresh)
		body := strings.Replace(f.body.String(), "&", rapid.StringMatching(`&{1,5}(code=&)?`).Draw(t, "blanks"), 1)
		r := httptest.NewRequest(http.MethodPost, p.TokenPath, strings.NewReader(body))
		r.Header.Set("Content-Type", formType)
		got, err := p.ReadTokenRequest(r)
		if err != nil || !reflect.DeepEqual(flatten(got), want) {
			t.Fatalf("%s: got %+v, %v, want %+v", body, flatten(got), err, want)
		}
	})
}

// A refusal and a token answer of veeam-auth are never taken for each other.
func TestOurAnswersAreTokensAndOurRefusalsAreNot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SampledFrom(products).Draw(t, "product")
		message := rapid.String().Draw(t, "message")
		body := p.AppendTokenAnswer(nil, Answer{
			AccessToken: "acc", RefreshToken: "ref", Username: message, Role: message, UserID: message,
			Lifetime: time.Duration(rapid.Int64().Draw(t, "lifetime")),
		}, nil)
		own := &answer{status: 200, body: body}
		if p.Idling() { // the answer is a header
			own = &answer{status: 201, header: http.Header{p.carrier.Header: {"acc"}}}
		}
		r, err := p.readReply(own, GrantPassword, time.Now(), nil)
		if err != nil || r.token == nil || r.token.Access.Reveal() != "acc" || r.token.Lifetime < time.Second {
			t.Fatalf("%s: %v", body, err)
		}
		refusal := Refusal{
			Reason:          rapid.SampledFrom([]Reason{ReasonBadCredential, ReasonDenied, ReasonThrottled, "?"}).Draw(t, "reason"),
			Message:         message,
			AtTokenEndpoint: rapid.Bool().Draw(t, "at the token endpoint"),
		}
		body, _ = p.AppendError(nil, refusal)
		if r, err := p.readReply(&answer{status: p.Status(refusal), header: http.Header{}, body: body}, GrantPassword, time.Now(), nil); err == nil {
			t.Fatalf("%s became %+v", body, r)
		}
	})
}

func BenchmarkReadTokenRequest(b *testing.B) {
	p := lookup(b, "vbr")
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, p.TokenPath, strings.NewReader("grant_type=password&username=u&password=p%40"))
		if _, err := p.ReadTokenRequest(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendTokenAnswer(b *testing.B) {
	p := lookup(b, "azure")
	o, err := readObject([]byte(golden(b, "azure_password.json")))
	if err != nil {
		b.Fatal(err)
	}
	shape, buf := readShape(o, time.Now()), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		buf = p.AppendTokenAnswer(buf[:0], Answer{AccessToken: "a", RefreshToken: "r", Lifetime: time.Hour}, shape)
	}
}

// Tests of what is kept of a server's answer, and of the answers of veeam-auth.

package veeam

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestDatesAreReadAndWrittenAlike(t *testing.T) {
	now := time.Date(2025, 4, 24, 13, 24, 18, 183216300, time.UTC)
	for _, tt := range []struct {
		text string
		want *DateLayout
	}{
		{"2025-04-24T15:24:18+02:00", &DateLayout{Zone: ZoneOffset, Offset: 7200}},
		{"2025-04-24T07:54:18.18-05:30", &DateLayout{Fraction: 2, Zone: ZoneOffset, Offset: -19800}},
		{"2025-04-24T13:24:18.1832163Z", &DateLayout{Fraction: 7, Zone: ZoneUTC}},
		{"2025-04-24T13:24:18.183216300Z", &DateLayout{Fraction: 9, Zone: ZoneUTC}},
		{"2025-04-24T13:24:18Z", &DateLayout{Zone: ZoneUTC}},
		{"2025-04-24T13:24:18", &DateLayout{}},
		{"2025-04-24T15:24:18.183", &DateLayout{Fraction: 3, Offset: 7200}},
		{"2025-04-24T23:09:18", &DateLayout{Offset: 35100}},
		{"Thu, 24 Apr 2025 13:24:18 GMT", &DateLayout{Zone: ZoneGMT}},
	} {
		got := readDateLayout(tt.text, now)
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %+v, want %+v", tt.text, got, tt.want)
			continue
		}
		if again := string(got.append(nil, now)); again != tt.text {
			t.Errorf("%s: written as %s", tt.text, again)
		}
	}
}

func TestDatesThatSayNothing(t *testing.T) {
	for _, text := range []string{
		"", "yesterday", "0001-01-01T00:00:00Z", "2025-04-24", "2025-13-24T13:24:18Z",
		"2025-04-24T13:24:18.Z", "2025-04-24T13:24:18.1234567890Z", "2025-04-24T13:24:18 CET",
		"2025-04-24T13:24:18+0200", "/Date(1745501058000)/", "2025-04-24 13:24:18Z", "1745501058",
	} {
		if got := readDateLayout(text, time.Now()); got != nil {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}

func TestServerWithAWrongClockHasNoZone(t *testing.T) {
	l := readDateLayout("1999-04-24T13:24:18", time.Date(2025, 4, 24, 13, 0, 0, 0, time.UTC))
	if l == nil || l.Offset != 0 {
		t.Errorf("got %+v", l)
	}
}

func TestDocumentedTokenAnswers(t *testing.T) {
	a := Answer{
		AccessToken: "acc", RefreshToken: "ref", Lifetime: 15 * time.Minute,
		Issued:   time.Date(2025, 6, 10, 10, 29, 39, 123456789, time.UTC),
		Username: "grafana", Role: "PortalAdmin", UserID: "6f63",
	}
	for product, want := range map[string]string{
		"vbr": `{"access_token":"acc","token_type":"bearer","refresh_token":"ref","expires_in":900,` +
			`".issued":"2025-06-10T10:29:39+00:00",".expires":"2025-06-10T10:44:39+00:00","username":"grafana"}`,
		"vspc": `{"access_token":"acc","token_type":"bearer","refresh_token":"ref","mfa_token":null,"encrypted_code":null,"expires_in":900}`,
		"azure": `{"access_token":"acc","token_type":"bearer","refresh_token":"ref","expires_in":900,` +
			`".issued":"2025-06-10T10:29:39.1234567Z",".expires":"2025-06-10T10:44:39.1234567Z",` +
			`"userId":"6f63","username":"grafana","roleName":"PortalAdmin","userType":"Internal",` +
			`"latestNewsShown":true,"mfa_enabled":false,"shortLived":false}`,
		"aws": `{"access_token":"acc","token_type":"bearer","refresh_token":"ref","expires_in":900,` +
			`".issued":"2025-06-10T10:29:39",".expires":"2025-06-10T10:44:39","username":"grafana"}`,
		"one": `{"access_token":"acc","refresh_token":"ref","token_type":"Bearer","expires_in":900,"user":"grafana","user_role":"PortalAdmin"}`,
		"gcp": `{"access_token":"acc","token_type":"bearer","refresh_token":"ref","expires_in":900,` +
			`".issued":"2025-06-10T10:29:39",".expires":"2025-06-10T10:44:39"}`,
	} {
		if got := string(lookup(t, product).AppendTokenAnswer(nil, a, nil)); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", product, got, want)
		}
	}
}

// What we answer has the keys, in their order, and the dates of what the server
// answered us.
func TestAnswersMirrorTheServer(t *testing.T) {
	for _, name := range []string{
		"vbr_password.json", "vspc_password.json", "azure_password.json", "azure_mfa.json",
		"azure_refresh_token.json", "aws_password.json", "aws_mfa.json", "aws_authorization_code.json",
		"gcp_password.json", "gcp_mfa.json", "one_password.json",
	} {
		product, _, _ := strings.Cut(name, "_")
		c, _ := client(t, product, canned{status: 200, body: golden(t, name)})
		token := login(t, c, testAccount())

		asJSON, err := json.Marshal(token.Shape)
		if err != nil {
			t.Fatal(err)
		}
		var shape Shape
		if err := json.Unmarshal(asJSON, &shape); err != nil || !reflect.DeepEqual(shape, *token.Shape) {
			t.Errorf("%s: %s does not survive the store: %v", name, asJSON, err)
		}
		for _, s := range []string{token.Access.Reveal(), token.Refresh.Reveal()} {
			if strings.Contains(string(asJSON), s) {
				t.Errorf("%s: the shape holds a token: %s", name, asJSON)
			}
		}

		own := c.Product.AppendTokenAnswer(nil, Answer{AccessToken: "acc", RefreshToken: "ref", Lifetime: time.Hour}, &shape)
		theirs, err := readObject([]byte(golden(t, name)))
		if err != nil {
			t.Fatal(err)
		}
		ours, err := readObject(own)
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, own)
		}
		if len(ours) != len(theirs) {
			t.Fatalf("%s: got %s", name, own)
		}
		for i := range theirs {
			if ours[i].Key != theirs[i].Key {
				t.Errorf("%s: key %d is %s, want %s", name, i, ours[i].Key, theirs[i].Key)
			}
			if mirrored[fold(ours[i].Key)] && string(ours[i].Value) != string(theirs[i].Value) {
				t.Errorf("%s: %s is %s, want %s", name, ours[i].Key, ours[i].Value, theirs[i].Value)
			}
			if strings.HasPrefix(ours[i].Key, ".") && len(ours[i].Value) != len(theirs[i].Value) {
				t.Errorf("%s: %s is %s, want the form of %s", name, ours[i].Key, ours[i].Value, theirs[i].Value)
			}
		}
	}
}

func TestAnswersWithAnUnusualShape(t *testing.T) {
	a := Answer{
		AccessToken: `a"<&>`, RefreshToken: "r", Lifetime: -time.Second, Username: "me",
		Issued: time.Date(2025, 6, 10, 10, 29, 39, 0, time.UTC),
	}
	for _, tt := range []struct{ name, product, server, want string }{
		{
			"only a token", "vbr", `{"access_token":"x"}`,
			`{"access_token":"a\"<&>","token_type":"bearer","refresh_token":"r","expires_in":1,` +
				`".issued":"2025-06-10T10:29:39+00:00",".expires":"2025-06-10T10:29:40+00:00"}`,
		},
		{
			"null mfa_token, unknown and secret keys", "aws",
			`{"access_token":"x","mfa_token":null,"mfa_enabled":false,"session_secret":"s","roleName":{"x":1},"username":"them"}`,
			`{"access_token":"a\"<&>","mfa_enabled":false,"username":"me","token_type":"bearer","refresh_token":"r",` +
				`"expires_in":1,".issued":"2025-06-10T10:29:39",".expires":"2025-06-10T10:29:40"}`,
		},
		{
			"camel case and Bearer", "vspc", `{"tokenType":"Bearer","accessToken":"x","expiresIn":9}`,
			`{"tokenType":"Bearer","accessToken":"a\"<&>","expiresIn":1,"refresh_token":"r","mfa_token":null,"encrypted_code":null}`,
		},
		{
			"the same key twice", "vspc", `{"access_token":"x","accessToken":"y","expires_in":9}`,
			`{"access_token":"a\"<&>","expires_in":1,"token_type":"bearer","refresh_token":"r","mfa_token":null,"encrypted_code":null}`,
		},
	} {
		o, err := readObject([]byte(tt.server))
		if err != nil {
			t.Fatal(err)
		}
		got := string(lookup(t, tt.product).AppendTokenAnswer([]byte(">"), a, readShape(o, a.Issued)))
		if got != ">"+tt.want {
			t.Errorf("%s:\ngot   %s\nwant >%s", tt.name, got, tt.want)
		}
	}
}

func TestAnswerIsIssuedNowByDefault(t *testing.T) {
	o, err := readObject(lookup(t, "azure").AppendTokenAnswer(nil, Answer{Lifetime: time.Hour}, nil))
	if err != nil {
		t.Fatal(err)
	}
	issued, err := time.Parse(time.RFC3339, o.text("issued"))
	if err != nil || time.Since(issued).Abs() > time.Minute {
		t.Errorf("issued %v, %v", issued, err)
	}
}

func TestAnMFAChallengeSaysOfTheUserWhatTheServersSays(t *testing.T) {
	azure, _ := Lookup("azure")
	const theirs = `{"token_type":"bearer","expires_in":0,".issued":"0001-01-01T00:00:00Z",".expires":"0001-01-01T00:00:00Z",` +
		`"userId":"8a5c","username":"u","roleName":"PortalAdmin","userType":"Internal","latestNewsShown":true,"mfa_enabled":true,"mfa_token":"t","shortLived":false}`
	challenge := func(p *Product, s *Shape) string {
		_, body := p.MFAChallenge("u", "t", s)
		return string(body)
	}
	r, err := azure.readReply(&answer{status: http.StatusOK, body: []byte(theirs)}, GrantPassword, time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := challenge(azure, r.shape); got != theirs {
		t.Errorf("got  %s\nwant %s", got, theirs)
	}
	r.shape.Extras = map[string]json.RawMessage{"userid": json.RawMessage(`{"x":1}`), "rolename": json.RawMessage(`"open`)}
	for _, s := range []*Shape{nil, {}, r.shape} {
		got := challenge(azure, s)
		if !json.Valid([]byte(got)) || strings.Contains(got, "userId") || strings.Contains(got, "roleName") {
			t.Errorf("%+v: %s", s, got)
		}
	}
}

func TestShapesThatDifferAreNotEqual(t *testing.T) {
	whole := func() *Shape {
		return &Shape{
			Keys: []string{"access_token", "userName"}, TokenType: "bearer", Dates: &DateLayout{Fraction: 3}, Links: "https://em/api",
			Extras: map[string]json.RawMessage{"username": json.RawMessage(`"a"`)},
		}
	}
	if !whole().Equal(whole()) || !new(Shape).Equal(new(Shape)) || !(*Shape)(nil).Equal(nil) {
		t.Error("equal shapes differ")
	}
	others := map[string]*Shape{"nothing": nil, "empty": new(Shape)}
	for name, change := range map[string]func(*Shape){
		"keys":       func(s *Shape) { s.Keys[1] = "username" },
		"fewer keys": func(s *Shape) { s.Keys = s.Keys[:1] },
		"type":       func(s *Shape) { s.TokenType = "Bearer" },
		"dates":      func(s *Shape) { s.Dates.Offset = 3600 },
		"no dates":   func(s *Shape) { s.Dates = nil },
		"links":      func(s *Shape) { s.Links = "" },
		"a value":    func(s *Shape) { s.Extras["username"] = json.RawMessage(`"b"`) },
		"no value":   func(s *Shape) { s.Extras = nil },
	} {
		others[name] = whole()
		change(others[name])
	}
	for name, other := range others {
		if whole().Equal(other) || other.Equal(whole()) {
			t.Errorf("%s: equal", name)
		}
	}
	if reflect.TypeFor[Shape]().NumField() != 5 {
		t.Error("Equal compares five fields")
	}
}

// Tests of logins by Basic, of sessions in a header, and of errors in two formats.

package veeam

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
)

// session is what the server of these tests gives out.
const (
	sessionHeaderCanary = "NDRjZmJkYmUtNWE5NS00NDY1LWE3YjQtNTIwZWVhNGZjMjE5"
	sessionIDCanary     = "44cfbdbe-5a95-4465-a7b4-520eea4fc219"
)

func logonAnswer(status int, header, location, body string) canned {
	h := http.Header{}
	if header != "" {
		h[http.CanonicalHeaderKey("X-RestSvcSessionId")] = []string{header}
	}
	if location != "" {
		h["Location"] = []string{location}
	}
	return canned{status: status, header: h, body: body}
}

func TestBasicLogon(t *testing.T) {
	for name, tt := range map[string]struct {
		answer canned
		id     string // that ends the session; empty if it cannot be ended
		bad    bool
	}{
		"JSON of 12":            {answer: logonAnswer(201, sessionHeaderCanary, "", `{"UserName":"a","SessionId":"`+sessionIDCanary+`"}`), id: sessionIDCanary},
		"JSON of 13":            {answer: logonAnswer(201, sessionHeaderCanary, "", `{"userName":"a","sessionId":"`+sessionIDCanary+`"}`), id: sessionIDCanary},
		"JSON after a mark":     {answer: logonAnswer(201, sessionHeaderCanary, "", "\ufeff"+`{"sessionId":"`+sessionIDCanary+`"}`), id: sessionIDCanary},
		"XML":                   {answer: logonAnswer(201, sessionHeaderCanary, "https://x/api/logonSessions/"+sessionIDCanary, "<LogonSession/>"), id: sessionIDCanary},
		"no id":                 {answer: logonAnswer(201, sessionHeaderCanary, "", "")},
		"an id that is a path":  {answer: logonAnswer(201, sessionHeaderCanary, "", `{"sessionId":"../../jobs/12345678"}`)},
		"no header":             {answer: logonAnswer(201, "", "", `{"sessionId":"`+sessionIDCanary+`"}`), bad: true},
		"no 201":                {answer: logonAnswer(200, sessionHeaderCanary, "", `{}`), bad: true},
		"a header with a break": {answer: logonAnswer(201, "a b", "", `{}`), bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := client(t, "em", tt.answer, canned{status: 200, body: "{}"}, canned{status: 204})
			tok, err := c.Login(context.Background(), testAccount())
			if tt.bad {
				if e, ok := errors.AsType[*Error](err); !ok || e.Kind != KindMalformed {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil || tok.Access.Reveal() != sessionHeaderCanary || tok.Lifetime != 14*time.Minute {
				t.Fatalf("got %+v, %v", tok, err)
			}
			sent := s.seen[0]
			user, password, ok := (&http.Request{Header: sent.header}).BasicAuth()
			if sent.method != "POST" || !strings.HasSuffix(sent.url, "/api/sessionMngr/?v=latest") || sent.body != "" || !ok || user != "svc-monitor" || password != testAccount().Password.Reveal() {
				t.Errorf("sent %+v", sent)
			}
			if tt.id == "" {
				if err := c.Logout(context.Background(), tok); !errors.Is(err, ErrNoLogout) || !tok.Refresh.IsZero() {
					t.Errorf("got %v", err)
				}
				return
			}
			kept, err := c.Refresh(context.Background(), testAccount(), tok.Refresh)
			if err != nil || !kept.Access.Equal(tok.Access) || !kept.Refresh.Equal(tok.Refresh) {
				t.Fatalf("got %+v, %v", kept, err)
			}
			if err := c.Logout(context.Background(), kept); err != nil {
				t.Fatal(err)
			}
			for i, method := range []string{"GET", "DELETE"} {
				sent := s.seen[i+1]
				if sent.method != method || !strings.HasSuffix(sent.url, "/api/logonSessions/"+tt.id) || len(sent.header["X-RestSvcSessionId"]) != 1 || sent.header.Get("Authorization") != "" { //nolint:staticcheck // the raw spelling is what is tested
					t.Errorf("sent %+v", sent)
				}
			}
		})
	}
}

func TestASessionThatIsGoneIsNotKept(t *testing.T) {
	for status, want := range map[int]Kind{401: KindRefused, 403: KindRefused, 404: KindRefused, 405: KindRefused, 503: KindServerFault, 302: KindMalformed} {
		c, _ := client(t, "em", canned{status: status, body: `{"message":"` + sessionIDCanary + sessionHeaderCanary + `"}`})
		_, err := c.Refresh(context.Background(), testAccount(), secret.New(sessionIDCanary+" "+sessionHeaderCanary))
		if e, ok := errors.AsType[*Error](err); !ok || e.Kind != want {
			t.Errorf("%d: got %v", status, err)
		}
		if strings.Contains(err.Error(), sessionIDCanary) || strings.Contains(err.Error(), sessionHeaderCanary) {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestAUserNameWithAColonIsNotSentByBasic(t *testing.T) {
	c, s := client(t, "em", canned{status: 201})
	a := testAccount()
	a.Username = "svc:monitor"
	if _, err := c.Login(context.Background(), a); !errors.Is(err, errColon) || len(s.seen) > 0 {
		t.Errorf("got %v, %d requests", err, len(s.seen))
	}
}

func TestErrorsOfEnterpriseManager(t *testing.T) {
	p := lookup(t, "em")
	for accept, want := range map[string]Format{
		"": FormatXML, "*/*": FormatXML, "application/xml": FormatXML, "application/json": FormatCamel,
		"Application/JSON;q=1, application/xml": FormatCamel, "text/xml, application/json": FormatXML,
	} {
		h := http.Header{}
		if accept != "" {
			h.Set("Accept", accept)
		}
		format := FormatOf(h, true)
		body, contentType := p.AppendError(nil, Refusal{Reason: ReasonDenied, Message: `a "<b>" & c`, Format: format})
		var read struct {
			Message    string `xml:",attr"`
			StatusCode int    `xml:",attr"`
		}
		err := xml.Unmarshal(body, &read)
		if format != FormatXML {
			err = json.Unmarshal(body, &read)
		}
		if format != want || err != nil || read.Message != `a "<b>" & c (denied)` || read.StatusCode != 403 || contentType != format.ContentType() {
			t.Errorf("%q: %v: %s, %v", accept, format, body, err)
		}
	}
	body, _ := p.AppendError(nil, Refusal{Reason: ReasonDenied, Format: FormatPascal})
	if !strings.Contains(string(body), `"StatusCode":403`) {
		t.Errorf("got %s", body)
	}
}

func TestASpellingIsThatOfTheLatestAnswerThatShowsOne(t *testing.T) {
	var s Spelling
	shape := func(body string) *Shape {
		o, err := readObject([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return readShape(o, time.Now())
	}
	for _, tt := range []struct {
		shape *Shape
		camel bool
	}{
		{nil, true},
		{shape(`{"Links":[],"UserName":"a","SessionId":"b"}`), false},
		{nil, false},
		{shape(`{}`), false},
		{shape(`{"links":[],"userName":"a","sessionId":"b"}`), true},
	} {
		if s.See(tt.shape); s.Camel() != tt.camel {
			t.Errorf("after %+v: %t", tt.shape, s.Camel())
		}
	}
	var none *Spelling
	if none.See(shape(`{"UserName":"a"}`)); !none.Camel() {
		t.Error("without a memory it is not the default")
	}
}

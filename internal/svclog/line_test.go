// This file holds the tests of the request line and the response line, and of
// the entries' structured form.

package svclog

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestAppendRequest(t *testing.T) {
	for name, c := range map[string]struct {
		r    Request
		want string
	}{
		"least": {Request{}, `[User: Anonymous][UNKNOWN] request to [/] deserialized. Message: []; Parameters: [].`},
		"user": {
			Request{User: `LAB\svc`, Method: "GET", Path: "/a"},
			`[User: LAB\svc][GET] request to [/a] deserialized. Message: []; Parameters: [].`,
		},
		"brackets": {
			Request{User: "a][b", Method: "GET", Path: "/a[0]?x=]"},
			`[User: a\u005d[b][GET] request to [/a[0%5D?x=%5D] deserialized. Message: []; Parameters: [].`,
		},
		"line ends": {
			Request{User: "a\nb", Method: "get", Path: "/a\r\n b\xe5\x7f"},
			`[User: a\nb][GET] request to [/a%0D%0A%20b%E5%7F] deserialized. Message: []; Parameters: [].`,
		},
		"method": {
			Request{Method: "M-SEARCH", Path: "*"},
			`[User: Anonymous][UNKNOWN] request to [*] deserialized. Message: []; Parameters: [].`,
		},
		"long method": {
			Request{Method: strings.Repeat("A", 30), Path: "*"},
			`[User: Anonymous][UNKNOWN] request to [*] deserialized. Message: []; Parameters: [].`,
		},
		"secrets": {
			Request{User: "Bearer abc", Method: "GET", Path: "/a?password=b"},
			`[User: Bearer ****][GET] request to [/a?password=****] deserialized. Message: []; Parameters: [].`,
		},
		"pretty JSON": {
			Request{Method: "PUT", Path: "/a", Body: []byte("{\r\n\t\"a\": [\n1 ]\n}")},
			`[User: Anonymous][PUT] request to [/a] deserialized. Message: [{   "a": [ 1 ] }]; Parameters: [].`,
		},
		"body that looks like the frame": {
			Request{Method: "PUT", Path: "/a", Body: []byte(`["]; Parameters: [A: b; ]."]`), Host: "h"},
			`[User: Anonymous][PUT] request to [/a] deserialized. Message: [["]; Parameters: [A: b; ]."]]; Parameters: [Host: h; ].`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := string(AppendRequest([]byte("x"), &c.r)); got != "x"+c.want {
				t.Errorf("\n got %s\nwant x%s", got, c.want)
			}
			if !requestLine().MatchString(c.want) {
				t.Error("the expression for requests does not accept it")
			}
		})
	}
}

func TestAppendResponse(t *testing.T) {
	for name, c := range map[string]struct {
		r    Response
		want string
	}{
		"least":    {Response{}, "[UNKNOWN /]: [000]"},
		"no body":  {Response{Method: "GET", Path: "/a b", Status: 200}, "[GET /a%20b]: [200]"},
		"body":     {Response{Method: "GET", Path: "/a?b", Status: 404, Body: []byte("{\n}")}, "[GET /a?b]: [404] { }"},
		"negative": {Response{Method: "GET", Path: "/a", Status: -1}, "[GET /a]: [000]"},
		"four":     {Response{Method: "GET", Path: "/a", Status: 1000}, "[GET /a]: [000]"},
		"keys made": {
			Response{Method: "GET", Path: "/api/v3/Authentication/keys/totp%2Dsecret", Status: 200, Body: []byte(`{"data":{"x":"y"}}`)},
			"[GET /api/v3/Authentication/keys/totp%2Dsecret]: [200] <18 bytes, not shown>",
		},
		"api key": {
			Response{Method: "POST", Path: "/api/v3/users/1/logins/APIkey/?description=a", Status: 201, Body: []byte(`{"data":"y"}`)},
			"[POST /api/v3/users/1/logins/APIkey/?description=a]: [201] <12 bytes, not shown>",
		},
		"no key made": {
			Response{Method: "POST", Path: "/api/v3/users/1/logins/apikey", Status: 403, Body: []byte(`{"errors":[]}`)},
			`[POST /api/v3/users/1/logins/apikey]: [403] {"errors":[]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := string(AppendResponse([]byte("x"), &c.r)); got != "x"+c.want {
				t.Errorf("\n got %s\nwant x%s", got, c.want)
			}
			if !responseLine().MatchString(c.want) {
				t.Error("the expression for responses does not accept it")
			}
		})
	}
}

func TestNothingInTheLineTellsTheLengthOfAPassword(t *testing.T) {
	for _, path := range []string{
		"/api/oauth2/token", "/API/OAuth2/Token/", "/api/v3/token", "/v8/token?x=y", "/api/v1/tok%65n", "/api/v1/token;a",
		"/api/v1/token/authorization_code", "/api/sessionMngr/?v=latest", "/api/v3/authentication/usernamepassword",
	} {
		var lines []string
		for _, password := range []string{"a", "a much longer one than that"} {
			for _, kind := range []string{formType, "application/octet-stream"} {
				body := []byte("username=u&password=" + password)
				lines = append(lines, string(AppendRequest(nil, &Request{
					Method: "POST", Path: path, Body: MaskBody(nil, kind, "", body, false),
					Header: http.Header{"Content-Length": {time.Duration(len(body)).String()}},
				})))
			}
		}
		if lines[0] != lines[2] || lines[1] != lines[3] {
			t.Errorf("%s: the lines differ:\n%s", path, strings.Join(lines, "\n"))
		}
	}
	elsewhere := &Request{Method: "POST", Path: "/api/v1/jobs", Header: http.Header{"Content-Length": {"63"}}}
	if line := string(AppendRequest(nil, elsewhere)); !strings.Contains(line, "Content-Length: 63; ") {
		t.Error(line)
	}
	elsewhere.Body = MaskBody(nil, jsonType, "", []byte(`{"password":"x"}`), false)
	if line := string(AppendRequest(nil, elsewhere)); !strings.Contains(line, "Content-Length: ****; ") {
		t.Error(line)
	}
}

func TestTheIDOfARequestIsPrintedIfAskedFor(t *testing.T) {
	l := Renderer{RequestID: true, UTC: true}
	r, a := postman(), denied()
	r.RequestID, a.RequestID = "5c1a; Host: x", "5c1a]b"
	line := string(l.AppendRequest(nil, noon, zapcore.InfoLevel, r))
	if !strings.Contains(line, `Parameters: [Request-id: 5c1a\u003b Host: x; x-api-version: `) {
		t.Error(line)
	}
	if got := Parse(strings.TrimSuffix(line, "\n"), time.UTC); got.RequestID != `5c1a\u003b Host: x` {
		t.Errorf("%+v", got)
	}
	line = string(l.AppendResponse(nil, noon, zapcore.InfoLevel, a))
	if !strings.HasSuffix(line, `"resourceId":null} [Request-id: 5c1a\u005db]`+"\n") {
		t.Error(line)
	}
	got := Parse(strings.TrimSuffix(line, "\n"), time.UTC)
	if got.RequestID != `5c1a\u005db` || got.Body != string(a.Body) || !got.Time.Equal(noon) {
		t.Errorf("%+v", got)
	}
	a.Body = nil
	line = string(l.AppendResponse(nil, noon, zapcore.InfoLevel, a))
	if got := Parse(strings.TrimSuffix(line, "\n"), time.UTC); got.RequestID == "" || got.Body != "" {
		t.Errorf("%+v", got)
	}
	if line := string(Renderer{}.AppendRequest(nil, noon, zapcore.InfoLevel, r)); strings.Contains(line, "5c1a") {
		t.Error(line)
	}
}

// A header of the same name is read as a header, however it is spelled and whatever it has.
func TestTheIDOfATraceIsPrintedIfThereIsOne(t *testing.T) {
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	r := postman()
	r.Header.Set("Trace-Id", strings.Repeat("0", 32))
	r.RequestID = "5c1a"
	if got := Parse(strings.TrimSuffix(string(Renderer{}.AppendRequest(nil, noon, zapcore.InfoLevel, r)), "\n"), time.UTC); got.TraceID != "" {
		t.Errorf("without a trace: %+v", got)
	}
	r.TraceID = [16]byte{0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36}
	for want, l := range map[string]Renderer{
		"Parameters: [Trace-id: " + id + "; x-api-version: ":                   {},
		"Parameters: [Request-id: 5c1a; Trace-id: " + id + "; x-api-version: ": {RequestID: true},
	} {
		line := string(l.AppendRequest(nil, noon, zapcore.InfoLevel, r))
		if !strings.Contains(line, want) || !strings.Contains(line, "Trace-Id: "+strings.Repeat("0", 32)) {
			t.Error(line)
		}
		if got := Parse(strings.TrimSuffix(line, "\n"), time.UTC); got.TraceID != id || (got.RequestID == "5c1a") != l.RequestID {
			t.Errorf("%+v", got)
		}
		broken := strings.Replace(line, id, "Bearer hunter2", 1)
		if got := Parse(strings.TrimSuffix(broken, "\n"), time.UTC); got.TraceID != "" || got.Parameters[0].Value != "Bearer ****" {
			t.Errorf("%+v", got)
		}
	}
}

func TestLongPathsAreCut(t *testing.T) {
	r := &Request{Method: "GET", Path: "/" + strings.Repeat("a", targetLimit) + "?token=x"}
	line := string(AppendRequest(nil, r))
	if !strings.Contains(line, "aaa<cut%20after%204096%20bytes>] deserialized") {
		t.Errorf("…%s", line[len(line)-80:])
	}
}

// The output of another encoder is masked as well.
func TestEntriesMaskThemselvesInJSON(t *testing.T) {
	enc := zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "msg", SkipLineEnding: true})
	r := postman()
	r.Header.Set("Authorization", "Bearer hunter2")
	r.Path += "?token=hunter2"
	r.RequestID, r.TraceID = "id1", [16]byte{0x4b, 15: 0x36}
	buf, err := enc.EncodeEntry(zapcore.Entry{Message: RequestKey}, []zap.Field{RequestField(r)})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"msg":"request","request":{"thread":36,"request_id":"id1","trace_id":"4b000000000000000000000000000036","user":"Anonymous","method":"POST",` +
		`"path":"/api/oauth2/token?token=****","body":"grant_type=password&username=benyoung&password=****",` +
		`"headers":{"x-api-version":"1.0-rev1","Postman-Token":"bb753b8d-214b-4f4a-8ab6-fa8e57a110c8",` +
		`"Connection":"keep-alive","Content-Length":"****","Content-Type":"application/x-www-form-urlencoded",` +
		`"Accept":"*/*","Accept-Encoding":"gzip, deflate, br","Authorization":"Bearer ****",` +
		`"Host":"172.30.6.5:9419","User-Agent":"PostmanRuntime/7.28.3"}}}`
	if got := buf.String(); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}

	a := denied()
	a.Duration, a.RequestID = 73*time.Millisecond, "id1"
	made := &Response{Method: "GET", Path: "/authentication/keys/rsa", Status: 200, Body: []byte(`{"data":"hunter2"}`)}
	buf, err = enc.EncodeEntry(zapcore.Entry{Message: ResponseKey}, []zap.Field{ResponseField(a), zap.Object("b", made)})
	if err != nil {
		t.Fatal(err)
	}
	want = `{"msg":"response","response":{"thread":8,"request_id":"id1","method":"POST","path":"/api/oauth2/token",` +
		`"status":401,"body":"{\"errorCode\":\"AccessDenied\",\"message\":\"Authentication failed\",\"resourceId\":null}",` +
		`"duration":73000000},"b":{"thread":0,"method":"GET","path":"/authentication/keys/rsa","status":200,` +
		`"body":"<18 bytes, not shown>"}}`
	if got := buf.String(); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

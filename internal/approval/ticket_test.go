package approval

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/caddy-veeam/veeam-auth/internal/canonical"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/test/harness/memorystore"
)

// ticketOf has a request pass.
func ticketOf(t *testing.T, s *Site) outcome {
	t.Helper()
	s.approved(t, the())
	o := s.send(t, the())
	if o.ticket == nil {
		t.Fatalf("%+v", o.refusal)
	}
	return o
}

func TestWhatIsSentIsWhatWasApproved(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*http.Request)
		want   string
	}{
		"nothing":           {func(*http.Request) {}, ""},
		"other headers":     {func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.1"); r.Header.Del("User-Agent") }, ""},
		"an unknown length": {func(r *http.Request) { r.ContentLength = -1 }, ""},
		"a longer body":     {func(r *http.Request) { r.Body = io.NopCloser(io.MultiReader(r.Body, strings.NewReader(" "))) }, "body"},
		"a shorter body":    {func(r *http.Request) { r.Body = io.NopCloser(io.LimitReader(r.Body, 5)) }, "body"},
		"another body": {func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(strings.Replace(the().body, "nightly", "Nightly", 1)))
		}, "body"},
		"no body":           {func(r *http.Request) { r.Body = http.NoBody }, "body"},
		"none at all":       {func(r *http.Request) { r.Body = nil }, "body"},
		"another length":    {func(r *http.Request) { r.ContentLength++ }, "body"},
		"another type":      {func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, "header Content-Type"},
		"no type":           {func(r *http.Request) { r.Header.Del("Content-Type") }, "header Content-Type"},
		"a second type":     {func(r *http.Request) { r.Header.Add("Content-Type", "application/json") }, "header Content-Type"},
		"an encoding":       {func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, "header Content-Encoding"},
		"a body that fails": {func(r *http.Request) { r.Body = io.NopCloser(io.MultiReader(r.Body, failingReader{})) }, "body"},
	} {
		s := siteOn(new(memorystore.Storage).Process())
		o := ticketOf(t, s)
		r := o.request
		tt.change(r)
		out, difference := o.ticket.Bind(r)
		if difference != tt.want || (out == nil) != (tt.want != "") {
			t.Errorf("%s: %q, want %q", name, difference, tt.want)
		}
		if out == nil {
			if o.ticket.Close(t.Context()); s.send(t, the()).ticket != nil {
				t.Errorf("%s: it passes after that", name)
			}
			continue
		}
		if body, err := io.ReadAll(out.Body); string(body) != the().body || err != nil || out.ContentLength != int64(len(body)) || out.GetBody != nil {
			t.Errorf("%s: %q is sent, %v", name, body, err)
		}
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// It is sent once, unless it is known that it was not; and what was never sent can be
// approved no second time, but used within its time.
func TestATicketIsForOneAttempt(t *testing.T) {
	t.Parallel()
	type step = func(*testing.T, outcome)
	bind := func(want string) step {
		return func(t *testing.T, o outcome) {
			t.Helper()
			if _, difference := o.ticket.Bind(o.request); difference != want {
				t.Errorf("%q, want %q", difference, want)
			}
		}
	}
	sending := func(_ *testing.T, o outcome) { o.ticket.Sending() }
	unsent := func(_ *testing.T, o outcome) { o.ticket.Unsent() }
	answered := func(_ *testing.T, o outcome) { o.ticket.Answered() }
	for name, tt := range map[string]struct {
		steps []step
		again bool
	}{
		"sent":                                {[]step{bind(""), sending}, false},
		"sent, and tried again":               {[]step{bind(""), sending, bind("second attempt")}, false},
		"no session":                          {[]step{bind("")}, true},
		"no connection":                       {[]step{bind(""), sending, unsent}, true},
		"no connection to the first upstream": {[]step{bind(""), sending, unsent, bind(""), sending}, false},
		"two upstreams without a connection":  {[]step{bind(""), sending, unsent, bind(""), sending, unsent}, true},
		"answered, then no connection":        {[]step{bind(""), sending, answered, unsent}, false},
		"answered, then another upstream":     {[]step{bind(""), sending, answered, unsent, bind("second attempt")}, false},
		"no transport of this module":         {nil, false},
	} {
		s := siteOn(new(memorystore.Storage).Process())
		o := ticketOf(t, s)
		for _, do := range tt.steps {
			do(t, o)
		}
		o.ticket.Close(t.Context())
		if next := s.send(t, the()); (next.ticket != nil) != tt.again || tt.again && next.id != o.id {
			t.Errorf("%s: afterwards %+v", name, next)
		}
	}
	var none *Ticket // of a request that requires no approval
	r := new(http.Request)
	if out, difference := none.Bind(r); out != r || difference != "" {
		t.Error(difference)
	}
	none.Sending()
	none.Answered()
	none.Unsent()
	none.Close(t.Context())
}

func TestNothingHasAnApprovedRequestSentAgain(t *testing.T) {
	t.Parallel()
	s := siteOn(new(memorystore.Storage).Process())
	a := the()
	a.method, a.body = http.MethodDelete, ""
	a.header.Set("Idempotency-Key", "1")
	a.header.Set("X-Idempotency-Key", "1")
	s.approved(t, a)
	o := s.send(t, a)
	out, difference := o.ticket.Bind(o.request)
	if difference != "" || out.Body != http.NoBody || out.GetBody != nil || len(out.Header["Idempotency-Key"])+len(out.Header["X-Idempotency-Key"]) > 0 || len(o.request.Header["Idempotency-Key"]) == 0 {
		t.Errorf("%q %v", difference, out)
	}
}

// Nothing that the client chose has a server take an approved request for another one that it
// has carried out before.
func TestAnApprovedRequestIsNoRepetitionOfAnotherOne(t *testing.T) {
	t.Parallel()
	const chosen = "11111111-2222-3333-4444-555555555555"
	for name, tt := range map[string]struct{ sent, want int }{
		"Idempotency-Key": {1, 0}, "X-Idempotency-Key": {1, 0}, "X-Request-Id": {1, 1}, "x-request-id twice": {2, 1}, "none": {0, 0},
	} {
		header, _, _ := strings.Cut(name, " ")
		s := siteOn(new(memorystore.Storage).Process())
		a := the()
		for range tt.sent {
			a.header.Add(header, chosen)
		}
		s.approved(t, a)
		o := s.send(t, a)
		out, difference := o.ticket.Bind(o.request)
		if difference != "" {
			t.Fatalf("%s: %q", name, difference)
		}
		got := out.Header.Values(header)
		if len(got) != tt.want || slices.Contains(got, chosen) || tt.want > 0 && uuid.Validate(got[0]) != nil {
			t.Errorf("%s: %q is sent", name, got)
		}
		if len(o.request.Header.Values(header)) != tt.sent {
			t.Errorf("%s: the client's request has changed", name)
		}
	}
}

func TestAnOperatorSeesWhatIsApprovedWithoutSecrets(t *testing.T) {
	t.Parallel()
	const secret = "hunter2hunter2"
	shared := new(memorystore.Storage)
	process := shared.Process()
	s := siteOn(process)
	for name, tt := range map[string]struct {
		change       func(*asked)
		body, digest string
		other        string // that has to be in the description
	}{
		"a plain body":      {func(*asked) {}, the().body, "sha256:f8657052f906737f", ""},
		"a secret":          {func(a *asked) { a.body = `{"user":"x","password":"` + secret + `"}` }, `"user":"x"`, "hmac-sha256:", ""},
		"a secret in query": {func(a *asked) { a.target = "/api/v1/x?skip=1&password=" + secret }, the().body, "sha256:", "skip=1"},
		"a secret header":   {func(a *asked) { a.header.Set("X-Env", secret) }, the().body, "sha256:", ""},
		"binary": {func(a *asked) {
			a.body, a.header["Content-Type"] = "\x00\x01"+secret, []string{"application/octet-stream"}
		}, "bytes, not shown", "hmac-sha256:", "octet-stream"},
		"compressed": {func(a *asked) { a.body, a.header["Content-Encoding"] = secret, []string{"br"} }, "bytes, not shown", "hmac-sha256:", "br"},
		"too long":   {func(a *asked) { a.body = `{"a":"` + strings.Repeat("x", 2*shownBody) + `"}` }, `{"a":<cut after 16384 bytes>`, "hmac-sha256:", ""},
		"invisible":  {func(a *asked) { a.body = "{\"a\":\"x\u202ey\u200b\"}" }, `x\u202ey\u200b`, "hmac-sha256:", ""},
		"a terminal": {func(a *asked) { a.body, a.header["Content-Type"] = "name=\x1b[2J", []string{"text/plain"} }, `\u001b[2J`, "hmac-sha256:", ""},
		"none":       {func(a *asked) { a.body = "" }, "", "", ""},
	} {
		a := the()
		tt.change(a)
		a.Client = name
		o := s.send(t, a)
		states, err := s.Approvals.List(t.Context())
		at := slices.IndexFunc(states, func(st State) bool { return st.ID == o.id })
		if err != nil || at < 0 {
			t.Fatalf("%s: %v, %+v", name, err, o.refusal)
		}
		st := states[at]
		if !strings.Contains(st.Body, tt.body) || !strings.HasPrefix(st.BodyDigest, tt.digest) || st.BodyBytes != len(a.body) || (tt.digest == "") != (st.BodyDigest == "") {
			t.Errorf("%s: %+v", name, st)
		}
		if !strings.Contains(st.Query+st.ContentType+st.ContentEncoding, tt.other) || st.Method != a.method || st.Client != name || st.Class != "run" || len(st.Body) > 2*shownBody {
			t.Errorf("%s: %+v", name, st)
		}
	}
	text, err := process.Load(t.Context(), ListPath)
	if err != nil || bytes.Contains(text, []byte(secret)) {
		t.Errorf("the storage has the secret, %v", err)
	}
}

func TestOptionsOfApprovals(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"wait 30m": "", "use_within 1s": "", "max_body 16MiB": "", "max_waiting 1000": "", "max_waiting_per_client 1": "",
		"wait 25h": "wait:", "wait soon": "wait:", "use_within 0s": "use_within:", "use_within": "one value", "wait 1m 2m": "one value",
		"max_body 17MiB": "max_body:", "max_body x": "max_body:", "max_body 0": "max_body:", "max_waiting 0": "max_waiting:", "max_waiting 1001": "max_waiting", "max_waiting_per_client x": "max_waiting_per_client",
	} {
		words := strings.Fields(text)
		err := new(Options).Set(words[0], words[1:])
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, o := range []Options{{MaxBody: -1}, {MaxWaiting: -1}, {MaxWaitingPerClient: 1001}, {Wait: "-1m"}} {
		if _, err := o.Limits(); err == nil {
			t.Errorf("%+v is allowed", o)
		}
	}
}

func TestHeadersThatRulesNameBelongToTheRequest(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`header {"X-Env":["prod"]}`: true, `expression "{http.request.header.X-Env} == 'a'"`: true, `expression "header({'x-env': 'a'})"`: true,
		`not [{"header_regexp":{"X-ENV":{"pattern":"a"}}}]`: true, `path ["/x-environment"]`: false, `header {"X-Envy":[]}`: false, "": false,
	} {
		words := make(canonical.Words)
		words.Add(text)
		names := belonging([]string{"X-Env", "User-Agent", "Content-Type", "X-Api-Version"}, "x-api-version", words)
		if slices.Contains(names, "X-Env") != want || !slices.Contains(names, "Content-Type") || !slices.Contains(names, "X-Api-Version") || slices.Contains(names, "User-Agent") {
			t.Errorf("%s: %v", text, names)
		}
	}
}

// What clients are told is for people, models and scripts.
func TestARefusalSaysWhatToDo(t *testing.T) {
	t.Parallel()
	product, _ := veeam.Lookup("vbr")
	s := siteOn(new(memorystore.Storage).Process())
	o := s.send(t, the())
	body, _ := product.AppendError(nil, *o.refusal)
	want := `{"errorCode":"AccessDenied","message":"An operator must approve this request. Approval id ` + o.id + `. Repeat the identical request after approval. (approval_required)","resourceId":null}`
	if string(body) != want || product.Status(*o.refusal) != http.StatusForbidden {
		t.Errorf("%s", body)
	}
}

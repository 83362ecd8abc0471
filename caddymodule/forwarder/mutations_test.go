package forwarder_test

import (
	"os"
	"strings"
	"testing"
)

// mutation is a fault that the differential test finds; the tag mutations has a test that
// shows it.
type mutation struct{ name, file, from, to string }

const (
	requestFile = "../../internal/forward/request.go"
	answerFile  = "../../internal/forward/answer.go"
)

var mutations = []mutation{
	{"Keep-Alive is passed on", requestFile, `"Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",` + "\n\t\t\"Te\"", `"Proxy-Authenticate", "Proxy-Authorization",` + "\n\t\t\"Te\""},
	{"anybody's X-Forwarded-For is trusted", requestFile, `case trusted && prior != "" && ip != "":`, `case prior != "" && ip != "":`},
	{"no request has a Via", requestFile, `header["Via"] = p.value(`, `_ = p.value(`},
	{"an empty request has a body", requestFile, `case out.ContentLength == 0:`, `case out.ContentLength == 12345:`},
	{"the library names itself", requestFile, `header["User-Agent"] = noValue`, `_ = noValue`},
	{"headers that Connection names are passed on", answerFile, `dropped := named(res.Header)`, `dropped := named(nil)`},
	{"Server is that of Caddy", answerFile, `delete(to, "Server")`, `delete(to, "X-Server")`},
	{"half an answer is a whole one", answerFile, `panic(http.ErrAbortHandler)`, `return`},
	{"an answer without a length gets one", answerFile, `if !l.flushed && l.written <= mayGetLength {`, `if !l.flushed && l.written < 0 {`},
	{"a placeholder is wrong", "forwarder.go", `return x.Status, true`, `return "", true`},
}

func TestEachMutationChangesTheForwarder(t *testing.T) {
	t.Parallel()
	for _, m := range mutations {
		source, err := os.ReadFile(m.file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(source), m.from) != 1 {
			t.Errorf("%s: %q is in %s %d times", m.name, m.from, m.file, strings.Count(string(source), m.from))
		}
	}
}

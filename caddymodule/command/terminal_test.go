package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/internal/health"
)

// hostile is a text that changes a terminal, by sequences of one byte and of two, and by marks
// of direction.
const hostile = "x\x1b]0;title\a\x1b[2J\u009b31m\u202e\r\x00y"

// isPlain reports whether a terminal shows a text as it is.
func isPlain(text string) bool {
	return utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) < 0
}

// Another program may listen at the address, and names and errors are those of others.
func TestNothingThatOthersSayControlsTheTerminal(t *testing.T) {
	row := func() map[string]any {
		said := map[string]any{"accounts": []map[string]any{{"account": hostile, "product": hostile, "reason": hostile, "required": true}}, "scope": map[string]any{}}
		for _, key := range []string{"account", "product", "origin", "state", "reason", "last_error", "error", "holder", "purpose", "name", "client", "via", "id", "method", "path", "query", "body", "digest", "content_type", "server", "operation", "class", "by", "key"} {
			said[key] = hostile
		}
		said["status"], said["body_bytes"] = "waiting", 3
		return said
	}
	answers := map[string]func(path string) (int, any){
		"rows": func(path string) (int, any) {
			if strings.HasPrefix(path, health.Path) {
				said := row()
				delete(said, "error")
				said["status"] = health.StatusNotReady
				return http.StatusServiceUnavailable, said
			}
			return http.StatusOK, []any{row()}
		},
		"a row":     func(string) (int, any) { return http.StatusOK, row() },
		"an error":  func(string) (int, any) { return http.StatusBadRequest, map[string]any{"error": hostile} },
		"a failure": func(string) (int, any) { return http.StatusBadGateway, map[string]any{"error": hostile} },
	}
	for name, answer := range answers {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			status, body := answer(r.URL.Path)
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(body)
		}))
		defer server.Close()
		for _, args := range [][]string{
			{"sessions"},
			{"sessions", "--json"},
			{"sessions", "login", "x"},
			{"tokens", "list"},
			{"tokens", "list", "--json"},
			{"keys", "list"},
			{"keys", "list", "--json"},
			{"approvals", "list"},
			{"approvals", "list", "--json"},
			{"approvals", "deny", "x"},
			{"health"},
		} {
			var said bytes.Buffer
			root := &cobra.Command{Use: "caddy"}
			group := &cobra.Command{Use: Group}
			command.CobraFunc(group)
			root.AddCommand(group)
			root.SetOut(&said)
			root.SetErr(&said)
			root.SetArgs(append(append([]string{Group}, args...), "--address", strings.TrimPrefix(server.URL, "http://")))
			_ = root.Execute()
			if said.Len() == 0 || !isPlain(said.String()) {
				t.Errorf("%s, %q: %q", name, args, said.String())
			}
		}
	}
	report := &checkReport{Account: hostile, Server: hostile, Product: hostile}
	report.fail(hostile, "x", hostile, hostile)
	var out bytes.Buffer
	report.print(linesTo(&out))
	if !isPlain(out.String()) {
		t.Errorf("%q", out.String())
	}
}

// What is printed as JSON is what was said.
func TestPrintableJSONSaysTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		var out bytes.Buffer
		if err := printJSON(&out, []string{text, hostile}); err != nil || !isPlain(out.String()) {
			t.Fatalf("%v %q", err, out.String())
		}
		var got []string
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got) != 2 || got[0] != text || got[1] != hostile {
			t.Fatalf("%v %q, not %q", err, got, text)
		}
	})
}

func TestAnAdminEndpointThatDoesNotEndEndsNoCommand(t *testing.T) {
	t.Parallel()
	var gone func()
	stopped, stop := context.WithCancel(t.Context())
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		gone()
		<-stopped.Done()
	}))
	defer silent.Close()
	defer stop()
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := io.WriteString(w, `[{"account":"`)
		for chunk := bytes.Repeat([]byte("a"), 1<<20); err == nil; {
			_, err = w.Write(chunk)
		}
	}))
	defer endless.Close()
	ask := func(ctx context.Context, server *httptest.Server, method string) error {
		cmd := new(cobra.Command)
		cmd.SetContext(ctx)
		var states []sessionRow
		return (&adminFlags{address: strings.TrimPrefix(server.URL, "http://")}).call(cmd, method, "/", nil, &states)
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		gone = cancel
		err := ask(ctx, silent, method)
		if exit, ok := errors.AsType[*exitError](err); !ok || exit.code != exitFailed || !strings.Contains(err.Error(), "interrupted") {
			t.Errorf("%s: %v", method, err)
		}
		if err := ask(t.Context(), endless, method); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("longer than %d MiB", maxAdminAnswer>>20)) {
			t.Errorf("%s: %v", method, err)
		}
	}
}

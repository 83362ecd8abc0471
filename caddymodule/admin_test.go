package caddymodule

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// askAdmin asks an admin endpoint of a process.
func askAdmin(t testing.TB, process *processState, method, path, body string) (int, string) {
	t.Helper()
	handle := adminapi.Sessions{State: process.State}.Routes()[path]
	if handle == nil {
		t.Fatalf("no route %s", path)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if err := handle(w, r); err != nil {
		return 0, err.Error()
	}
	text, _ := io.ReadAll(w.Body)
	return w.Code, string(text)
}

func states(t *testing.T, text string) []adminapi.SessionState {
	t.Helper()
	var list []adminapi.SessionState
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return list
}

func TestOperatorsSeeSessionsAndNoTokens(t *testing.T) {
	t.Parallel()
	process := newProcess()
	server := veeamtest.New(veeamtest.VBR13)
	_, key := newKeyFile(t)
	tr := cachedIn(t, process, server, t.TempDir(), key, veeamtest.DefaultPassword)
	defer quit(tr)
	ask(t, tr)
	_, text := askAdmin(t, process, http.MethodGet, adminapi.SessionsPath, "")
	list := states(t, text)
	if len(list) != 1 {
		t.Fatal(text)
	}
	if s := list[0]; s.Account != veeamtest.DefaultUser || s.Product != "vbr" || s.State != "valid" || s.ExpiresIn < 800 || !s.Shared || s.Loaded {
		t.Errorf("%+v", s)
	}
	for _, secret := range append(server.Issued(), veeamtest.DefaultPassword) {
		if strings.Contains(text, secret) {
			t.Error("the answer holds a secret")
		}
	}
}

func TestOperatorsForgetRenewAndEndSessions(t *testing.T) {
	t.Parallel()
	process := newProcess()
	server := veeamtest.New(veeamtest.VBR13)
	_, key := newKeyFile(t)
	dir := t.TempDir()
	tr := cachedIn(t, process, server, dir, key, veeamtest.DefaultPassword)
	ask(t, tr)
	body := `{"account": "` + veeamtest.DefaultUser + `"}`

	if _, text := askAdmin(t, process, http.MethodPost, adminapi.SessionsPath+"/login", body); states(t, text)[0].State != "valid" {
		t.Error(text)
	}
	tr.server.State.Settle()
	if c := server.Counters(); c.PasswordGrants != 2 || c.Logouts != 1 || c.LiveSessions != 1 {
		t.Errorf("after login: %+v", c)
	}
	if _, text := askAdmin(t, process, http.MethodPost, adminapi.SessionsPath+"/logout", body); states(t, text)[0].State != "none" {
		t.Error(text)
	}
	if c := server.Counters(); c.LiveSessions != 0 {
		t.Errorf("after logout: %+v", c)
	}
	ask(t, tr)
	if _, text := askAdmin(t, process, http.MethodPost, adminapi.SessionsPath+"/forget", body); states(t, text)[0].State != "none" {
		t.Error(text)
	}
	quit(tr)
	tr = cachedIn(t, process, server, dir, key, veeamtest.DefaultPassword)
	defer quit(tr)
	ask(t, tr)
	if c := server.Counters(); c.PasswordGrants != 4 {
		t.Errorf("a forgotten session came back: %+v", c)
	}
}

func TestAnOperatorsLoginHeedsTheTriesOfOtherProcesses(t *testing.T) {
	t.Parallel()
	server, dir := veeamtest.New(veeamtest.VBR13), t.TempDir()
	_, key := newKeyFile(t)
	body := `{"account": "` + veeamtest.DefaultUser + `", "product": "vbr"}`
	login := func(process *processState) adminapi.SessionState {
		_, text := askAdmin(t, process, http.MethodPost, adminapi.SessionsPath+"/login", body)
		return states(t, text)[0]
	}
	one, other := newProcess(), newProcess()
	for _, process := range []*processState{one, other} {
		tr := cachedIn(t, process, server, dir, key, veeamtest.DefaultPassword)
		defer quit(tr)
		ask(t, tr)
	}
	server.SetPassword(veeamtest.DefaultUser, "changed at the server")
	if s := login(one); !strings.Contains(s.Error, "the login was sent: ") {
		t.Errorf("%+v", s)
	}
	sent := server.Counters().TokenRequests
	if s := login(other); s.State != "valid" || !strings.Contains(s.Error, "nothing was sent: 1 of 2 tries left until ") || server.Counters().TokenRequests != sent {
		t.Errorf("%+v", s)
	}
}

func TestAnOperatorsLoginLiftsTheHold(t *testing.T) {
	t.Parallel()
	process := newProcess()
	server := veeamtest.New(veeamtest.VBR13)
	_, key := newKeyFile(t)
	tr := cachedIn(t, process, server, t.TempDir(), key, "wrong")
	defer quit(tr)
	ask(t, tr)
	body := `{"account": "` + veeamtest.DefaultUser + `", "product": "vbr"}`
	force := strings.Replace(body, "}", `, "force": true}`, 1)
	for _, tt := range []struct {
		body, says string
		sent, left int
	}{
		{body, "nothing was sent: 1 of 2 tries left until ", 1, 1},
		{force, "the login was sent: ", 2, 0},
		{body, "nothing was sent: 0 of 2 tries left until ", 2, 0},
		{force, "the login was sent: ", 3, 0},
	} {
		_, text := askAdmin(t, process, http.MethodPost, adminapi.SessionsPath+"/login", tt.body)
		s := states(t, text)[0]
		if s.State != "held" || s.HeldFor < 200 || !strings.Contains(s.Error, tt.says) || s.Budget == nil || s.Budget.Left != tt.left || s.Budget.Of != 2 ||
			server.Counters().TokenRequests != int64(tt.sent) {
			t.Errorf("after %d token requests: %+v", server.Counters().TokenRequests, s)
		}
	}
	server.SetPassword(veeamtest.DefaultUser, "wrong") // it is the right one now
	if _, text := askAdmin(t, process, http.MethodPost, adminapi.SessionsPath+"/login", force); states(t, text)[0].State != "valid" {
		t.Error(text)
	}
}

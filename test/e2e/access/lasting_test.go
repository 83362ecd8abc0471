// What lasts, streams and websockets, ends with the rights of its caller.

package access

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

// lasts is an answer or a connection. next waits for the next part of it.
type lasts struct {
	next  func() error
	close func() error
}

// stream begins a stream of events.
func (c *client) stream(edits ...edit) lasts {
	c.Helper()
	ctx, leave := context.WithCancel(c.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/api/v1/stream?ms=20&chunks=1000000", http.NoBody)
	if err != nil {
		c.Fatal(err)
	}
	for _, e := range edits {
		e(req)
	}
	res, err := (&http.Client{Transport: c.http.Transport}).Do(req)
	if err != nil {
		c.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		c.Fatal(res.Status)
	}
	lines := bufio.NewReader(res.Body)
	return lasts{func() error {
		for {
			line, err := lines.ReadString('\n')
			if err != nil || strings.HasPrefix(line, "data: ") {
				return err
			}
		}
	}, func() error { leave(); return res.Body.Close() }}
}

// websocket begins a conversation.
func (c *client) websocket(edits ...edit) lasts {
	c.Helper()
	config, err := websocket.NewConfig(strings.Replace(c.base, "http:", "ws:", 1)+"/api/v1/websocket", c.base)
	if err != nil {
		c.Fatal(err)
	}
	req := &http.Request{Header: config.Header}
	for _, e := range edits {
		e(req)
	}
	conn, err := config.DialContext(c.Context())
	if err != nil {
		c.Fatal(err)
	}
	return lasts{func() error {
		if err := conn.SetDeadline(time.Now().Add(harness.Patience)); err != nil {
			return err
		}
		if err := websocket.Message.Send(conn, "hello"); err != nil {
			return err
		}
		var back string
		return websocket.Message.Receive(conn, &back)
	}, conn.Close}
}

// endsSoon reads until it ends, which a deadline is not.
func (l lasts) endsSoon(t *testing.T, what string) {
	t.Helper()
	begun := time.Now()
	for {
		err := l.next()
		var late interface{ Timeout() bool }
		switch {
		case errors.As(err, &late) && late.Timeout(), time.Since(begun) > harness.Patience:
			t.Fatalf("%s: goes on: %v", what, err)
		case err != nil:
			t.Logf("%s: ends after %v: %v", what, time.Since(begun).Round(time.Millisecond), err)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestWhatLastsEndsWithTheRightsOfItsCaller(t *testing.T) {
	t.Parallel()
	const options = "client ci {\n\t\t\ttoken_lifetime 1h\n\t\t}\n\t\tallow *\n\t\t"
	w := newWorld(t.TempDir(),
		&site{Name: "auto", Options: twoClients + "\n\t\t" + options},
		&site{Name: "nested", Options: twoClients + "\n\t\t" + options + "forward nested"})
	w.Global, w.servers = "storage file_system "+t.TempDir(), here(t).servers
	if err := w.writeSecrets(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop) // the servers are everybody's
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		cmd, err := harness.Command(w.Dir, nil, append(append([]string{"veeam-auth"}, args...), "--address", w.Caddy.Admin)...)
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	known := make(map[string]bool) // keys
	for _, name := range []string{"auto", "nested"} {
		c := w.client(t, name)
		for what, end := range map[string]func(p pair, key string){
			"tokens revoke": func(pair, string) { run("tokens", "revoke", "grafana") },
			"logout":        func(p pair, _ string) { c.logout(p) },
			"keys revoke":   func(_ pair, key string) { run("keys", "revoke", key) },
		} {
			what = name + ", " + what
			mine, theirs := c.tokens("grafana", password), c.tokens("nightly", password)
			credential, key := bearer(mine.Access), ""
			if strings.Contains(what, "keys") {
				credential = header("X-API-Key", run("keys", "issue", "ci", "--for", "1h"))
				harness.Eventually(t, "the key is known", func() bool { return c.get("/api/v1/jobs", credential).status == http.StatusOK })
				for line := range strings.Lines(run("keys", "list")) {
					if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[0], "ci-") && !known[fields[0]] {
						known[fields[0]], key = true, fields[0]
					}
				}
			}
			ends := map[string]lasts{"stream": c.stream(credential), "websocket": c.websocket(credential)}
			goesOn := map[string]lasts{"stream": c.stream(bearer(theirs.Access)), "websocket": c.websocket(bearer(theirs.Access))}
			for _, all := range []map[string]lasts{ends, goesOn} {
				for kind, l := range all {
					for range 3 {
						if err := l.next(); err != nil {
							t.Fatalf("%s, %s: %v", what, kind, err)
						}
					}
				}
			}
			end(mine, key)
			for kind, l := range ends {
				l.endsSoon(t, what+", "+kind)
				_ = l.close()
			}
			for begun := time.Now(); time.Since(begun) < 1500*time.Millisecond; {
				for kind, l := range goesOn {
					if err := l.next(); err != nil {
						t.Fatalf("%s, %s of another caller: %v", what, kind, err)
					}
				}
			}
			for _, l := range goesOn {
				_ = l.close()
			}
		}
	}
	w.logs(t, "What was under way ends: the token was logged out or revoked")
	w.logs(t, "What was under way ends: the key ci-")
}

// A reload goes on with the requests that it meets, and Caddy ends websockets.
func TestAStreamEndsWhenItsClientIsTakenOutOfTheConfiguration(t *testing.T) {
	t.Parallel()
	cmd, err := harness.Command(t.TempDir(), nil, "veeam-auth", "keys", "hash", "--new")
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	key, hash := regexp.MustCompile(`vak_\w+`).FindString(string(out)), regexp.MustCompile(`sha256:\w+`).FindString(string(out))
	const grafana, nightly, ci = "\n\t\tclient grafana " + bcryptHash, "\n\t\tclient nightly " + argonHash, "\n\t\tclient ci {\n\t\t\tkey first %s\n\t\t\tkey second %s\n\t\t}"
	second := "sha256:" + strings.Repeat("ab", 32)
	site := &site{Name: "site", Options: "allow *" + grafana + nightly + fmt.Sprintf(ci, hash, second)}
	w := newWorld(t.TempDir(), site)
	w.Global, w.servers = "storage file_system "+t.TempDir(), here(t).servers
	if err := w.writeSecrets(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop) // the servers are everybody's
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	c := w.client(t, "site")
	removed, stays := c.stream(bearer(c.tokens("grafana", password).Access)), c.stream(bearer(c.tokens("nightly", password).Access))
	withKey := c.stream(header("X-API-Key", key))
	site.Options = "allow *" + nightly + strings.Replace(fmt.Sprintf(ci, hash, second), "key first "+hash, "", 1)
	w.reload(t)
	removed.endsSoon(t, "the client is removed")
	withKey.endsSoon(t, "the key is removed")
	for begun := time.Now(); time.Since(begun) < 1500*time.Millisecond; {
		if err := stays.next(); err != nil {
			t.Fatalf("the stream of a client that stays: %v", err)
		}
	}
	for _, l := range []lasts{removed, withKey, stays} {
		_ = l.close()
	}
	w.logs(t, "What was under way ends: the token was issued to a client that is no longer configured")
	w.logs(t, "What was under way ends: the key first is no longer configured")
}

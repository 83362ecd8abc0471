// Every event runs a command: a table with a way to raise each.

package telemetry

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/events"
	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// scene is what raises an event: a site of its own.
type scene struct {
	t     *testing.T
	world *harness.World
	site  *harness.Site
	name  string // of the account
	heard func() bool
}

// write replaces the file with the secret.
func (s *scene) write(secret string) {
	if _, err := s.world.Secret(s.name, secret); err != nil {
		s.t.Fatal(err)
	}
}

// until asks as a client does until the command has run.
func (s *scene) until() {
	harness.Eventually(s.t, s.name+" is told", func() bool { get(s.t, s.site); return s.heard() })
}

// Secrets that no event may have.
const (
	secondPassword = "the second password, which is long"
	wrongPassword  = "a wrong password, which is long"
	codeSeed       = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
)

// way is how an event is raised.
type way struct {
	event   events.Name
	profile veeamtest.Profile
	server  veeamtest.Option
	account string // more of its block
	trust   string
	options string
	secret  string // default: the right password
	raise   func(s *scene)
	want    map[string]string // some of the fields
}

// waysToRaise has a way for each event, in the order of its table.
func waysToRaise() []way {
	const ca = "transport http {\n\t\t\ttls_trust_pool file ca.pem\n\t\t}"
	return []way{
		{
			event: events.CredentialHeld, profile: veeamtest.VBR13, secret: wrongPassword,
			raise: func(s *scene) { s.until() },
			want:  map[string]string{"reason": "credential_refused", "tries_left": "1"},
		}, {
			event: events.CredentialLifted, profile: veeamtest.VBR13, secret: wrongPassword,
			raise: func(s *scene) { get(s.t, s.site); s.write(veeamtest.DefaultPassword); s.until() },
			want:  map[string]string{"cause": "accepted"},
		}, {
			event: events.SecretRotated, profile: veeamtest.VBR13,
			raise: func(s *scene) {
				get(s.t, s.site)
				s.site.Server.SetPassword(veeamtest.DefaultUser, secondPassword)
				s.write(secondPassword)
				s.until()
			},
		}, {
			event: events.NextPassword, profile: veeamtest.VBR13, account: "next_password {file.next}",
			raise: func(s *scene) {
				get(s.t, s.site)
				s.site.Server.SetPassword(veeamtest.DefaultUser, secondPassword)
				s.site.Server.RevokeAll()
				s.until()
			},
		}, {
			event: events.CodeNeeded, profile: veeamtest.AWS,
			server: veeamtest.WithAccount(veeamtest.Account{Username: "code", Password: veeamtest.DefaultPassword, TOTPSecret: codeSeed}), account: "username code",
			raise: func(s *scene) { s.until() },
		}, {
			event: events.Interference, profile: veeamtest.VBR13,
			raise: func(s *scene) {
				for range 4 { // another program logs in
					get(s.t, s.site)
					s.site.Server.RevokeAll()
				}
				s.until()
			},
			want: map[string]string{"times": "3"},
		}, {
			event: events.PinMismatch, profile: veeamtest.VBR13, trust: "tls_pin " + strings.Repeat("AB", 32),
			raise: func(s *scene) { s.until() },
		}, {
			// The session from before goes on: no login and no renewal sees the certificate.
			event: events.CertificateExpiring, profile: veeamtest.VBR13, trust: ca,
			raise: func(s *scene) {
				get(s.t, s.site)
				server := s.site.Server
				server.Close()
				server.SetCertificateEnd(time.Now().AddDate(0, 0, 5))
				if err := server.Start(); err != nil {
					s.t.Fatal(err)
				}
				s.until()
				if n := server.Counters().TokenRequests; n != 1 {
					s.t.Errorf("%d token requests", n)
				}
			},
		}, {
			event: events.ClientThrottled, profile: veeamtest.VBR13, options: "rate_limit 0.01 1",
			raise: func(s *scene) { s.until() },
			want:  map[string]string{"client": "loopback", "source": "127.0.0.1"},
		}, {
			event: events.KeyExpiring, profile: veeamtest.VBR13,
			options: "client ci {\n\t\t\tkey pipeline sha256:" + strings.Repeat("ab", 32) + " {\n\t\t\t\tuntil " + time.Now().AddDate(0, 0, 3).Format(time.DateOnly) + "\n\t\t\t}\n\t\t}",
			raise:   func(s *scene) { s.until() },
			want:    map[string]string{"client": "ci", "key": "pipeline"},
		}, {
			event: events.JWKSFailing, profile: veeamtest.VBR13,
			options: "trust_jwt k8s {\n\t\t\tissuer https://idp.lab.local\n\t\t\taudience veeam-auth\n\t\t\tjwks_file /nonexistent/jwks.json\n\t\t}",
			raise:   func(s *scene) { s.until() },
			want:    map[string]string{"provider": "k8s", "reason": "secret_unreadable", "until": ""},
		}, {
			event: events.ApprovalNeeded, profile: veeamtest.VBR13, options: "approve *",
			raise: func(s *scene) { s.until() },
			want:  map[string]string{"client": "loopback", "method": "GET"},
		}, {
			event: events.DecisionMismatch, profile: veeamtest.VBR13,
			raise: func(s *scene) { s.rewriteAfterDecision(); s.until() },
			want:  map[string]string{"client": "loopback", "difference": "path"},
		}, {
			event: events.SessionLeft, profile: veeamtest.VBR13,
			raise: func(s *scene) {
				s.site.Server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultHang, After: true, Count: 1})
				go func() {
					if res, err := http.Get(s.site.URL() + s.site.Server.Base() + "/echo"); err == nil {
						_ = res.Body.Close()
					}
				}()
				harness.Eventually(s.t, "the server has logged in", func() bool { return s.site.Server.Counters().Logins == 1 })
				s.world.Kill()
				if err := s.world.Start(); err != nil {
					s.t.Fatal(err)
				}
				harness.Eventually(s.t, s.name+" is told", s.heard)
			},
		},
	}
}

// rewriteAfterDecision puts a handler between veeam_auth and the proxy of its site, which
// no Caddyfile can do.
func (s *scene) rewriteAfterDecision() {
	changed := 0
	var walk func(node any)
	walk = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			if list, ok := node["handle"].([]any); ok && len(list) == 2 && strings.Contains(fmt.Sprint(list...), s.site.Server.URL()[len("https://"):]) {
				if first, ok := list[0].(map[string]any); ok && first["handler"] == "veeam_auth" {
					node["handle"] = []any{list[0], map[string]any{"handler": "rewrite", "uri": s.site.Server.Base() + "/elsewhere"}, list[1]}
					changed++
				}
			}
			for _, below := range node {
				walk(below)
			}
		case []any:
			for _, below := range node {
				walk(below)
			}
		}
	}
	if err := s.world.Change(s.t.Context(), func(config map[string]any) { walk(config) }); err != nil {
		s.t.Fatal(err)
	}
	if changed != 1 {
		s.t.Fatalf("%d routes were changed", changed)
	}
}

func TestEveryEventRunsACommandWithItsFields(t *testing.T) {
	t.Parallel()
	w := harness.New(t)
	ways, rows := waysToRaise(), events.Rows()
	var bound strings.Builder
	for i, row := range rows {
		if ways[i].event != row.Name {
			t.Fatalf("%s has no way to raise it", row.Name)
		}
		fmt.Fprintf(&bound, "on %s exec /bin/sh -c `printf '%%s\\n' \"$@\" end >> \"$0\"` %s {event.name}", row.Name, w.File("heard"))
		for _, field := range row.Fields {
			fmt.Fprintf(&bound, " %[1]s={event.data.%[1]s}", field)
		}
		bound.WriteByte('\n')
	}
	w.Global = "events {\n" + bound.String() + "}"
	heard := func() (said [][]string) {
		text, _ := os.ReadFile(w.File("heard"))
		for one := range strings.SplitSeq(string(text), "\nend\n") {
			if lines := strings.Split(one, "\n"); lines[0] != "" {
				said = append(said, lines)
			}
		}
		return said
	}
	if err := os.WriteFile(w.File("ca.pem"), veeamtest.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	next, err := w.Secret("next", secondPassword)
	if err != nil {
		t.Fatal(err)
	}
	scenes := make([]*scene, len(ways))
	for i, way := range ways {
		s := &scene{t: t, world: w, name: strings.TrimPrefix(string(way.event), "veeam_auth_")}
		var options []veeamtest.Option
		account := "username " + veeamtest.DefaultUser + "\n"
		if way.server != nil {
			options, account = append(options, way.server), ""
		}
		secret := way.secret
		if secret == "" {
			secret = veeamtest.DefaultPassword
		}
		s.write(secret)
		s.site = &harness.Site{
			Server: harness.StartServer(t, way.profile, options...), Trust: strings.ReplaceAll(way.trust, "ca.pem", w.File("ca.pem")), Options: way.options,
			Account: "account " + s.name + " {\n\t\t\tpassword {file." + w.File(s.name) + "}\n\t\t\t" + account + "\t\t\t" + strings.ReplaceAll(way.account, "{file.next}", next) + "\n\t\t}",
		}
		s.heard = func() bool {
			return slices.ContainsFunc(heard(), func(said []string) bool {
				about := slices.Contains(said, "account="+s.name) || strings.Contains(strings.Join(said, "\n"), s.site.Server.URL()[len("https://"):]) || !slices.Contains(rows[i].Fields, "origin")
				return said[0] == string(way.event) && about
			})
		}
		scenes[i], w.Sites = s, append(w.Sites, s.site)
	}
	w.Run(t)
	for i, way := range ways {
		way.raise(scenes[i])
	}
	w.Stop()

	told := map[string]bool{}
	for _, said := range heard() {
		told[said[0]] = true
		fields := map[string]string{}
		for _, line := range said[1:] {
			name, value, _ := strings.Cut(line, "=")
			fields[name] = value
		}
		i := slices.IndexFunc(rows, func(row events.Row) bool { return string(row.Name) == said[0] })
		if got := slices.Sorted(maps.Keys(fields)); !slices.Equal(got, slices.Sorted(slices.Values(rows[i].Fields))) || slices.Contains(rows[i].Fields, "product") && fields["product"] == "" || strings.Contains(strings.Join(said, ""), "{event") {
			t.Errorf("a command got %q", said)
		}
		if fields["account"] != "" && fields["account"] != scenes[i].name {
			continue // raised on the way to another one
		}
		for name, want := range ways[i].want {
			if fields[name] != want {
				t.Errorf("a command got %q, want %s=%s", said, name, want)
			}
		}
	}
	if len(told) != len(rows) {
		t.Errorf("told are %v", told)
	}
	text, err := os.ReadFile(w.File("heard"))
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{veeamtest.DefaultPassword, secondPassword, wrongPassword, codeSeed, "/echo", "/elsewhere"}
	for _, s := range scenes {
		secrets = append(secrets, s.site.Server.Issued()...)
	}
	for _, secret := range secrets {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("%q is in an event", secret)
		}
	}
}

package caddymodule

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/caddy-veeam/veeam-auth/caddymodule/dialing"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/metrics"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// rowOf is the one row of an account.
func (w *world) rowOf(name string) adminapi.SessionState {
	w.Helper()
	var found []adminapi.SessionState
	for _, r := range w.State.Rows(context.Background()) {
		if r.Account == name {
			found = append(found, adminapi.Describe(r))
		}
	}
	if len(found) != 1 {
		w.Fatalf("%d rows of %s: %+v", len(found), name, found)
	}
	return found[0]
}

// reads fails the test unless the row and the series of an account say this.
func (w *world) reads(name, state string, reason veeam.Reason) adminapi.SessionState {
	w.Helper()
	row := w.rowOf(name)
	if row.State != state || row.Reason != reason {
		w.Fatalf("%s is %s, %s, want %s, %s: %+v", name, row.State, row.Reason, state, reason, row)
	}
	healthy := "0"
	if reason.Healthy() {
		healthy = "1"
	}
	labels := `{account="` + name + `",product="` + w.server.Profile().Product() + `"`
	problems := testutil.CollectAndCompare(metrics.New(w.State.Live).Sessions, strings.NewReader(`
# HELP caddy_veeam_auth_account_healthy Whether the account can be used at all of its servers.
# TYPE caddy_veeam_auth_account_healthy gauge
caddy_veeam_auth_account_healthy`+labels+`} `+healthy+`
# HELP caddy_veeam_auth_account_reason Current state of the account: 1 for the reason that applies.
# TYPE caddy_veeam_auth_account_reason gauge
caddy_veeam_auth_account_reason`+labels+`,reason="`+string(reason)+`"} 1
`), "caddy_veeam_auth_account_healthy", "caddy_veeam_auth_account_reason")
	if problems != nil {
		w.Fatal(problems)
	}
	return row
}

func TestAConfiguredAccountIsSeenFromTheStartAndOverAReload(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		account := func() *account.Account { return &account.Account{Name: veeamtest.DefaultUser, Password: w.password()} }
		w.start(account())
		if row := w.reads(veeamtest.DefaultUser, "none", veeam.ReasonNotLoggedIn); row.Origin != "" || !row.LastSuccess.IsZero() || !row.LastFailure.IsZero() {
			t.Errorf("before the first request: %+v", row)
		}
		w.demand("200")
		first := w.reads(veeamtest.DefaultUser, "valid", veeam.ReasonOK)
		if first.LastSuccess.IsZero() || time.Since(first.LastSuccess) > time.Second || first.Origin == "" {
			t.Errorf("after it: %+v", first)
		}
		before := w.tr
		w.start(account())
		_ = before.Cleanup()
		w.rest(time.Minute)
		if row := w.reads(veeamtest.DefaultUser, "valid", veeam.ReasonOK); row.LastSuccess.IsZero() || !row.LastSuccess.Equal(first.LastSuccess) {
			t.Errorf("after a reload: %+v, before %+v", row, first)
		}
		w.rest(time.Hour)
		w.reads(veeamtest.DefaultUser, "none", veeam.ReasonNotLoggedIn)
		w.tr.close()
		if rows := w.State.Rows(w.Context()); len(rows) != 0 {
			t.Errorf("no configuration has it any more: %+v", rows)
		}
	})
}

func TestAServerThatIsDownIsSeenWhileATokenLives(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	for name, tt := range map[string]struct {
		err  error
		want veeam.Reason
	}{
		"refused":     {refused, veeam.ReasonUnreachable},
		"no route":    {&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errors.New("no route to host"))}, veeam.ReasonUnreachable},
		"slow":        {os.ErrDeadlineExceeded, veeam.ReasonTimeout},
		"certificate": {errors.New("tls: failed to verify certificate: x509: certificate signed by unknown authority"), veeam.ReasonTLS},
		"pin":         {&veeam.Error{Kind: veeam.KindTLS, Err: pinFaultError{}}, veeam.ReasonPin},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, veeamtest.VBR13, nil, func(w *world) {
				w.start(&account.Account{Name: veeamtest.DefaultUser, Password: w.password()})
				w.demand("200")
				w.wire.intercept(func(req *http.Request) (*http.Response, error) {
					if isGrant(req) {
						return nil, nil
					}
					return nil, tt.err
				})
				w.rest(10 * time.Second)
				w.get()
				row := w.reads(veeamtest.DefaultUser, "valid", tt.want)
				if row.LastError == "" || time.Since(row.LastFailure) > time.Second || !row.LastSuccess.Before(row.LastFailure) {
					t.Errorf("%+v", row)
				}
				w.wire.intercept(nil)
				w.demand("200")
				if row := w.reads(veeamtest.DefaultUser, "valid", veeam.ReasonOK); row.LastError != "" {
					t.Errorf("it is up again: %+v", row)
				}
			})
		})
	}
}

// pinFaultError stands for another certificate than the pinned one.
type pinFaultError struct{}

func (pinFaultError) Error() string        { return "another certificate" }
func (pinFaultError) Reason() veeam.Reason { return veeam.ReasonPin }

func TestAClientThatGoesAwayIsNoOutage(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		w.start(&account.Account{Name: veeamtest.DefaultUser, Password: w.password()})
		w.demand("200")
		ctx, cancel := context.WithCancel(w.Context())
		w.wire.intercept(func(*http.Request) (*http.Response, error) {
			cancel()
			return nil, context.Canceled
		})
		w.askIn(ctx, w.tr, http.MethodGet, "/echo", "")
		w.reads(veeamtest.DefaultUser, "valid", veeam.ReasonOK)
	})
}

func TestAHealthCheckThatFailsIsSeen(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		w.start(&account.Account{Name: veeamtest.DefaultUser, Password: w.password()})
		w.demand("200")
		check := func() {
			// As reverse_proxy's health checks: they have no variables.
			at := reverseproxy.DialInfo{Network: "tcp", Address: "vbr01.lab.local:9419", Host: "vbr01.lab.local", Port: "9419"}
			req, err := http.NewRequestWithContext(dialing.To(context.Background(), at), http.MethodGet,
				memoryScheme+"://vbr01.lab.local:9419/api/v1/serverTime", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			if res, err := w.tr.RoundTrip(req); err == nil {
				_ = res.Body.Close()
			}
		}
		w.wire.intercept(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
		check()
		w.reads(veeamtest.DefaultUser, "valid", veeam.ReasonUnreachable)
		w.wire.intercept(nil)
		check()
		w.reads(veeamtest.DefaultUser, "valid", veeam.ReasonOK)
	})
}

func TestASecretThatCannotBeReadIsSeen(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		text := w.password()
		path := account.FilePlaceholder().FindStringSubmatch(text)[1]
		_ = os.Remove(path)
		w.start(&account.Account{Name: veeamtest.DefaultUser, Password: text})
		if row := w.reads(veeamtest.DefaultUser, "none", veeam.ReasonSecretUnreadable); !strings.Contains(row.LastError, path) {
			t.Errorf("before the first request: %+v", row)
		}
		w.demand("503 secret_unreadable")
		w.reads(veeamtest.DefaultUser, "none", veeam.ReasonSecretUnreadable)
		w.password()
		w.rest(upstream.LookAtSecretsEvery)
		w.reads(veeamtest.DefaultUser, "none", veeam.ReasonNotLoggedIn)
		w.demand("200")
		w.reads(veeamtest.DefaultUser, "valid", veeam.ReasonOK)

		// With a token the files are watched.
		for name, breakIt := range map[string]func(){
			"missing": func() { _ = os.Remove(path) },
			"empty":   func() { _ = os.WriteFile(path, nil, 0o600) },
		} {
			breakIt()
			w.rest((upstream.AbsentLooks + 1) * upstream.WatchEvery)
			if row := w.reads(veeamtest.DefaultUser, "valid", veeam.ReasonSecretUnreadable); !strings.Contains(row.LastError, path) {
				t.Errorf("%s: %+v", name, row)
			}
			w.demand("200") // the token is good
			w.password()
			w.rest(3 * upstream.WatchEvery)
			w.reads(veeamtest.DefaultUser, "valid", veeam.ReasonOK)
		}
	})
}

func TestTheReasonOfAFailedLoginIsSeen(t *testing.T) {
	t.Parallel()
	for _, f := range faults() {
		status, word, _ := strings.Cut(f.want, " ")
		if word == "" {
			t.Fatalf("%s: %s", f.name, status)
		}
		t.Run(strings.ReplaceAll(f.name, " ", "_"), func(t *testing.T) {
			inWorld(t, veeamtest.VBR13, nil, func(w *world) {
				w.start(&account.Account{Name: veeamtest.DefaultUser, Password: w.password()})
				f.begin(w)
				w.demand(f.want)
				state := "failing"
				if f.follows == "held" {
					state = "held"
				}
				row := w.reads(veeamtest.DefaultUser, state, veeam.Reason(word))
				if row.LastError == "" || row.LastFailure.IsZero() || !row.LastSuccess.IsZero() {
					t.Errorf("%+v", row)
				}
				f.end(w)
			})
		})
	}
}

// A counter that appears with its first event has risen for nobody who asks for the
// increase.
func TestTheCountersOfAnAccountBeginAtZero(t *testing.T) {
	t.Parallel()
	inWorld(t, veeamtest.VBR13, nil, func(w *world) {
		const name = "counted from the start"
		w.start(&account.Account{Name: name, Username: veeamtest.DefaultUser, Password: w.password()})
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(w.metrics.Lost, w.metrics.Secrets)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		zeros := 0
		for _, family := range families {
			for _, metric := range family.GetMetric() {
				for _, label := range metric.GetLabel() {
					if label.GetValue() == name && metric.GetCounter().GetValue() == 0 {
						zeros++
					}
				}
			}
		}
		if zeros != 6 {
			t.Errorf("%d counters begin at 0: two of lost tokens and four of changed secrets are wanted", zeros)
		}
	})
}

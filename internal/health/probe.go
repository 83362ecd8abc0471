// The answers to probes.

package health

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/upstream"
)

// Probe is a question of a prober. It is the last part of the path.
type Probe string

// The probes.
const (
	Live    Probe = "live"    // the process answers
	Ready   Probe = "ready"   // requests of the required accounts are likely to succeed
	Startup Probe = "startup" // the configuration is loaded, and logins at the start have had a result
)

// Probes are all probes.
var Probes = []Probe{Live, Ready, Startup}

// Status is the answer to a probe in one word.
type Status string

// The answers.
const (
	StatusLive     Status = "live"
	StatusReady    Status = "ready"
	StatusNotReady Status = "not_ready"
	StatusStarted  Status = "started"
	StatusStarting Status = "starting"
	StatusUnknown  Status = "unknown_account"
)

// Answer is the body of an answer.
type Answer struct {
	Status Status `json:"status"`

	// Accounts are those of the configuration that have a session of their own. Only the
	// required ones decide about the status, or the one that was asked for.
	Accounts []Account `json:"accounts,omitempty"`

	// Error says what is wrong with the question.
	Error string `json:"error,omitempty"`
}

// Prober answers probes.
type Prober struct {
	// Standings are those of upstream.State. Required.
	Standings func(context.Context) (standings []upstream.Standing, begun bool)

	// Loaded reports whether a configuration is in force. Required.
	Loaded func() bool

	// Exiting reports whether the process is about to end: then it is not ready. Required.
	Exiting func() bool

	// MaxAge is how long a success counts without a token. Default: DefaultMaxAge.
	MaxAge time.Duration

	// Operator has answers name servers, and the accounts that exist.
	Operator bool
}

// Path is the path of the probes at the admin endpoint, and the default at a site.
const Path = "/veeam_auth"

// At returns the probe of a path below root; ok is false for other paths.
func At(root, path string) (probe Probe, ok bool) {
	name, below := strings.CutPrefix(path, strings.TrimSuffix(root, "/")+"/")
	return Probe(name), below && slices.Contains(Probes, Probe(name))
}

// ServeProbe answers a request with a probe: 200 for live, ready and started, otherwise
// 503; 404 for an account that does not exist. It takes GET and HEAD.
func (p *Prober) ServeProbe(w http.ResponseWriter, r *http.Request, probe Probe) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	status, answer := p.answer(r, probe)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		_ = json.NewEncoder(w).Encode(answer) // the prober has gone
	}
}

func (p *Prober) answer(r *http.Request, probe Probe) (int, Answer) {
	if probe == Live {
		return http.StatusOK, Answer{Status: StatusLive}
	}
	accounts, begun := p.accounts(r)
	if query := r.URL.Query(); query.Has("account") {
		wanted := query.Get("account")
		found := slices.DeleteFunc(slices.Clone(accounts), func(a Account) bool { return a.Account != wanted })
		if len(found) == 0 {
			return http.StatusNotFound, p.unknown(wanted, accounts)
		}
		for i := range found {
			found[i].asked = true
		}
		accounts = found
	}
	good, status, failed := Account.ready, StatusReady, StatusNotReady
	if probe == Startup {
		good, status, failed = Account.isStarted, StatusStarted, StatusStarting
	}
	ending := probe == Ready && p.Exiting()
	if ending || !begun || !p.Loaded() || slices.ContainsFunc(accounts, func(a Account) bool { return a.counts() && !good(a) }) {
		return http.StatusServiceUnavailable, Answer{Status: failed, Accounts: accounts}
	}
	return http.StatusOK, Answer{Status: status, Accounts: accounts}
}

// accounts are those of the configuration. begun is false before one is in force.
func (p *Prober) accounts(r *http.Request) (accounts []Account, begun bool) {
	maxAge := p.MaxAge
	if maxAge == 0 {
		maxAge = DefaultMaxAge
	}
	standings, begun := p.Standings(r.Context())
	now := time.Now()
	for _, s := range standings {
		a := judge(s, maxAge, now)
		if !p.Operator {
			a.Origin = ""
		}
		accounts = append(accounts, a)
	}
	return accounts, begun
}

func (p *Prober) unknown(wanted string, accounts []Account) Answer {
	answer := Answer{Status: StatusUnknown, Error: "unknown account"}
	if p.Operator {
		names := make([]string, len(accounts))
		for i, a := range accounts {
			names[i] = a.Account
		}
		slices.Sort(names)
		answer.Error = fmt.Sprintf("unknown account %q (accounts with a session of their own: %s)", wanted, strings.Join(slices.Compact(names), ", "))
	}
	return answer
}

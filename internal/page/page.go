// Package page serves the page on which operators see what the sidecar does, and act. It
// is one document without any other file. The JSON beside it has no token and no secret.
package page

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/internal/approval"
	"github.com/caddy-veeam/veeam-auth/internal/buildinfo"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

// Path is the path of the page at the admin endpoint.
const Path = "/veeam_auth/"

// statePath is the last part of the path of the JSON beside the page.
const statePath = "state"

//go:embed page.html
var document string

// contentPolicy is the Content-Security-Policy of the page: its own script and style run, and it
// talks to where it comes from.
var contentPolicy = "default-src 'none'; script-src " + hashOf("script") + "; style-src " + hashOf("style") +
	"; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// hashOf is the source of what stands in an element of the document.
func hashOf(element string) string {
	_, rest, _ := strings.Cut(document, "<"+element+">")
	text, _, found := strings.Cut(rest, "</"+element+">")
	if !found {
		panic("page.html has no " + element)
	}
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// Page answers the requests for the page and for what it shows.
type Page struct {
	// Record has the decisions and the log. Required.
	Record *Record

	// Sessions and Tokens know the accounts and the clients. Required.
	Sessions  adminapi.Sessions
	Tokens    adminapi.Tokens
	Approvals adminapi.Approvals

	// ReadOnly has the page offer no acts.
	ReadOnly bool
}

// started tells processes apart, and since when this one runs.
var started = time.Now()

// State is what the page shows.
type State struct {
	Version string    `json:"version"`
	Caddy   string    `json:"caddy,omitempty"`
	Config  string    `json:"config,omitempty"` // digest of the configuration
	Started time.Time `json:"started"`
	Now     time.Time `json:"now"`

	ReadOnly bool   `json:"read_only,omitempty"`
	Operator string `json:"operator,omitempty"` // who asks, where that is known

	Accounts []Account            `json:"accounts"`
	Clients  []issuer.HolderState `json:"clients"`

	// Approvals are those that wait, and others of the last hour. ApprovalsError is why they
	// cannot be read.
	Approvals      []approval.State `json:"approvals"`
	ApprovalsError string           `json:"approvals_error,omitempty"`

	// Decisions and Lines are those after the numbers in the query. The Last ones are
	// the numbers for the next request.
	Decisions    []Decision `json:"decisions"`
	LastDecision uint64     `json:"last_decision"`
	Lines        []Line     `json:"log"`
	LastLine     uint64     `json:"last_line"`
}

// Account is a session as the admin endpoint describes it, and what its reason means.
type Account struct {
	adminapi.SessionState
	Healthy bool   `json:"healthy,omitempty"`
	Meaning string `json:"meaning"`
	Action  string `json:"action"`
}

// ServeHTTP answers a request: for a path that ends in a slash with the page, for state
// below it with a State. Its error is an *adminapi.Error.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	adminapi.Protect(w.Header())
	_, name, _ := cutLast(r.URL.Path)
	switch {
	case !p.Record.On():
		return &adminapi.Error{Status: http.StatusNotFound, Err: errors.New("the page is off: write veeam_auth { page } in the global options")}
	case name != "" && name != statePath:
		return &adminapi.Error{Status: http.StatusNotFound, Err: errors.New("not found")}
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return &adminapi.Error{Status: http.StatusMethodNotAllowed, Err: errors.New("use GET")}
	}
	if name == "" { // holds nothing but itself, and is often reached by a link
		w.Header().Set("Content-Security-Policy", contentPolicy)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, err := w.Write([]byte(document))
		return err
	}
	if err := adminapi.Guard(r); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	query := r.URL.Query()
	state := p.state(r.Context(), number(query.Get("decision")), number(query.Get("line")))
	state.Operator = adminapi.Operator(r)
	return json.NewEncoder(w).Encode(state)
}

func cutLast(path string) (before, last string, found bool) {
	at := strings.LastIndexByte(path, '/')
	return path[:max(at, 0)], path[at+1:], at >= 0
}

// number reads a number of the query; what is none stands for 0.
func number(text string) uint64 {
	n, _ := strconv.ParseUint(text, 10, 64)
	return n
}

// state is what there is to show after a decision and a line.
func (p *Page) state(ctx context.Context, decision, line uint64) State {
	build := buildinfo.Read()
	state := State{
		Version: build.Version, Caddy: build.Caddy, Config: p.Record.digest(), Started: started, Now: time.Now(), ReadOnly: p.ReadOnly,
		Accounts: []Account{}, Clients: p.Tokens.Holders.List(time.Now()), Decisions: []Decision{}, Lines: []Line{},
	}
	for _, session := range p.Sessions.List(ctx) {
		row := session.Reason.Row()
		state.Accounts = append(state.Accounts, Account{session, session.Reason.Healthy(), plain(row.Meaning), plain(p.advice(row.Action))})
	}
	p.addApprovals(ctx, &state)
	decisions, last := p.Record.decisions.after(decision)
	for _, d := range decisions {
		shown := d.value
		shown.Path = string(svclog.MaskPath(nil, shown.Path))
		shown.Client = string(svclog.MaskText(nil, shown.Client))
		state.Decisions = append(state.Decisions, shown)
	}
	state.LastDecision = last
	lines, last := p.Record.lines.after(line)
	for _, l := range lines {
		state.Lines = append(state.Lines, l.value)
	}
	state.LastLine = last
	return state
}

// approvalsFor is how long the page waits for the storage of approvals.
const approvalsFor = 2 * time.Second

func (p *Page) addApprovals(ctx context.Context, state *State) {
	ctx, cancel := context.WithTimeout(ctx, approvalsFor)
	defer cancel()
	var err error
	if state.Approvals, err = p.Approvals.List(ctx); err != nil {
		state.Approvals, state.ApprovalsError = []approval.State{}, "The storage of approvals cannot be read."
	}
}

// ways are the acts of the page by the commands that do the same.
var ways = strings.NewReplacer(
	"with `caddy veeam-auth sessions code`", "with the button Enter code",
	"`caddy veeam-auth sessions login --force`", "Log in under Details",
)

// advice names the acts of the page instead of commands, where it has any.
func (p *Page) advice(action string) string {
	if p.ReadOnly {
		return action
	}
	return ways.Replace(action)
}

var link = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`) })

// plain is a text of the docs without its marks.
func plain(text string) string {
	return strings.ReplaceAll(link().ReplaceAllString(text, "$1"), "`", "")
}

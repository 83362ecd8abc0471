// Package caddymodule holds the Caddy modules of veeam-auth that serve requests. Only
// this package and the packages below it import Caddy. This file has all registrations.
// The logging modules are in package logging, the commands in package command, the
// modules for probes in package probes, the admin endpoints and the page in package admin.
//
//	http.handlers.veeam_auth                 handler.go    authenticates callers, decides about requests, logs and counts them
//	http.reverse_proxy.transport.veeam_auth  transport.go  logs in, adds the bearer, retries once after a 401
//	veeam_auth                               pair.go       what all sites of one configuration share
//	veeam_auth                               directive.go  the Caddyfile directive for handler and transport
package caddymodule

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/caddymodule/records"
	"github.com/caddy-veeam/veeam-auth/internal/approval"
	"github.com/caddy-veeam/veeam-auth/internal/events"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/jwtcaller"
	"github.com/caddy-veeam/veeam-auth/internal/keys"
	"github.com/caddy-veeam/veeam-auth/internal/page"
	"github.com/caddy-veeam/veeam-auth/internal/password"
	"github.com/caddy-veeam/veeam-auth/internal/sealed"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/metrics"
)

func init() {
	caddy.RegisterModule(Handler{})
	caddy.RegisterModule(Transport{})
	caddy.RegisterModule(App{})

	httpcaddyfile.RegisterDirective(directive, parseDirective)
	httpcaddyfile.RegisterDirectiveOrder(directive, httpcaddyfile.Before, "reverse_proxy")

	caddy.OnExit(func(ctx context.Context) { running().Exit(ctx) })
}

// processState is the state that outlives a configuration and that transports share.
type processState struct {
	*upstream.State                  // state about upstream servers
	metrics         *metrics.Set     // made once, so that counters survive reloads
	tries           *sealed.Store    // refused logins of transports without a cache
	episodes        *events.Episodes // what was told a moment ago
	page            *page.Record     // what the page for operators shows of requests
}

func newProcess() *processState {
	state := upstream.NewState()
	set := metrics.New(state.Live)
	tries := records.NewTries()
	set.Sessions.Caches, set.Sessions.Storage = state.Caches, upstream.Storage(tries)
	set.KeyEnds.Live, set.ProviderKeys.Live = keys.Expiries, jwtcaller.Left
	set.Waiting.Live = approval.WaitingAt
	return &processState{state, set, tries, events.NewEpisodes(), page.NewRecord()}
}

// keysRead tells of attempts to read the keys of identity providers.
var keysRead = jwtcaller.Telling{
	Count: func(provider, result string) { running().metrics.ReadKeys(provider, result) },
	Emit:  func(e events.Event) { running().Events.Emit(e) },
	Log:   func() *zap.Logger { return caddy.Log().Named("veeam_auth.trust_jwt") },
}.Tell

// running is the state of this process. It outlives a reload, with sessions and counters.
var running = sync.OnceValue(newProcess)

// State is what this process knows of upstream servers and their sessions.
func State() *upstream.State { return running().State }

// Holders are the callers that got tokens from this process.
func Holders() *issuer.Holders { return tokenHolders }

// Record is what the page for operators shows of this process's requests.
func Record() *page.Record { return running().page }

// tokenHolders records which callers got tokens here. It outlives a reload, as tokens do.
var tokenHolders = issuer.NewHolders()

// passwords checks the passwords of all clients of the process, so that all sites
// together use at most one processor for it, and a reload keeps its state.
var passwords = password.New(password.Options{Compare: hasHash})

// hasHash reports whether a password matches a hash, in the same way as basic_auth.
func hasHash(hash, password string) bool {
	comparer := caddyauth.Comparer(caddyauth.Argon2idHash{})
	if strings.HasPrefix(hash, "$2") {
		comparer = caddyauth.BcryptHash{}
	}
	same, err := comparer.Compare([]byte(hash), []byte(password))
	return err == nil && same
}

// registerMetrics registers the metrics of the process with those of the configuration.
func (p *processState) registerMetrics(ctx caddy.Context) (*metrics.Set, error) {
	app, _, err := appAround(ctx)
	if err != nil || !app.first(p.metrics) {
		return p.metrics, err
	}
	if err := p.metrics.Register(ctx.GetMetricsRegistry()); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	return p.metrics, nil
}

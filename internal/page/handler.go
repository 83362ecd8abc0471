// The page at a listener of its own: with its acts, and with nothing else.

package page

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/internal/process"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// Service is a page that one configuration serves. It is no app of Caddy, which would start
// it by itself.
type Service interface {
	// Begin starts to serve it. An error stops the configuration from being used.
	Begin() error

	// End stops that.
	End() error
}

var errName = errors.New("the page answers by the name localhost or a loopback address only")

// Handler returns a handler that serves the page and its acts at the paths that they have
// at the admin endpoint, and leads from / to the page. It refuses requests under any other
// name than localhost or a loopback address, as somebody else may have pointed it to this
// machine. So it does at a unix socket: SSH may lead there from a port of an operator's
// machine, which a browser reaches, and a page may hide that it is a browser's.
func Handler(p *Page, acts map[string]adminapi.Handler) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, handle adminapi.Handler) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			err := handle(w, r)
			if failed, ok := errors.AsType[*adminapi.Error](err); ok {
				refuse(w, failed)
			}
		})
	}
	handle(Path, p.ServeHTTP)
	for path, act := range acts {
		handle(path, act)
	}
	handle("/{$}", func(w http.ResponseWriter, r *http.Request) error {
		adminapi.Protect(w.Header())
		http.Redirect(w, r, Path, http.StatusFound)
		return nil
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !policy.LocalHost(r.Host, nil) {
			adminapi.Protect(w.Header())
			refuse(w, &adminapi.Error{Status: http.StatusForbidden, Err: errName})
			return
		}
		mux.ServeHTTP(w, r)
	})
}

const (
	// arrivesIn is how long a request may take to arrive, with its body, and answerIn how
	// long it and its answer may take together. The acts have no such limits once they have
	// their body: they may wait for a server.
	arrivesIn = 10 * time.Second
	answerIn  = time.Minute

	idleFor    = 5 * time.Minute
	mostHeader = 64 << 10 // bytes
)

// NewServer returns a server for a listener of the page. It ends connections whose requests
// come, or whose answers are read, too slowly.
func NewServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadTimeout: arrivesIn, WriteTimeout: answerIn, IdleTimeout: idleFor, MaxHeaderBytes: mostHeader,
		ConnContext: process.WithConnection, // tells the user at a unix socket
	}
}

// refuse answers with an error as Caddy's admin endpoint does.
func refuse(w http.ResponseWriter, failed *adminapi.Error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(failed.Status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": failed.Error()}) // the client has gone
}

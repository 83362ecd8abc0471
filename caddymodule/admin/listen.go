// Whether there is a page, and the listener of its own that it may have: Caddy's admin
// endpoint answers a browser only if it names a page that the request comes from, which it
// does not for an address that is typed.

package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/caddymodule"
	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/internal/page"
)

// OperatorsPage switches the page for operators on while the configuration is in force.
type OperatorsPage struct {
	// A loopback address with a port, or a unix socket, at which the page is served, with
	// its acts and nothing else. Default: the page is at the admin endpoint and at sites
	// only.
	Listen string `json:"listen,omitempty"`

	address caddy.NetworkAddress
	logger  *zap.Logger
	server  *http.Server
	served  chan struct{}
}

// CaddyModule returns the Caddy module information.
func (OperatorsPage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "veeam_auth.page", New: func() caddy.Module { return new(OperatorsPage) }}
}

// Provision checks the address.
func (o *OperatorsPage) Provision(ctx caddy.Context) error {
	o.logger = ctx.Logger()
	return o.read()
}

// read reads the address.
func (o *OperatorsPage) read() (err error) {
	if o.Listen == "" {
		return nil
	}
	if o.address, err = caddy.ParseNetworkAddress(o.Listen); err != nil {
		return fmt.Errorf("page: %w", err)
	}
	host := net.ParseIP(o.address.Host)
	loopback := o.address.Network == "tcp" && o.address.StartPort != 0 && o.address.PortRangeSize() == 1 && (o.address.Host == "localhost" || host.IsLoopback())
	if !loopback && !o.address.IsUnixNetwork() {
		return fmt.Errorf("page: %q is neither a loopback address with a port, such as localhost:2021, nor a unix socket: other machines could act; "+
			"veeam_auth_page at a site is for them", o.Listen)
	}
	return nil
}

// Begin implements page.Service.
func (o *OperatorsPage) Begin() error {
	if o.Listen != "" {
		if err := o.listen(); err != nil {
			return fmt.Errorf("page: %w", err)
		}
	}
	caddymodule.Record().Open()
	return nil
}

func (o *OperatorsPage) listen() error {
	listening, err := o.address.Listen(context.Background(), 0, net.ListenConfig{})
	if err != nil {
		return err
	}
	listener, ok := listening.(net.Listener)
	if !ok {
		return fmt.Errorf("%s has no connections", o.Listen)
	}
	shown := operatorsPage(false)
	acts := adminapi.Sessions{State: caddymodule.State(), Tell: logAct}.Routes()
	maps.Copy(acts, adminapi.Tokens{Holders: caddymodule.Holders(), Tell: logAct}.Routes())
	maps.Copy(acts, adminapi.Approvals{Tell: logAct}.Routes())
	handler := page.Handler(shown, acts)
	o.server = page.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.logger.Debug("received request", zap.String("method", r.Method), zap.String("host", r.Host), zap.String("uri", r.RequestURI))
		handler.ServeHTTP(w, r)
	}))
	o.server.ErrorLog = zap.NewStdLog(o.logger)
	o.served = make(chan struct{})
	go func() {
		defer close(o.served)
		if err := o.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			o.logger.Error("the page is not served any more", zap.Error(err))
		}
	}()
	o.logger.Info("the page for operators is served", zap.String("address", o.Listen), zap.String("path", page.Path))
	return nil
}

// stopsFor is how long an act under way may take when the configuration ends.
const stopsFor = 10 * time.Second

// End implements page.Service.
func (o *OperatorsPage) End() error {
	caddymodule.Record().Close()
	if o.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopsFor)
	defer cancel()
	if err := o.server.Shutdown(ctx); err != nil {
		_ = o.server.Close()
	}
	<-o.served
	return nil
}

// Interface guards
var (
	_ page.Service      = (*OperatorsPage)(nil)
	_ caddy.Provisioner = (*OperatorsPage)(nil)
)

// Whether there is a page, and the listener of its own that it may have: Caddy's admin
// endpoint answers a browser only if it names a page that the request comes from, which it
// does not for an address that is typed.

package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
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
	ctx     caddy.Context
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
	o.ctx, o.logger = ctx, ctx.Logger()
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
		return fmt.Errorf("page: %q is neither a loopback address with a port, such as localhost:2021, nor a unix socket: people on other machines could act; "+
			"for them, write veeam_auth_page into a site, where the page is read-only", o.Listen)
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

// served are the addresses of the pages of this process. It outlives a reload: the page of the
// next configuration listens before that of the last one has ended.
var served struct {
	mu    sync.Mutex
	pages map[string]int // by their addresses as numbers
}

// number is the address as numbers: the same for localhost and 127.0.0.1.
func (o *OperatorsPage) number() string {
	if at, err := net.ResolveTCPAddr(o.address.Network, o.address.JoinHostPort(0)); err == nil {
		return at.String()
	}
	return o.Listen
}

// free refuses an address at which something else listens: Caddy's listeners share an address,
// and connections would lead to either of them.
func (o *OperatorsPage) free() error {
	if o.address.IsUnixNetwork() {
		return nil // of which there is one at a path
	}
	if server, address, err := o.site(); err != nil || server != "" {
		return cmp.Or(err, fmt.Errorf("%s is an address of the server %s (%s) too: choose another port", o.Listen, server, address))
	}
	served.mu.Lock()
	own := served.pages[o.number()] > 0
	served.mu.Unlock()
	if own {
		return nil
	}
	probe, err := new(net.ListenConfig).Listen(context.Background(), o.address.Network, o.address.JoinHostPort(0))
	if err != nil {
		return fmt.Errorf("%w by the admin endpoint, another program, or a site of the configuration so far: choose another port", err)
	}
	return probe.Close()
}

// site returns a server of the configuration that listens at the address, and its address.
func (o *OperatorsPage) site() (server, address string, err error) {
	app, err := o.ctx.AppIfConfigured("http")
	if err != nil {
		return "", "", nil //nolint:nilerr // there are no sites
	}
	for name, s := range app.(*caddyhttp.App).Servers {
		for _, listens := range s.Listen {
			at, err := caddy.ParseNetworkAddress(listens)
			if err != nil {
				return "", "", err
			}
			if at.Network != "udp" && !at.IsUnixNetwork() && at.StartPort <= o.address.StartPort && o.address.StartPort <= at.EndPort && reaches(at.Host, o.address.Host) {
				return name, listens, nil
			}
		}
	}
	return "", "", nil
}

// reaches reports whether a server at a host gets connections to a loopback address.
func reaches(host, loopback string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip.IsUnspecified() || host == loopback ||
		(host == "localhost" || ip.IsLoopback()) && (loopback == "localhost" || host == "localhost")
}

func (o *OperatorsPage) listen() error {
	if err := o.free(); err != nil {
		return err
	}
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
	o.count(1)
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
	o.count(-1)
	return nil
}

// count counts the page among those of this process.
func (o *OperatorsPage) count(by int) {
	served.mu.Lock()
	defer served.mu.Unlock()
	if served.pages == nil {
		served.pages = make(map[string]int)
	}
	at := o.number()
	if served.pages[at] += by; served.pages[at] == 0 {
		delete(served.pages, at)
	}
}

// Interface guards
var (
	_ page.Service      = (*OperatorsPage)(nil)
	_ caddy.Provisioner = (*OperatorsPage)(nil)
)

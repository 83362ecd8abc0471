// How the commands reach a server: the transport of the configuration, with its
// TLS options, pins and placeholders, and a session of their own on it.

package caddymodule

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/certmagic"
	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// Exit codes of the commands.
const (
	exitUsage   = 1 // the command or the configuration is wrong; nothing was sent that changes anything
	exitFailed  = 2 // the server or the way to it; the account is as before
	exitChanged = 3 // the account is not as before, or that is not known: read what is printed
)

// exitError is an error with the exit code that it leads to.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// failed marks an error of the server or of the way to it.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{exitFailed, err}
}

// runCommand makes a cobra command of run: an interrupt ends the context of the
// command, and what it reads of the standard input.
func runCommand(run func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return withExitCode(func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		cmd.SetContext(ctx)
		cmd.SetIn(&interruptible{ctx: ctx, in: cmd.InOrStdin()})
		return run(cmd, args)
	})
}

// interruptible is an input whose reads end with the context, also those that wait.
// Nothing is read before it is asked for.
type interruptible struct {
	ctx  context.Context
	in   io.Reader
	pipe *io.PipeReader
}

func (i *interruptible) Read(p []byte) (int, error) {
	if i.pipe == nil {
		out, in := io.Pipe()
		go func() {
			_, err := io.Copy(in, i.in)
			in.CloseWithError(err)
		}()
		context.AfterFunc(i.ctx, func() { in.CloseWithError(i.ctx.Err()) })
		i.pipe = out
	}
	return i.pipe.Read(p)
}

// withExitCode makes a cobra command of run: errors are one line on stderr, and the
// exit code is theirs. What has nothing to tidy up is ended by an interrupt.
func withExitCode(run func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cmd.SilenceUsage = true
		err := run(cmd, args)
		var exit *exitError
		if !errors.As(err, &exit) {
			return err
		}
		cmd.SilenceErrors = true
		fmt.Fprintf(cmd.ErrOrStderr(), "Error: %s\n", strings.TrimSpace(err.Error()))
		return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return exit.code, nil })(cmd, args)
	}
}

// reached is a server that a command can talk to.
type reached struct {
	configPlace
	storage   certmagic.Storage // Caddy's own
	transport *Transport
	account   *account.Account
	client    *veeam.Client
	origin    string    // of the server, as Caddy knows it
	guard     *tryGuard // of the account's logins
	dial      reverseproxy.DialInfo
	values    context.Context // what a request needs of its context
	cancel    context.CancelFunc
}

func (r *reached) close() { r.cancel() }

// reach provisions the transport of p. Nothing is sent.
func (c *configuration) reach(p configPlace) (*reached, error) {
	cfg := &caddy.Config{StorageRaw: c.rest.Storage}
	ctx, err := caddy.ProvisionContext(cfg)
	if err != nil {
		return nil, err
	}
	var stop context.CancelFunc
	ctx, stop = caddy.NewContext(ctx)
	r := &reached{configPlace: p, storage: ctx.Storage(), cancel: stop}
	// Apps that the TLS options may refer to; they are loaded if they do.
	cfg.AppsRaw = caddy.ModuleMap{}
	for _, name := range []string{"tls", "pki"} {
		if raw, ok := c.rest.Apps[name]; ok {
			cfg.AppsRaw[name] = raw
		}
	}
	raw, err := withoutKey(p.site.raw, "protocol")
	if err == nil {
		var mod any
		if mod, err = ctx.LoadModuleByID("http.reverse_proxy.transport.veeam_auth", raw); err == nil {
			r.transport = mod.(*Transport)
		}
	}
	if err == nil {
		r.account, _ = r.transport.choose(p.account)
		err = r.aim()
	}
	if err != nil {
		stop()
		return nil, err
	}
	return r, nil
}

// withoutKey takes a key out of a JSON object.
func withoutKey(raw json.RawMessage, key string) (json.RawMessage, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	delete(object, key)
	return json.Marshal(object)
}

// aim finds the address of the upstream, and makes the client for it.
func (r *reached) aim() error {
	repl := caddy.NewReplacer()
	text, err := repl.ReplaceOrErr(r.upstream, true, true)
	if err != nil {
		return fmt.Errorf("upstream %s: %w", r.upstream, err)
	}
	address, err := caddy.ParseNetworkAddress(text)
	if err != nil {
		return fmt.Errorf("upstream %s: %w", text, err)
	}
	if !address.IsUnixNetwork() && address.PortRangeSize() != 1 {
		return fmt.Errorf("upstream %s: it has no port, or several", text)
	}
	r.dial = reverseproxy.DialInfo{Network: address.Network, Address: address.JoinHostPort(0), Host: address.Host}
	host := r.dial.Address
	if address.IsUnixNetwork() {
		r.dial.Address, host = address.Host, "localhost"
	} else {
		r.dial.Port = fmt.Sprint(address.StartPort)
	}
	repl.Set("http.reverse_proxy.upstream.address", r.dial.String())
	repl.Set("http.reverse_proxy.upstream.hostport", r.dial.Address)
	repl.Set("http.reverse_proxy.upstream.host", r.dial.Host)
	repl.Set("http.reverse_proxy.upstream.port", r.dial.Port)
	r.values = grantContext{vars: map[string]any{}, values: map[any]any{
		dialInfoKey: r.dial, caddy.ReplacerCtxKey: repl,
	}}
	scheme := r.transport.scheme(&http.Request{URL: &url.URL{Host: host}})
	r.origin = r.transport.origin(scheme, r.dial.Network, r.dial.Address)
	r.client = &veeam.Client{
		Product: r.transport.product, Transport: r.transport.HTTPTransport,
		BaseURL: scheme + "://" + host + r.transport.BasePath, Host: r.transport.hostOf(r.dial, scheme, host), APIVersion: r.transport.APIVersion,
		TOTPSteps: r.transport.totpSteps(),
	}
	return nil
}

// within gives the values that the transport needs to a context with a deadline.
func (r *reached) within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(waitContext{ctx, r.values}, d)
}

// loginFor bounds a login: a verification code may have to be waited for.
const loginFor = 90 * time.Second

// credentials reads the secrets of the account, and of its parent if it has one.
// Logins with them spend from the lock-out budgets of the users, as Caddy's do.
func (r *reached) credentials() (*veeam.Account, error) {
	resolved, err := r.account.Resolve()
	if err != nil {
		return nil, err
	}
	r.guard = r.transport.guard(r.origin, resolved, journal{})
	r.client.Guard = r.guard
	a := *resolved.Account
	a.Confirm = func(context.Context) error {
		now, err := r.account.Resolve()
		if err == nil && !resolved.Pipes && now.Fingerprint != resolved.Fingerprint {
			return errSecretChanged
		}
		return nil
	}
	switch {
	case r.account.Template():
		return nil, fmt.Errorf("account %s acts as a user that comes with each request; the commands need an account of one user", a.Name)
	case r.account.Parent != "":
		parent, _ := r.transport.choose(r.account.Parent)
		parentCredentials, err := parent.Resolve()
		if err != nil {
			return nil, err
		}
		a.Parent = func(ctx context.Context, refused *veeam.Token) (*veeam.Token, error) {
			if refused != nil {
				return nil, errors.New("the server does not take the parent's session")
			}
			client := *r.client
			client.Guard = r.transport.guard(r.origin, parentCredentials, journal{})
			return client.Login(ctx, parentCredentials.Account)
		}
	}
	return &a, nil
}

// login logs in, with the API version that the server serves if none is set.
func (r *reached) login(ctx context.Context, a *veeam.Account) (*veeam.Token, error) {
	ctx, cancel := r.within(ctx, loginFor)
	defer cancel()
	if r.client.APIVersion == "" {
		found, err := r.client.FindVersion(ctx)
		if err != nil {
			return nil, err
		}
		r.client.APIVersion = found
	}
	return r.client.Login(ctx, a)
}

// overdrawnHelp is the way out of a lock-out budget that is used up.
func (r *reached) overdrawnHelp() string {
	return "correct the secret, then wait, or run `caddy veeam-auth sessions login " + r.account.Name + " --force` if the user is not locked at the server"
}

// logout ends a session, in its own time. What the product cannot end ends by
// itself.
func (r *reached) logout(t *veeam.Token) {
	ctx, cancel := r.within(context.Background(), logoutFor)
	defer cancel()
	_ = r.client.Logout(ctx, t)
}

// commandSession is an account with a session of the command's own.
type commandSession struct {
	*reached
	credentials *veeam.Account
	token       *veeam.Token

	scratch     *scratchCodes // to log in with, if the user wants that
	scratchSent bool
}

// prepare finds the account that a command is about. Nothing is sent.
func (f *configFlags) prepare(cmd *cobra.Command, account string) (*commandSession, error) {
	c, err := f.load(cmd.InOrStdin(), cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	p, err := c.find(account, f.upstream)
	if err != nil {
		return nil, err
	}
	r, err := c.reach(p)
	if err != nil {
		return nil, err
	}
	a, err := r.credentials()
	if err != nil {
		r.close()
		return nil, err
	}
	return &commandSession{reached: r, credentials: a}, nil
}

// start logs in.
func (s *commandSession) start(ctx context.Context) (err error) {
	s.token, err = s.reached.login(ctx, s.credentials)
	if err != nil {
		if isOverdrawn(err) {
			err = fmt.Errorf("%w (%s); nothing was sent: %s", err, veeam.ReasonLockedOutBudget, s.overdrawnHelp())
		}
		return failed(fmt.Errorf("login at %s: %w", s.client.BaseURL, err))
	}
	return nil
}

// end logs out and lets go of everything.
func (s *commandSession) end() {
	if s.token != nil {
		s.reached.logout(s.token)
	}
	s.close()
}

// name is how people know the account.
func (s *commandSession) name() string {
	return fmt.Sprintf("%s at %s (%s)", cmp.Or(s.credentials.Username, s.credentials.Name), strings.TrimPrefix(s.client.BaseURL, "https://"), s.client.Product.Title)
}

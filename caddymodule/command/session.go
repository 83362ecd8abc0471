// How the commands reach a server: the transport of the configuration, with its
// TLS options, pins and placeholders, and a session of their own on it.

package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/certmagic"
	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/caddymodule"
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
		cmd.SetErr(linesTo(cmd.ErrOrStderr()))
		err := run(cmd, args)
		var exit *exitError
		if err == nil {
			return nil
		}
		if !errors.As(err, &exit) {
			return printableError{err}
		}
		cmd.SilenceErrors = true
		fmt.Fprintf(cmd.ErrOrStderr(), "Error: %s\n", strings.TrimSpace(err.Error()))
		return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return exit.code, nil })(cmd, args)
	}
}

// reached is an account at a server that a command can talk to.
type reached struct {
	*caddymodule.Reached
	configPlace

	storage certmagic.Storage // Caddy's own
	close   context.CancelFunc
	line    func(text string) string // file and line of a text of the configuration
}

// secretsApp is the app for the placeholders {exec.…} and {vault.…}.
const secretsApp = "veeam_secrets"

// reach provisions the transport of p. Nothing is sent.
func (c *configuration) reach(p configPlace) (*reached, error) {
	cfg := &caddy.Config{StorageRaw: c.rest.Storage}
	ctx, err := caddy.ProvisionContext(cfg)
	if err != nil {
		return nil, err
	}
	var stop context.CancelFunc
	ctx, stop = caddy.NewContext(ctx)
	r := &reached{configPlace: p, storage: ctx.Storage(), close: stop, line: c.line}
	// Apps that the TLS options may refer to; they are loaded if they do.
	cfg.AppsRaw = caddy.ModuleMap{}
	for _, name := range []string{"tls", "pki", secretsApp} {
		if raw, ok := c.rest.Apps[name]; ok {
			cfg.AppsRaw[name] = raw
		}
	}
	raw, err := withoutKey(p.site.raw, "protocol")
	if cfg.AppsRaw[secretsApp] != nil && err == nil {
		_, err = ctx.App(secretsApp)
	}
	if err == nil {
		var mod any
		if mod, err = ctx.LoadModuleByID("http.reverse_proxy.transport.veeam_auth", raw); err == nil {
			r.Reached, err = mod.(*caddymodule.Transport).Reach(p.upstream, p.account)
		}
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

// loginFor bounds a login: a verification code may have to be waited for.
const loginFor = 90 * time.Second

// login logs in, with the API version that the server serves if none is set.
func (r *reached) login(ctx context.Context, a *veeam.Account) (*veeam.Token, error) {
	ctx, cancel := r.Within(ctx, loginFor)
	defer cancel()
	if r.Client.APIVersion == "" {
		found, err := r.Client.FindVersion(ctx)
		if err != nil {
			return nil, err
		}
		r.Client.APIVersion = found
	}
	return r.Client.Login(ctx, a)
}

// overdrawn reports whether a login was not sent because of the lock-out budget.
func overdrawn(err error) bool {
	reason, ok := caddymodule.BudgetReason(err)
	return ok && reason == veeam.ReasonLockedOutBudget
}

// overdrawnHelp is the way out of a lock-out budget that is used up.
func (r *reached) overdrawnHelp() string {
	return "correct the secret, then wait, or run `caddy veeam-auth sessions login " + r.Account.Name + " --force` if the user is not locked at the server"
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
	a, err := r.Credentials()
	if err != nil {
		r.close()
		return nil, err
	}
	return &commandSession{reached: r, credentials: a}, nil
}

// start logs in. From now on a reader of the output that goes does not end the process: a
// session has to be ended, and the account may have changed.
func (s *commandSession) start(ctx context.Context) (err error) {
	signal.Ignore(syscall.SIGPIPE)
	s.token, err = s.reached.login(ctx, s.credentials)
	if err != nil {
		if overdrawn(err) {
			err = fmt.Errorf("%w (%s); nothing was sent: %s", err, veeam.ReasonLockedOutBudget, s.overdrawnHelp())
		}
		return failed(fmt.Errorf("login at %s: %w", s.Client.BaseURL, err))
	}
	return nil
}

// end logs out and lets go of everything.
func (s *commandSession) end() {
	if s.token != nil {
		s.Logout(s.token)
	}
	s.close()
}

// name is how people know the account.
func (s *commandSession) name() string {
	return fmt.Sprintf("%s at %s (%s)", cmp.Or(s.credentials.Username, s.credentials.Name), strings.TrimPrefix(s.Client.BaseURL, "https://"), s.Client.Product.Title)
}

// Package secrets holds the Caddy app for the placeholders {exec.…} and {vault.…} of
// secrets. Package secretsource reads them.
//
//	veeam_secrets  secrets.go    the app: where secrets may be read
//	               caddyfile.go  its global option of the Caddyfile
package secrets

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-veeam/veeam-auth/caddymodule"
	"github.com/caddy-veeam/veeam-auth/internal/placeholders"
	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/secretsource"
	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
)

func init() {
	caddy.RegisterModule(App{})
	httpcaddyfile.RegisterGlobalOption(appID, parseApp)
}

const appID = "veeam_secrets"

// App says where secrets are read that neither files nor variables hold. Accounts name
// them by placeholders, {exec./path argument} and {vault.path#field}, which are resolved
// at logins.
type App struct {
	// The programs that {exec.…} may run.
	Exec *Exec `json:"exec,omitempty"`

	// The HashiCorp Vault or OpenBao that {vault.…} asks.
	Vault *Vault `json:"vault,omitempty"`

	sources *secret.Sources
	vault   *secretsource.Vault
}

// Exec allows programs that print a secret. They run as Caddy's user, without a shell, with
// Caddy's environment and nothing to read.
type Exec struct {
	// Absolute paths. Required.
	Programs []string `json:"programs,omitempty"`

	// How long a program may run. Default: 5s, at most 9s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How long its output is used again, unless a login is refused. Default: 10s, at most
	// 1h.
	MaxAge caddy.Duration `json:"max_age,omitempty"`
}

// Vault is where the KV engine is, and how to log in there. At most one of token, approle
// and kubernetes is allowed.
type Vault struct {
	// The URL. http is for loopback addresses only, such as an agent. Required.
	Address string `json:"address,omitempty"`

	// The namespace. Default: none.
	Namespace string `json:"namespace,omitempty"`

	// The file with the authorities that the certificate is verified with, in PEM.
	// Default: those of the system.
	CAFile string `json:"ca_file,omitempty"`

	// A placeholder for the token, such as {file./run/secrets/vault_token}; it is read for
	// each request. Default: none, for an agent that adds its own.
	Token string `json:"token,omitempty"`

	// The login by AppRole.
	AppRole *AppRole `json:"approle,omitempty"`

	// The login with the token of a Kubernetes service account.
	Kubernetes *Kubernetes `json:"kubernetes,omitempty"`

	// How long a read takes at most. Default: 5s, at most 9s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How long a secret is used again, unless a login is refused. Default: 10s, at most
	// 1h.
	MaxAge caddy.Duration `json:"max_age,omitempty"`
}

// AppRole is a login by AppRole.
type AppRole struct {
	// The role id. Required.
	RoleID string `json:"role_id,omitempty"`

	// A placeholder for the secret id. Default: none is sent.
	SecretID string `json:"secret_id,omitempty"`

	// The path of the auth method. Default: `approle`.
	Mount string `json:"mount,omitempty"`
}

// Kubernetes is a login with the token of a service account.
type Kubernetes struct {
	// The role. Required.
	Role string `json:"role,omitempty"`

	// A placeholder for the token. Default:
	// {file./var/run/secrets/kubernetes.io/serviceaccount/token}.
	JWT string `json:"jwt,omitempty"`

	// The path of the auth method. Default: `kubernetes`.
	Mount string `json:"mount,omitempty"`
}

// serviceAccountToken is where Kubernetes puts the token of a pod.
const serviceAccountToken = "{file./var/run/secrets/kubernetes.io/serviceaccount/token}"

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  appID,
		New: func() caddy.Module { return new(App) },
	}
}

// Provision checks the configuration. It runs no program and sends nothing.
func (a *App) Provision(caddy.Context) error {
	a.sources = &secret.Sources{Read: map[string]func(string) (string, error){}}
	if a.Exec != nil {
		source, err := secretsource.NewExec(secretsource.ExecOptions{
			Programs: a.Exec.Programs, Timeout: time.Duration(a.Exec.Timeout), MaxAge: time.Duration(a.Exec.MaxAge),
		})
		if err != nil {
			return fmt.Errorf("exec: %w", err)
		}
		a.sources.Read[secret.SourceExec] = source.Read
	}
	if a.Vault != nil {
		if err := a.provisionVault(); err != nil {
			return fmt.Errorf("vault: %w", err)
		}
		a.sources.Read[secret.SourceVault] = a.vault.Read
	}
	a.sources.Offer()
	return nil
}

// Reads reports whether the configuration says how to read secrets of a source, exec or vault.
func (a *App) Reads(source string) bool { return a.sources.Read[source] != nil }

func (a *App) provisionVault() error {
	options := secretsource.VaultOptions{
		Address: a.Vault.Address, Namespace: a.Vault.Namespace,
		Timeout: time.Duration(a.Vault.Timeout), MaxAge: time.Duration(a.Vault.MaxAge),
	}
	var err error
	if options.Login, err = a.Vault.login(); err != nil {
		return err
	}
	if options.Roots, err = a.Vault.roots(); err != nil {
		return err
	}
	a.vault, err = secretsource.NewVault(options)
	return err
}

// roots returns the content of ca_file, nil without one. It reads the file.
func (v *Vault) roots() (content []byte, err error) {
	if v.CAFile == "" {
		return nil, nil
	}
	if content, err = os.ReadFile(v.CAFile); err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	if err := tlspin.HasCertificate(content); err != nil {
		return nil, fmt.Errorf("ca_file %s: %w", v.CAFile, err)
	}
	return content, nil
}

// login is how the configuration logs in.
func (v *Vault) login() (login secretsource.VaultLogin, err error) {
	logins := 0
	if v.Token != "" {
		logins++
		login.Token = v.Token
		err = errors.Join(err, placeholderOf("token", v.Token))
	}
	if v.AppRole != nil {
		logins++
		login.Mount, login.Fields = mount(v.AppRole.Mount, "approle"), map[string]string{"role_id": v.AppRole.RoleID}
		if v.AppRole.RoleID == "" {
			err = errors.Join(err, errors.New("approle requires a role id"))
		}
		if v.AppRole.SecretID != "" {
			login.Fields["secret_id"] = v.AppRole.SecretID
			err = errors.Join(err, placeholderOf("the secret id of approle", v.AppRole.SecretID))
		}
	}
	if k := v.Kubernetes; k != nil {
		logins++
		jwt := k.JWT
		if jwt == "" {
			jwt = serviceAccountToken
		}
		login.Mount, login.Fields = mount(k.Mount, "kubernetes"), map[string]string{"role": k.Role, "jwt": jwt}
		if k.Role == "" {
			err = errors.Join(err, errors.New("kubernetes requires a role"))
		}
		err = errors.Join(err, placeholderOf("the token of kubernetes", jwt))
	}
	if logins > 1 {
		err = errors.Join(err, errors.New("only one of token, approle and kubernetes is allowed"))
	}
	login.Expand = caddymodule.ReadPlaceholder
	return login, err
}

func mount(path, otherwise string) string {
	if path = strings.Trim(path, "/"); path == "" {
		return otherwise
	}
	return path
}

// placeholderOf refuses a secret in clear text, and one that another source would read.
func placeholderOf(option, text string) error {
	if !strings.HasPrefix(text, "{env.") && !strings.HasPrefix(text, "{file.") || !strings.HasSuffix(text, "}") || strings.Count(text, "{") > 1 {
		return fmt.Errorf("%s must be a placeholder, {env.NAME} or {file./path}", option)
	}
	return placeholders.Check(option, text)
}

// Start puts the sources in force.
func (a *App) Start() error {
	a.sources.Use()
	return nil
}

// Stop ends their use.
func (a *App) Stop() error { return a.Cleanup() }

// Cleanup ends their use, also if the app was never started.
func (a *App) Cleanup() error {
	if a.sources != nil {
		a.sources.Withdraw()
	}
	if a.vault != nil {
		a.vault.Close()
	}
	return nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)

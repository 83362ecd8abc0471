// Secrets in the KV engine of HashiCorp Vault or OpenBao, through its HTTP API.

package secretsource

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/stdlog"
)

// VaultOptions say where a Vault or OpenBao is, and how to log in there.
type VaultOptions struct {
	// Address is its URL, such as https://bao.lab.local:8200. http is for loopback
	// addresses only, such as an agent. Required.
	Address string

	// Namespace is sent with each request. Default: none.
	Namespace string

	// Roots are the authorities that its certificate is verified with, in PEM. Default:
	// those of the system.
	Roots []byte

	// Login says how to get a token. Default: none is sent, as an agent with auto-auth
	// accepts it.
	Login VaultLogin

	// Timeout is how long a read takes at most, with a login. Default: DefaultTimeout.
	Timeout time.Duration

	// MaxAge is how long a secret is used again. Default: DefaultMaxAge.
	MaxAge time.Duration
}

// VaultLogin is how to get a token of a Vault. The texts hold placeholders, which are read
// for each login.
type VaultLogin struct {
	// Token is the token itself.
	Token string

	// Mount is the path of the auth method, and Fields what its login requires, such as
	// role_id and secret_id.
	Mount  string
	Fields map[string]string

	// Expand reads placeholders. Required with Token or Fields.
	Expand func(text string) (string, error)
}

// Vault reads secrets of the KV engine, version 1 or 2.
type Vault struct {
	address   *url.URL
	namespace string
	client    *http.Client
	session   vaultSession
	recent    recent[map[string]any]
}

// maxAnswer is the maximum length of an answer, in bytes.
const maxAnswer = secret.MaxFile

// NewVault returns a Vault. Nothing is sent or read.
func NewVault(o VaultOptions) (*Vault, error) {
	if err := CheckTimes(o.Timeout, o.MaxAge); err != nil {
		return nil, err
	}
	address, err := vaultAddress(o.Address)
	if err != nil {
		return nil, err
	}
	// Without a proxy of the environment, and over HTTP/1.1: over HTTP/2 net/http sends a
	// request again by itself as often as the server says GOAWAY, and a login counts.
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		MaxIdleConns:    2, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
	}
	if o.Roots != nil {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(o.Roots) {
			return nil, errors.New("the authorities contain no PEM certificate")
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	v := &Vault{address: address, namespace: o.Namespace, session: vaultSession{login: o.Login}}
	v.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	v.recent = recent[map[string]any]{maxAge: cmp.Or(o.MaxAge, DefaultMaxAge), timeout: cmp.Or(o.Timeout, DefaultTimeout), read: v.fetch}
	return v, nil
}

// vaultAddress parses the address. Tokens and secrets travel over TLS, but on this machine.
func vaultAddress(text string) (*url.URL, error) {
	address, err := url.Parse(text)
	if err != nil || address.Host == "" || address.User != nil || address.RawQuery != "" || address.Fragment != "" {
		return nil, errors.New("the address of vault must be a URL such as https://bao.lab.local:8200")
	}
	host := address.Hostname()
	ip, notIP := netip.ParseAddr(host)
	switch {
	case address.Scheme == "https":
	case address.Scheme == "http" && (host == "localhost" || notIP == nil && ip.IsLoopback()):
	default:
		return nil, fmt.Errorf("the address %s of vault requires https: http is allowed for loopback addresses only", text)
	}
	address.Path = strings.TrimSuffix(address.Path, "/")
	return address, nil
}

// Close closes idle connections.
func (v *Vault) Close() { v.client.CloseIdleConnections() }

// Read returns one field of a secret: the path in the API, without /v1/, and behind # the
// field. For version 2 of KV the path has data behind the mount: secret/data/veeam#password.
func (v *Vault) Read(reference string) (string, error) {
	path, field, ok := strings.Cut(reference, "#")
	if !ok || field == "" || !isSecretPath(path) {
		return "", errors.New("write a path and a field, as in {vault.secret/data/veeam#password}")
	}
	fields, err := v.recent.get(path)
	if err != nil {
		return "", err
	}
	switch value := fields[field].(type) {
	case string:
		return value, nil
	case nil:
		return "", absent("the secret has no field of this name")
	}
	return "", errors.New("the field is not a text")
}

// isSecretPath reports whether a path can be that of a secret.
func isSecretPath(path string) bool {
	segments := strings.Split(path, "/")
	for _, segment := range segments {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return len(segments) > 1 && segments[0] != "sys" && segments[0] != "auth" && !strings.ContainsAny(path, "?\\")
}

// vaultAnswer is the part of an answer that is used.
type vaultAnswer struct {
	LeaseID string         `json:"lease_id"`
	Data    map[string]any `json:"data"`
	Auth    *struct {
		Token string `json:"client_token"`
		Lease int64  `json:"lease_duration"` // in seconds
	} `json:"auth"`
}

// fetch reads the fields of a secret. A token that is refused is replaced once.
func (v *Vault) fetch(ctx context.Context, path string) (map[string]any, error) {
	token, fresh, err := v.session.token(ctx, v)
	if err != nil {
		return nil, err
	}
	answer, err := v.ask(ctx, http.MethodGet, path, token, nil)
	if denied(err) && !fresh && v.session.drop(token) {
		if token, _, err = v.session.token(ctx, v); err != nil {
			return nil, err
		}
		answer, err = v.ask(ctx, http.MethodGet, path, token, nil)
	}
	if err != nil {
		return nil, err
	}
	if answer.LeaseID != "" {
		return nil, errors.New("the secret has a lease: secrets of the KV engine have none, others are not supported")
	}
	fields := answer.Data
	if inner, ok := fields["data"]; ok { // version 2
		if _, isTwo := fields["metadata"].(map[string]any); isTwo {
			fields, _ = inner.(map[string]any)
		}
	}
	if fields == nil {
		return nil, absent("the secret has no version")
	}
	return fields, nil
}

// statusError is an answer other than 200.
type statusError int

func (e statusError) Error() string {
	text := map[int]string{
		http.StatusBadRequest:         "the request is not valid there",
		http.StatusForbidden:          "permission denied: the token is invalid, or its policy does not allow to read the path",
		http.StatusNotFound:           "there is no secret at this path; version 2 of KV requires data behind the mount, as in secret/data/veeam",
		http.StatusTooManyRequests:    "too many requests, or a standby",
		472:                           "it is a standby for disaster recovery",
		473:                           "it is a standby for performance",
		http.StatusServiceUnavailable: "it is sealed or down for maintenance",
	}[int(e)]
	switch {
	case text != "":
	case e >= 300 && e < 400:
		text = "it redirects, which is not followed: write the address of the active server"
	default:
		text = "no answer of its API"
	}
	return fmt.Sprintf("vault has answered %d: %s", int(e), text)
}

// Is tells what the status means for the secret.
func (e statusError) Is(target error) bool {
	switch target {
	case secret.ErrAbsent:
		return e == http.StatusNotFound
	case secret.ErrUnavailable:
		return e >= 500 || e == http.StatusTooManyRequests || e == 472 || e == 473
	}
	return false
}

func denied(err error) bool {
	status, ok := errors.AsType[statusError](err)
	return ok && status == http.StatusForbidden
}

// ask sends one request.
func (v *Vault) ask(ctx context.Context, method, path, token string, body []byte) (*vaultAnswer, error) {
	target := *v.address
	target.Path += "/v1/" + path
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the path cannot be part of a URL")
	}
	request.Header.Set("X-Vault-Request", "true") // which an agent may require
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if v.namespace != "" {
		request.Header.Set("X-Vault-Namespace", v.namespace)
	}
	if token != "" {
		request.Header.Set("X-Vault-Token", token)
	}
	response, err := v.client.Do(request)
	if err != nil {
		return nil, unreachable(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case response.StatusCode != http.StatusOK:
		return nil, statusError(response.StatusCode)
	case err != nil:
		return nil, unreachable(err)
	case len(content) > maxAnswer:
		return nil, errors.New("the answer of vault is too long")
	}
	answer := new(vaultAnswer)
	if json.Unmarshal(content, answer) != nil { // whose error repeats what it has read
		return nil, errors.New("the answer of vault is not that of its API")
	}
	return answer, nil
}

// unreachable is the error of a request without an answer.
func unreachable(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if _, network := errors.AsType[net.Error](err); network || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return passing{fmt.Errorf("vault cannot be reached: %w", err)}
	}
	return fmt.Errorf("vault cannot be reached: %w", stdlog.WithoutAnswer(err))
}

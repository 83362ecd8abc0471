// The steps of a check, from the network to what the login may read.

package command

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-veeam/veeam-auth/caddymodule"
	"github.com/caddy-veeam/veeam-auth/caddymodule/storages"
	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/internal/tlspin"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// probeFor bounds all that is asked without a credential.
const probeFor = 30 * time.Second

// check runs the steps. What does not depend on a step that has failed is run all
// the same.
func (r *reached) check(ctx context.Context, login bool) *checkReport {
	report := &checkReport{
		Account: r.Account.Name, OK: true, Product: r.Client.Product.Title,
		Server: strings.TrimPrefix(r.Client.BaseURL, "https://"),
	}
	credentials, err := r.Credentials()
	if err != nil {
		report.fail("secrets", veeam.ReasonSecretUnreadable, err.Error()+r.writtenAt(err), "")
	} else {
		report.ok("secrets", "readable")
	}
	if resolved, err := r.Account.Resolve(); err == nil {
		for _, doubt := range resolved.Doubts {
			report.warn("secrets", doubt, "the value is sent unchanged: correct it if this is not intended")
		}
	}
	r.checkStorage(ctx, report)
	if r.checkServer(ctx, report) {
		switch {
		case !login:
			report.skip("login", "not tried: a login counts against the lock-out budget of the user; `caddy veeam-auth check "+r.Account.Name+" --login` tries once")
		case credentials == nil:
			report.skip("login", "not tried: the secrets cannot be read")
		default:
			r.checkLogin(ctx, report, credentials)
			report.reconsider(r.Client.Product)
		}
	}
	return report
}

// writtenAt says where the option of a secret stands that cannot be read.
func (r *reached) writtenAt(err error) string {
	unread, ok := errors.AsType[*account.Error](err)
	if !ok {
		return ""
	}
	for _, a := range r.Transport.Accounts {
		if a.Name != unread.Account || a.Option(unread.Option) == nil {
			continue
		}
		if line := r.line(*a.Option(unread.Option)); line != "" {
			return "; written at " + line
		}
	}
	return ""
}

// checkStorage tries the storage that tokens need, and the one of the cache.
func (r *reached) checkStorage(ctx context.Context, report *checkReport) {
	const step = "storage"
	name := storages.Name(r.storage)
	switch err := storages.Probe(ctx, r.storage); {
	case err == nil:
		report.ok(step, name+": write, read and delete succeeded")
	case errors.Is(err, storages.ErrAbsent):
		report.warn(step, name+" does not exist", "Caddy creates it when needed, if its user has permission")
	default:
		report.fail(step, veeam.ReasonStorage, name+": "+err.Error(), "without it, tokens can be neither issued nor verified; run the check as Caddy's user")
	}
	own, err := r.TryCache(ctx)
	if !own {
		return
	}
	if err != nil {
		report.warn(step, "cache: "+err.Error(), "sessions are kept in memory only until it works")
		return
	}
	report.ok(step, "cache: write, read and delete succeeded")
}

// checkServer does what needs no credential, and reports whether a login makes
// sense.
func (r *reached) checkServer(ctx context.Context, report *checkReport) bool {
	ctx, cancel := r.Within(ctx, probeFor)
	defer cancel()
	seen := &connection{}
	identity, err := r.Client.Identify(seen.trace(ctx))
	if err != nil {
		reason, detail := connectionReason(err)
		step := "connection"
		if reason == veeam.ReasonTLS || reason == veeam.ReasonPin {
			report.ok(step, seen.String())
			step = "certificate"
		}
		report.fail(step, reason, detail, connectionHelp(err, reason, report.Server))
		return false
	}
	report.ok("connection", seen.String())
	if said := r.Proxy(); said != "" {
		report.ok("proxy", said)
	}
	report.ok("certificate", seen.certificate(r.Trust()))
	product := r.Client.Product
	switch {
	case identity.Product == nil:
		report.warn("product", notRecognized, "releases differ in what they show without a login; "+defaultPort(product))
		return true
	case product.Rivals(identity.Product):
		report.warn("product", "the server answers like "+identity.Product.Title, "if it is that product, set product "+identity.Product.Name+"; "+product.Title+" cannot be recognized without a login")
		return true
	case identity.Product != product:
		report.fail("product", veeam.ReasonWrongProduct, "the server answers like "+identity.Product.Title, "set product "+identity.Product.Name)
		return false
	}
	report.ok("product", "the server answers like "+product.Title)
	return r.checkVersion(ctx, report, identity.VersionRefused)
}

// notRecognized is about a server that does not show what it is, which is no fault.
const notRecognized = "the server is not recognized without a login"

func defaultPort(p *veeam.Product) string {
	return fmt.Sprintf("the default port of %s is %d", p.Title, p.Port)
}

// reconsider says what a login has shown of a server that is not recognized without one.
func (r *checkReport) reconsider(p *veeam.Product) {
	i := slices.IndexFunc(r.Steps, func(s checkStep) bool { return s.Detail == notRecognized })
	login := slices.IndexFunc(r.Steps, func(s checkStep) bool { return s.Name == "login" })
	switch step := max(i, 0); {
	case i < 0:
	case r.Steps[login].State == stepOK:
		r.Steps[step].Detail, r.Steps[step].Help = notRecognized+", but the login works", ""
	case r.Steps[login].State == stepFailed:
		r.Steps[step].Help = "check the address, the port and the product; " + defaultPort(p)
	}
}

func (r *reached) checkVersion(ctx context.Context, report *checkReport, refused bool) bool {
	const step = "api version"
	product := r.Client.Product
	if product.Version.Default == "" {
		report.ok(step, "the product requires none")
		return true
	}
	served, err := r.Client.ServedVersions(ctx)
	if err != nil {
		report.skip(step, "the versions could not be read: "+err.Error())
	}
	sent := cmp.Or(r.Client.APIVersion, product.Version.Default)
	if r.Client.APIVersion == "" && len(served) > 0 {
		sent = served[0] // as the sidecar does
		r.Client.APIVersion = sent
	} else if refused || len(served) > 0 && !slices.Contains(served, sent) {
		detail, help := sent+" is not served", "set api_version to a version that the server serves"
		if len(served) > 0 {
			detail, help = detail+"; the server serves "+strings.Join(served, ", "), "set api_version "+served[0]
		}
		report.fail(step, veeam.ReasonAPIVersion, detail, help)
		return false
	}
	switch {
	case len(served) > 0:
		report.ok(step, sent+" is used; the server serves "+strings.Join(served, ", "))
	case err == nil:
		report.ok(step, sent+" is used; the server does not list the others")
	}
	return true
}

// usesUp names grants whose login takes away what the account has.
var usesUp = map[veeam.Grant]string{
	veeam.GrantRefreshToken: "its refresh token is valid for a single login, which Caddy needs",
	veeam.GrantSAML:         "its SAML response is valid for a single login, which Caddy needs",
	veeam.GrantSSOToken:     "its token may be valid for a single login, which Caddy needs",
}

func (r *reached) checkLogin(ctx context.Context, report *checkReport, a *veeam.Account) {
	const step = "login"
	why := usesUp[a.Grant]
	if a.Grant == veeam.GrantAuthorizationCode && a.Parent == nil {
		why = "its code is valid for a single login, which Caddy needs"
	}
	if why != "" {
		report.skip(step, "not tried: "+why)
		return
	}
	r.Client.MFATries = 1
	ctx, cancel := r.Within(ctx, loginFor)
	defer cancel()
	token, err := r.Client.Login(ctx, a)
	if err != nil {
		reason, help := loginReason(r.Client.Product, err)
		if overdrawn(err) {
			help = "nothing was sent: " + r.overdrawnHelp()
		}
		report.fail(step, reason, err.Error(), help)
		if failed, ok := errors.AsType[*veeam.Error](err); ok && failed.Kind == veeam.KindRefused {
			report.warn("tries", r.Budget().String(), "Caddy's logins count against the same budget")
		}
		return
	}
	defer r.Logout(token)
	detail := "works"
	if token.Grant == veeam.GrantMFA {
		detail = "works, with a verification code"
	}
	report.ok(step, detail)
	if said := r.OtherProduct(token); said != "" {
		report.warn("product", said, "")
	}
	report.ok("tries", r.Budget().String())
	r.checkRole(ctx, report, token)
	r.checkServiceAccounts(ctx, report, token)
}

func (r *reached) checkRole(ctx context.Context, report *checkReport, token *veeam.Token) {
	const step = "role"
	err := r.Client.MayRead(ctx, token)
	var e *veeam.Error
	switch {
	case err == nil:
		report.ok(step, "read access works")
	case !errors.As(err, &e):
		report.fail(step, veeam.ReasonUnexpectedAnswer, err.Error(), "")
	case e.Kind == veeam.KindForbidden:
		report.fail(step, veeam.ReasonRoleTooSmall, err.Error(), "give the user a role with read access in the product's console")
	case e.Kind == veeam.KindRefused:
		report.fail(step, veeam.ReasonSessionRefused, err.Error(), "")
	case e.Kind == veeam.KindProtocol:
		report.skip(step, "this version of the server does not have the resource that the check reads")
	default:
		reason, _ := loginReason(r.Client.Product, err)
		report.fail(step, reason, err.Error(), "")
	}
}

// checkServiceAccounts says of every account at this VBR server whether it is a
// service account, if this session may know.
func (r *reached) checkServiceAccounts(ctx context.Context, report *checkReport, token *veeam.Token) {
	var users []string
	for _, a := range r.Transport.Accounts {
		if resolved, err := a.Resolve(); err == nil {
			users = append(users, cmp.Or(resolved.Account.Username, a.Name))
		}
	}
	found, err := r.Client.ServiceAccounts(ctx, token, users...)
	if err != nil {
		return // another product, an older version, or not allowed: no reason to worry anybody
	}
	for _, user := range found {
		switch {
		case user.Is:
			report.ok("user", user.User+" is a service account: exempt from multi-factor authentication")
		case user.Known:
			report.Steps = append(report.Steps, checkStep{
				Name: "user", State: stepOK, Detail: user.User + " is not a service account",
				Help: "with multi-factor authentication enabled, the REST API refuses it: mark it as a service account in Users and Roles",
			})
		}
	}
}

// connectionReason says why no answer came.
func connectionReason(err error) (reason veeam.Reason, detail string) {
	var (
		pin  *tlspin.MismatchError
		name *net.DNSError
		e    *veeam.Error
	)
	switch {
	case errors.As(err, &pin):
		return veeam.ReasonPin, pin.Error()
	case errors.As(err, &name):
		return veeam.ReasonUnreachable, "DNS: " + name.Error()
	case errors.As(err, &e) && e.Kind == veeam.KindTLS:
		return veeam.ReasonTLS, fmt.Sprint(e.Err)
	case errors.As(err, &e) && e.Kind == veeam.KindServerFault:
		return veeam.ReasonServerFault, err.Error()
	case errors.As(err, &e) && e.Kind == veeam.KindTimeout:
		return veeam.ReasonUnreachable, "no answer in time"
	case errors.As(err, &e) && e.Err != nil:
		return veeam.ReasonUnreachable, e.Err.Error()
	}
	return veeam.ReasonUnreachable, err.Error()
}

// connectionHelp is the way out of a connection that failed.
func connectionHelp(err error, reason veeam.Reason, server string) string {
	failed, _ := errors.AsType[*veeam.Error](err)
	pin := "`caddy veeam-auth pin " + server + "` prints the fingerprint to compare"
	switch {
	case reason == veeam.ReasonPin:
		return "ask the server's administrator whether the certificate was replaced; " + pin
	case reason != veeam.ReasonTLS || failed == nil:
		return ""
	case failed.TLS == veeam.TLSIssuer || failed.TLS == veeam.TLSName || failed.TLS == veeam.TLSValidity:
		return failed.Hint + ". " + pin
	}
	return failed.Hint
}

const refusedHelp = "correct the credential first: more tries may lock the account"

// loginReason says why a login has failed, and what to do about it.
func loginReason(p *veeam.Product, err error) (reason veeam.Reason, help string) {
	if reason, ok := caddymodule.BudgetReason(err); ok {
		return reason, ""
	}
	var e *veeam.Error
	if !errors.As(err, &e) {
		return veeam.ReasonAccountIncomplete, ""
	}
	switch e.Kind {
	case veeam.KindRefused:
		switch {
		case e.Grant == veeam.GrantMFA:
			return veeam.ReasonCodeRefused, "check totp_secret and the clocks of both machines; codes that Caddy has just used are refused too"
		case p.Values[veeam.GrantMFA] == "":
			return veeam.ReasonCredentialOrMFA, cmp.Or(p.RefusedClue, refusedHelp)
		}
		return veeam.ReasonCredentialRefused, refusedHelp
	case veeam.KindMFARequired:
		return veeam.ReasonCodeNeeded, p.MFAHint + "; `caddy veeam-auth enroll` creates a secret"
	case veeam.KindSSORequired:
		return veeam.ReasonSSONeeded, "use a local user"
	case veeam.KindThrottled:
		if e.RetryAfter > 0 {
			return veeam.ReasonThrottled, fmt.Sprintf("wait for %v", e.RetryAfter)
		}
		return veeam.ReasonThrottled, "wait"
	case veeam.KindServerFault:
		return veeam.ReasonServerFault, "see the server's log"
	case veeam.KindProtocol:
		return veeam.ReasonAPIVersion, ""
	case veeam.KindMalformed:
		return veeam.ReasonUnexpectedAnswer, ""
	case veeam.KindAccount:
		return veeam.ReasonAccountIncomplete, ""
	}
	reason, _ = connectionReason(err)
	return reason, ""
}

// connection is what was seen of a connection. Several addresses may be dialed at
// once.
type connection struct {
	mu sync.Mutex

	address string
	took    time.Duration
	tls     *tls.ConnectionState

	started time.Time
}

// trace has the context's requests tell about their connection.
func (c *connection) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		ConnectStart: func(_, _ string) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.started.IsZero() {
				c.started = time.Now()
			}
		},
		ConnectDone: func(_, address string, err error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if err == nil && c.took == 0 {
				c.address, c.took = address, time.Since(c.started)
			}
		},
		GotConn: func(info httptrace.GotConnInfo) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if conn, ok := info.Conn.(interface{ ConnectionState() tls.ConnectionState }); ok && c.tls == nil {
				state := conn.ConnectionState()
				c.tls = &state
			}
		},
	})
}

func (c *connection) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.took == 0 {
		return "made"
	}
	return fmt.Sprintf("%s in %v", c.address, c.took.Round(100*time.Microsecond))
}

// certificate describes what the server has shown, and why it counts.
func (c *connection) certificate(trust string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tls == nil || len(c.tls.PeerCertificates) == 0 {
		return "none: plain HTTP"
	}
	cert := c.tls.PeerCertificates[0]
	text := fmt.Sprintf("%s: %s, valid until %s, SHA-1 %s", trust, tlspin.Subject(cert), cert.NotAfter.UTC().Format(time.DateOnly), tlspin.SHA1(cert))
	if time.Until(cert.NotAfter) < 30*24*time.Hour {
		text += ", expires soon"
	}
	return text
}

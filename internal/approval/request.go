// The request that is approved: what belongs to it, and what operators see of it.

package approval

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/caddy-veeam/veeam-auth/internal/canonical"
	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// Asked is what was decided about a request that requires an approval.
type Asked struct {
	Product *veeam.Product

	// Site identifies the site with its servers and accounts, Client the caller. Account is
	// the name of the account that the request acts as.
	Site, Client, Account string

	// Server is the address of the server, or those of several, for people; empty if it is
	// not known yet.
	Server string

	// Sent is the normalized request.
	Sent      canonical.Request
	Operation operation.Operation

	// Rule is where the deciding rule is written.
	Rule string
}

// request is a request that was read to its end.
type request struct {
	Asked
	header http.Header // what belongs to it
	names  []string    // of these headers, sorted
	body   []byte
	sum    [sha256.Size]byte // of the body
	wanted string            // the id that the client names, empty for none
}

func newRequest(asked Asked, header http.Header, words canonical.Words, body []byte, wanted string) *request {
	r := &request{
		Asked: asked, header: make(http.Header), body: body, sum: sha256.Sum256(body), wanted: wanted,
		names: belonging(slices.Collect(maps.Keys(header)), asked.Product.Version.Header, words),
	}
	for _, name := range r.names { // a copy: others may change those of the request
		r.header[name] = slices.Clone(header[name])
	}
	return r
}

// mac identifies the request: another one has another mac. Without the salt, which lies in
// the storage, nobody can tell what was hashed.
func (r *request) mac(salt []byte) string {
	h := hmac.New(sha256.New, salt)
	write := func(texts ...string) {
		for _, text := range texts {
			var size [8]byte
			binary.BigEndian.PutUint64(size[:], uint64(len(text)))
			_, _ = h.Write(size[:])
			_, _ = h.Write([]byte(text))
		}
	}
	write("1", r.Product.Name, r.Site, r.Client, r.Account, r.Sent.Method, r.Sent.Path, r.Sent.Query, string(r.sum[:]))
	for _, name := range r.names {
		write(name, string(binary.BigEndian.AppendUint64(nil, uint64(len(r.header[name])))))
		write(r.header[name]...)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Bounds of what is kept of a request.
const (
	shownBody = 16 << 10 // bytes of a body that operators see
	maxTarget = 8 << 10  // bytes of path and query
	shownText = 512      // bytes of other texts
)

// Status is how an approval stands.
type Status string

// The statuses.
const (
	Waiting  Status = "waiting"
	Approved Status = "approved"
	Denied   Status = "denied"
	Expired  Status = "expired" // not approved in time, or not used in time
	Used     Status = "used"
)

// State describes an approval for operators. Secrets in it are masked.
type State struct {
	ID     string `json:"id"`
	Status Status `json:"status"`

	Product string `json:"product"`
	Server  string `json:"server,omitempty"`
	Client  string `json:"client"`
	Account string `json:"account,omitempty"`
	Rule    string `json:"rule,omitempty"`

	Method    string `json:"method"`
	Path      string `json:"path"`
	Query     string `json:"query,omitempty"`
	Operation string `json:"operation,omitempty"` // its name, empty if it is not in the index
	Class     string `json:"class,omitempty"`

	ContentType     string `json:"content_type,omitempty"`
	ContentEncoding string `json:"content_encoding,omitempty"`

	// BodyBytes is the size of the body. BodyDigest is `sha256:` and its SHA-256 in
	// hexadecimal; of a body that is not shown completely, because it is masked, cut or
	// binary, it is `hmac-sha256:` and a digest with a key, so that nobody can guess at what
	// is hidden. Body is what is shown; it is removed when the approval has ended.
	BodyBytes  int    `json:"body_bytes"`
	BodyDigest string `json:"body_digest,omitempty"`
	Body       string `json:"body,omitempty"`

	Asked time.Time `json:"asked"`

	// Expires is until when an operator may decide, until when the approved request may be
	// repeated, or until when the denial holds.
	Expires time.Time `json:"expires"`

	Decided time.Time `json:"decided,omitzero"`
	By      string    `json:"by,omitempty"` // the operator, empty if not known
	Used    time.Time `json:"used,omitzero"`

	template string // of the operation
}

// Template is the operation's template in the index, empty if it is not in the index. Only
// the process that has asked knows it.
func (s State) Template() string { return s.template }

// client is the caller as operators see it.
func (r *request) client() string { return short(visible(svclog.MaskText(nil, r.Client))) }

// state is what operators see of a new approval.
func (r *request) state(salt []byte, limits Limits, now time.Time) State {
	s := State{
		ID: "apr_" + strings.ToLower(rand.Text()[:16]), Status: Waiting,
		Product: r.Product.Name, Server: short(visible([]byte(r.Server))), Client: r.client(), Account: short(visible([]byte(r.Account))), Rule: r.Rule,
		Method: r.Sent.Method, Path: visible(svclog.MaskPath(nil, r.Sent.Path)), Query: visible(svclog.MaskQuery(nil, r.Sent.Query)),
		Operation: r.Operation.Name, Class: r.Operation.Class.String(),
		ContentType:     short(visible(svclog.MaskText(nil, strings.Join(r.header["Content-Type"], ", ")))),
		ContentEncoding: short(visible(svclog.MaskText(nil, strings.Join(r.header["Content-Encoding"], ", ")))),
		BodyBytes:       len(r.body),
		Asked:           now, Expires: now.Add(limits.Wait),
		template: r.Operation.Template(),
	}
	if len(r.body) == 0 {
		return s
	}
	shown := r.body[:min(len(r.body), shownBody)]
	s.Body = visible(svclog.MaskBody(nil, r.header.Get("Content-Type"), r.header.Get("Content-Encoding"), shown, len(shown) < len(r.body)))
	if s.BodyDigest = "sha256:" + hex.EncodeToString(r.sum[:]); s.Body != string(r.body) {
		keyed := hmac.New(sha256.New, salt)
		_, _ = keyed.Write(r.body)
		s.BodyDigest = "hmac-sha256:" + hex.EncodeToString(keyed.Sum(nil))
	}
	return s
}

// visible is a text in which nothing is hidden, and nothing moves on a terminal or page:
// invisible characters are written as escapes.
func visible(text []byte) string {
	var b strings.Builder
	for _, c := range strings.ReplaceAll(string(text), "\r\n", "\n") {
		if c == '\n' || c == '\t' || unicode.IsPrint(c) {
			b.WriteRune(c)
			continue
		}
		fmt.Fprintf(&b, `\u%04x`, c)
	}
	return b.String()
}

// short is a text of at most shownText bytes.
func short(text string) string {
	if len(text) <= shownText {
		return text
	}
	return strings.ToValidUTF8(text[:shownText], "") + "…"
}

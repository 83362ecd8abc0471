// Our own refusals, in the error JSON of the product.

package veeam

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"
)

// Refusal is a refusal that veeam-auth sends instead of a response of the server.
type Refusal struct {
	// Status is the HTTP status. Default: that of the product for the reason; see
	// Product.Status.
	Status int

	// Reason is the reason; see Reasons. A word outside the vocabulary counts as
	// ReasonInternal.
	Reason Reason

	// Message is the message for the user of the client. Default: that of the product
	// for the reason.
	Message string

	// Detail is for the operator's log: what decided. It is never sent. Default: the
	// meaning of Reason.
	Detail string

	// RetryAfter is the time after which a retry is reasonable. The body of a 429 of
	// VSPC contains it too; the caller sets the Retry-After header.
	RetryAfter time.Duration

	// Path is the path of the request. The error format of some products depends on the
	// API version in it.
	Path string

	// Format is the format that the client accepts, for products with several.
	Format Format

	// AtTokenEndpoint reports whether the request was a token request. VSPC has a
	// separate error format for those.
	AtTokenEndpoint bool

	dialect dialect
}

// refusalForm is the product-specific content of a refusal.
type refusalForm struct {
	login     bool   // at the token endpoint the status is that of a refused login
	message   string // unless the product has its own for a refused login
	errorCode string // VBR, AWS
	problem   string // AWS: the page about this type of problem
	oauth     string // VSPC at its token endpoint
	errorType string // VSPC elsewhere
}

var (
	formBadCredential = refusalForm{
		true, "Authentication failed",
		"AccessDenied", "accessDenied", "invalid_request", "security",
	}
	formBadRefreshToken = refusalForm{
		true, "The refresh token is invalid or has expired.",
		"InvalidToken", "invalidAccessToken", "invalid_grant", "security",
	}
	formBadRequest = refusalForm{
		false, "One or more request parameters are not valid.",
		"UnexpectedContent", "validationError", "invalid_request", "logical",
	}
	formMethodNotAllowed = refusalForm{
		false, "The method is not allowed.",
		"UnexpectedContent", "validationError", "invalid_request", "logical",
	}
	formTooEarly = refusalForm{
		false, "The request came before the connection was established. Send it again.",
		"ServiceUnavailable", "serviceUnavailable", "invalid_request", "transport",
	}
	formUnsupportedGrant = refusalForm{
		false, "The grant type is not supported.",
		"UnexpectedContent", "validationError", "unsupported_grant_type", "logical",
	}
	formTooLarge = refusalForm{
		false, "The request is too large.",
		"UnexpectedContent", "validationError", "invalid_request", "logical",
	}
	formNoToken = refusalForm{
		false, "Unauthorized. Get a bearer token at the token endpoint.",
		"AccessDenied", "noAccessToken", "invalid_request", "security",
	}
	formBadToken = refusalForm{
		false, "The access token is invalid.",
		"InvalidToken", "invalidAccessToken", "invalid_request", "security",
	}
	formExpiredToken = refusalForm{
		false, "The access token has expired.",
		"ExpiredToken", "expiredAccessToken", "invalid_request", "security",
	}
	formDenied = refusalForm{
		false, "Forbidden",
		"AccessDenied", "accessDenied", "unauthorized_client", "security",
	}
	formThrottled = refusalForm{
		false, "Too many requests. Try again later.",
		"ServiceUnavailable", "serviceUnavailable", "invalid_request", "transport",
	}
	formNoSession = refusalForm{
		false, "There is no session with the server at present.",
		"ServiceUnavailable", "serviceUnavailable", "temporarily_unavailable", "transport",
	}
	formUnavailable = refusalForm{
		false, "The server cannot be reached at present.",
		"ServiceUnavailable", "serviceUnavailable", "temporarily_unavailable", "transport",
	}
	formInternal = refusalForm{
		false, "The request could not be processed.",
		"UnknownError", "unknownError", "temporarily_unavailable", "unspecified",
	}
)

// told returns the refusal as the caller sees it. At the token endpoint a refusal that
// does not tell its reason is that of a wrong password.
func (r Refusal) told() Refusal {
	if told := r.Reason.Row().told; told != "" {
		if r.Reason = told; r.AtTokenEndpoint {
			r.Reason = ReasonBadCredential
		}
		r.Status, r.Message = 0, ""
	}
	return r
}

// formOf is the form of a refusal; one without is an internal fault.
func formOf(row ReasonRow) *refusalForm {
	if row.form == nil {
		return &formInternal
	}
	return row.form
}

const vspcLoginMessage = "Cannot complete login due to incorrect username or password, or no sufficient rights."

// Status returns the HTTP status of a refusal: r.Status, or that of the product for its
// reason. VSPC answers every refused token request with 400 and every fault of a server
// with 520.
func (p *Product) Status(r Refusal) int {
	r = r.told()
	row := r.Reason.Row()
	status := cmp.Or(row.Status, http.StatusInternalServerError)
	switch {
	case r.Status != 0:
		return r.Status
	case r.AtTokenEndpoint && formOf(row).login:
		return p.LoginRefused
	case p.serverFault != 0 && status >= http.StatusInternalServerError:
		return p.serverFault
	}
	return status
}

// Message returns the message of a refusal: r.Message, or that of the product for its
// reason.
func (p *Product) Message(r Refusal) string {
	r = r.told()
	switch {
	case r.Message != "":
		return r.Message
	case p.messages[r.Reason] != "":
		return p.messages[r.Reason]
	}
	return formOf(r.Reason.Row()).message
}

// AppendError appends the body of a refusal to dst, in the error format of the product.
// The message ends with the reason in parentheses. The response must have the status
// p.Status(r).
func (p *Product) AppendError(dst []byte, r Refusal) (body []byte, contentType string) {
	r = r.told()
	form := formOf(r.Reason.Row())
	r.Status = p.Status(r)
	r.Message = p.Message(r)
	r.dialect = p.dialectAt(r.Path)
	// The text for a refused credential is that of the product: a caller learns no
	// more from it than from the server.
	if r.Reason != ReasonBadCredential {
		r.Message += " (" + string(r.Reason.Row().Reason) + ")"
	}
	return p.appendError(dst, r, form)
}

// Logout returns the response to a client that ends a session of veeam-auth at the
// given path.
func (p *Product) Logout(urlPath string) (status int, body []byte) {
	status = cmp.Or(p.logoutStatus, p.dialectAt(urlPath).logout)
	if p.logoutBody == "" {
		return status, nil
	}
	return status, []byte(p.logoutBody)
}

const (
	contentJSON    = "application/json; charset=utf-8"
	contentProblem = "application/problem+json; charset=utf-8"
)

func appendVBRError(dst []byte, r Refusal, form *refusalForm) ([]byte, string) {
	dst = append(dst, `{"errorCode":`...)
	dst = appendString(dst, form.errorCode)
	dst = append(dst, `,"message":`...)
	dst = appendString(dst, r.Message)
	return append(dst, `,"resourceId":null}`...), contentJSON
}

func appendVSPCError(dst []byte, r Refusal, form *refusalForm) ([]byte, string) {
	if r.AtTokenEndpoint {
		dst = append(dst, `{"error":`...)
		dst = appendString(dst, form.oauth)
		dst = append(dst, `,"error_description":`...)
		dst = appendString(dst, r.Message)
		return append(dst, `,"error_uri":null}`...), contentJSON
	}
	dst = append(dst, `{"errors":[{"message":`...)
	dst = appendString(dst, r.Message)
	dst = append(dst, `,"type":`...)
	dst = appendString(dst, form.errorType)
	dst = append(dst, `,"code":`...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	if seconds := wholeSeconds(r.RetryAfter); seconds > 0 {
		dst = append(dst, `,"retryAfter":`...)
		dst = strconv.AppendInt(dst, seconds, 10)
	}
	return append(dst, `}]}`...), contentJSON
}

func appendAzureError(dst []byte, r Refusal, _ *refusalForm) ([]byte, string) {
	dst = appendProblem(dst, "https://httpstatuses.io/"+strconv.Itoa(r.Status), r.Status)
	dst = append(dst, `,"detail":`...)
	dst = appendString(dst, r.Message)
	switch r.Status {
	case http.StatusBadRequest:
		dst = append(dst, `,"errors":{}`...)
	case http.StatusForbidden:
		dst = append(dst, `,"instance":null,"licenseAgreementAcceptanceRequired":false`...)
	default:
		dst = append(dst, `,"instance":null`...)
	}
	dst = append(dst, `,"traceId":"`...)
	dst = appendTraceID(dst)
	return append(dst, `"}`...), contentProblem
}

func appendAWSError(dst []byte, r Refusal, form *refusalForm) ([]byte, string) {
	dst = appendProblem(dst, "/api/v1/problems/"+form.problem, r.Status)
	dst = append(dst, `,"errorCode":`...)
	dst = appendString(dst, form.errorCode)
	dst = append(dst, `,"details":`...)
	dst = appendString(dst, r.Message)
	return append(dst, `,"instance":null,"data":null}`...), contentProblem
}

// appendProblem begins the object of a problem (RFC 7807) with the members that all
// products with problems have.
func appendProblem(dst []byte, kind string, status int) []byte {
	dst = append(dst, `{"type":`...)
	dst = appendString(dst, kind)
	dst = append(dst, `,"title":`...)
	dst = appendString(dst, title(status))
	dst = append(dst, `,"status":`...)
	return strconv.AppendInt(dst, int64(status), 10)
}

func title(status int) string {
	if text := http.StatusText(status); text != "" {
		return text
	}
	return "Error"
}

// appendTraceID appends a new id in the form of W3C trace context.
func appendTraceID(dst []byte) []byte {
	var id [24]byte
	_, _ = rand.Read(id[:])
	dst = append(dst, "00-"...)
	dst = hex.AppendEncode(dst, id[:16])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[16:])
	return append(dst, "-00"...)
}

// wholeSeconds rounds up.
func wholeSeconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

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

// Refusal is a request that we answer ourselves, with an error.
type Refusal struct {
	// Status of the answer. Default: what the product answers for this reason,
	// see Product.Status.
	Status int

	// Reason is a word of the closed vocabulary, see Reasons; another one counts
	// as ReasonInternal.
	Reason Reason

	// Message is for the person who reads the client's log. Default: what the
	// product says in this case.
	Message string

	// Detail is for the log of the operator: what has decided. It is never sent.
	// Default: what Reason means.
	Detail string

	// RetryAfter is when trying again makes sense. VSPC's 429 repeats it in the
	// body; the Retry-After header is up to the caller.
	RetryAfter time.Duration

	// Path is that of the request, for products whose errors depend on the API version
	// in it.
	Path string

	// Format is in which format the client wants it, where the product has several.
	Format Format

	// AtTokenEndpoint says that the request was one for a token, for which VSPC
	// has an error form of its own.
	AtTokenEndpoint bool

	dialect dialect
}

// refusalForm is what the products say in a refusal.
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

// formOf is the form of a refusal; one without is an internal fault.
func formOf(row ReasonRow) *refusalForm {
	if row.form == nil {
		return &formInternal
	}
	return row.form
}

const vspcLoginMessage = "Cannot complete login due to incorrect username or password, or no sufficient rights."

// Status is the status of a refusal: its own, or the product's for its reason.
// At VSPC every refused token request is a 400 and every fault of a server a
// 520.
func (p *Product) Status(r Refusal) int {
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

// Message is the message of a refusal: its own, or the product's for its reason.
func (p *Product) Message(r Refusal) string {
	switch {
	case r.Message != "":
		return r.Message
	case p.messages[r.Reason] != "":
		return p.messages[r.Reason]
	}
	return formOf(r.Reason.Row()).message
}

// AppendError appends the body of a refusal in the product's error form. Its
// message ends with the reason in brackets. The status belongs to it: write the answer with p.Status(r).
func (p *Product) AppendError(dst []byte, r Refusal) (body []byte, contentType string) {
	form := formOf(r.Reason.Row())
	r.Status = p.Status(r)
	r.Message = p.Message(r)
	r.dialect = p.dialectAt(r.Path)
	// A refused credential has the product's own words: no caller learns more from
	// it than from the server.
	if r.Reason != ReasonBadCredential {
		r.Message += " (" + string(r.Reason.Row().Reason) + ")"
	}
	return p.appendError(dst, r, form)
}

// Logout is the answer to a client that ends its session with us, at a path.
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
	dst = append(dst, `{"type":`...)
	dst = appendString(dst, "https://httpstatuses.io/"+strconv.Itoa(r.Status))
	dst = append(dst, `,"title":`...)
	dst = appendString(dst, title(r.Status))
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
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
	dst = append(dst, `{"type":`...)
	dst = appendString(dst, "/api/v1/problems/"+form.problem)
	dst = append(dst, `,"title":`...)
	dst = appendString(dst, title(r.Status))
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(dst, `,"errorCode":`...)
	dst = appendString(dst, form.errorCode)
	dst = append(dst, `,"details":`...)
	dst = appendString(dst, r.Message)
	return append(dst, `,"instance":null,"data":null}`...), contentProblem
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

// wholeSeconds rounds up, so that who waits that long has waited enough.
func wholeSeconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

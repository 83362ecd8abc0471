// What becomes of a request that requires an approval.

package approval

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/canonical"
	"github.com/caddy-veeam/veeam-auth/internal/requestbody"
	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// Header is the header with the id of an approval: in a refusal, and optionally in a
// request, which then uses this approval or is refused.
const Header = "Veeam-Auth-Approval"

// Site has the requests of one site approved.
type Site struct {
	Approvals *Approvals
	Limits    Limits

	// Words are the words of the conditions of all rules of the site.
	Words canonical.Words
}

const (
	// bodyTimeout is how long the body of a request may take to arrive.
	bodyTimeout = 30 * time.Second

	// lookAgain is when a client looks again whether its request was approved.
	lookAgain = 10 * time.Second
)

// Admit reads a request to its end, and returns a ticket if an operator has approved it.
// The ticket is used up: no other request gets one for this approval, here or in another
// process. Otherwise it returns why the request is refused. The first request asks for the
// approval; it is repeated after that.
func (s *Site) Admit(w http.ResponseWriter, r *http.Request, asked Asked) (*Ticket, *veeam.Refusal) {
	wanted := r.Header.Get(Header)
	delete(r.Header, Header)
	switch {
	case asked.Sent.Websocket:
		return nil, &veeam.Refusal{Reason: veeam.ReasonDenied, Detail: "a WebSocket cannot be approved: what is sent through it later is unknown"}
	case len(asked.Sent.Path)+len(asked.Sent.Query) > maxTarget:
		return nil, &veeam.Refusal{Reason: veeam.ReasonTooLarge, Message: fmt.Sprintf("A request that requires an approval has a path and query of at most %d bytes.", maxTarget)}
	}
	whole, err := requestbody.ReadWhole(w, r, s.Limits.MaxBody, bodyTimeout)
	switch {
	case errors.Is(err, requestbody.ErrTooLarge):
		return nil, &veeam.Refusal{
			Reason:  veeam.ReasonTooLarge,
			Message: fmt.Sprintf("A request that requires an approval has a body of at most %d bytes.", s.Limits.MaxBody),
			Detail:  fmt.Sprintf("the request requires an approval, and its body exceeds max_body, which is %d bytes", s.Limits.MaxBody),
		}
	case errors.Is(err, requestbody.ErrTimeout):
		return nil, &veeam.Refusal{Reason: veeam.ReasonBadRequest, Status: http.StatusRequestTimeout, Message: "The body of the request did not arrive in time."}
	case err != nil:
		return nil, &veeam.Refusal{Reason: veeam.ReasonBadRequest, Message: "The body of the request is incomplete."}
	}
	req := newRequest(asked, r.Header, s.Words, whole.Bytes(), wanted)
	rec, ticket, err := s.admit(r.Context(), req)
	if rec != nil {
		w.Header().Set(Header, rec.ID)
	}
	if ticket != nil {
		ticket.whole, ticket.request = whole, req
		return ticket, nil
	}
	return nil, refusal(rec, err, time.Now())
}

// errWanted is the error of a request that names an approval which is not its own.
var errWanted = errors.New("the approval that the request names is unknown, or is that of another request")

// fullError reports that too many requests wait.
type fullError struct{ own bool }

// Error says of whom.
func (e *fullError) Error() string {
	if e.own {
		return "too many requests of this client wait for an approval (max_waiting_per_client)"
	}
	return "too many requests wait for an approval (max_waiting)"
}

// admit returns what stands for the request: a ticket, or its approval that gives none.
func (s *Site) admit(ctx context.Context, req *request) (*record, *Ticket, error) {
	a := s.Approvals
	b, err := a.read(ctx)
	if err != nil {
		return nil, nil, err
	}
	rec, now := b.of(req), time.Now()
	if req.wanted != "" {
		if rec == nil || rec.ID != req.wanted {
			return nil, nil, errWanted
		}
	} else if rec == nil || !rec.speaks(now) {
		if rec, err = s.ask(ctx, b, req, now); err != nil {
			return nil, nil, err
		}
	}
	switch rec.standing(now) {
	case Approved:
		return a.take(ctx, req, rec.ID)
	case Expired:
		return rec, nil, a.expire(ctx, rec.ID)
	}
	return rec, nil, nil
}

// ask has a request wait, unless an equal one does.
func (s *Site) ask(ctx context.Context, b *book, req *request, now time.Time) (rec *record, err error) {
	room := func(b *book, now time.Time) error {
		switch all, own := b.waiting(req.client(), now); {
		case own >= s.Limits.MaxWaitingPerClient:
			return &fullError{own: true}
		case all >= s.Limits.MaxWaiting:
			return new(fullError)
		}
		return nil
	}
	if err := room(b, now); err != nil {
		return nil, err // without a lock
	}
	asked := false
	err = s.Approvals.change(ctx, func(b *book, now time.Time) error {
		if rec = b.of(req); rec != nil && rec.speaks(now) {
			return errSame
		}
		if err := room(b, now); err != nil {
			return err
		}
		rec = &record{State: req.state(b.Salt, s.Limits, now), MAC: req.mac(b.Salt), Wait: s.Limits.Wait, UseWithin: s.Limits.UseWithin}
		b.Approvals, asked = append(b.Approvals, rec), true
		return nil
	})
	if err != nil {
		return nil, err
	}
	if asked {
		s.Approvals.tell(Waiting, rec.State)
	}
	return rec, nil
}

// expire notes that the client is told that its approval has expired: the next equal
// request asks for another one.
func (a *Approvals) expire(ctx context.Context, id string) error {
	return a.change(ctx, func(b *book, _ time.Time) error {
		rec := b.byID(id)
		if rec == nil || rec.Status != Expired || rec.Told {
			return errSame
		}
		rec.Told = true
		return nil
	})
}

// take uses an approval for a request. Only who has recorded under the lock of the approval
// that it is used gets a ticket.
func (a *Approvals) take(ctx context.Context, req *request, id string) (rec *record, ticket *Ticket, err error) {
	err = a.alone(ctx, id, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, store.For)
		defer cancel()
		since := time.Now()
		b, err := load(ctx, a.store) // not as it was read last: it may have been denied
		if err != nil {
			return &StorageError{err}
		}
		found := b.byID(id)
		if found == nil || found.MAC != req.mac(b.Salt) {
			return errWanted
		}
		now := time.Now()
		spent, err := a.spent(ctx, id)
		if err != nil {
			return &StorageError{err}
		}
		last := *found
		if rec = &last; spent != nil {
			rec.Status = Used
		}
		if rec.standing(now) != Approved {
			return nil
		}
		mine := &use{store.Mark(), now.UTC()}
		if err := a.spend(ctx, id, mine, since); err != nil {
			return &StorageError{err}
		}
		ticket = &Ticket{State: rec.State, approvals: a, use: mine}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if rec.Status == Used || ticket != nil {
		a.listUsed(ctx, id) // also if the process that has used it has not come to that
	}
	if ticket != nil {
		a.tell(Used, ticket.State)
	}
	return rec, ticket, nil
}

// listUsed shows in the list that an approval was used. What counts is the record of its
// use, so nothing depends on it.
func (a *Approvals) listUsed(ctx context.Context, id string) {
	_ = a.change(ctx, func(b *book, now time.Time) error {
		rec := b.byID(id)
		if rec == nil || rec.Status != Approved {
			return errSame
		}
		rec.end(Used)
		rec.Used = now
		return nil
	})
}

// refusal is the refusal of a request with an approval that gives no ticket, or with an
// error.
func refusal(rec *record, err error, now time.Time) *veeam.Refusal {
	if full, ok := errors.AsType[*fullError](err); ok {
		return &veeam.Refusal{
			Reason: veeam.ReasonThrottled, RetryAfter: time.Minute, Detail: full.Error(),
			Message: "This request requires an approval, and too many requests wait for one. Try again later.",
		}
	}
	switch {
	case errors.Is(err, errWanted):
		return &veeam.Refusal{Reason: veeam.ReasonBadRequest, Message: "The header " + Header + " names an unknown approval, or that of another request.", Detail: err.Error()}
	case errors.Is(err, context.Canceled):
		return &veeam.Refusal{Reason: veeam.ReasonCanceled}
	case err != nil:
		return &veeam.Refusal{
			Reason: veeam.ReasonStorage, RetryAfter: lookAgain, Detail: "the request requires an approval: " + err.Error(),
			Message: "This request requires an approval, and the storage of approvals cannot be used at present.",
		}
	}
	switch left := rec.Expires.Sub(now); rec.standing(now) {
	case Denied:
		return &veeam.Refusal{
			Reason: veeam.ReasonApprovalDenied, RetryAfter: max(left, time.Second), Detail: "the approval " + rec.ID + " was denied" + by(rec.By),
			Message: "An operator has denied this request. Approval id " + rec.ID + ". Do not repeat it.",
		}
	case Expired:
		what := "was not given in time"
		if !rec.Decided.IsZero() {
			what = "was not used in time"
		}
		return &veeam.Refusal{
			Reason: veeam.ReasonApprovalExpired, RetryAfter: time.Second, Detail: "the approval " + rec.ID + " " + what,
			Message: "The approval of this request " + what + ". Approval id " + rec.ID + ". Repeat the identical request to ask again.",
		}
	case Used:
		return &veeam.Refusal{
			Reason: veeam.ReasonApprovalUsed, Detail: "the approval " + rec.ID + " was used by an identical request",
			Message: "The approval of this request was used by an identical request. Approval id " + rec.ID + ". Repeat the request only if it must be carried out again.",
		}
	default:
		return &veeam.Refusal{
			Reason: veeam.ReasonApprovalRequired, RetryAfter: max(min(lookAgain, left), time.Second),
			Detail: "the request waits for an approval until " + rec.Expires.UTC().Format(time.RFC3339) +
				": caddy veeam-auth approvals approve " + rec.ID,
			Message: "An operator must approve this request. Approval id " + rec.ID + ". Repeat the identical request after approval.",
		}
	}
}

func by(operator string) string {
	if operator == "" {
		return ""
	}
	return " by " + operator
}

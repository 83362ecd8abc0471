// Actions that VSPC queues: it answers 202 with the path of the action.

package veeam

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
)

const (
	actionsPath = "/api/v3/asyncActions/"

	// awaitFor is the time limit of an action.
	awaitFor = 2 * time.Minute

	// The pauses between two polls grow from the first to the second.
	firstAsk, lastAsk = 250 * time.Millisecond, 5 * time.Second
)

var (
	errNoAction       = errors.New("the server queued the request, but sent no address for the result")
	errActionFailed   = errors.New("the queued request failed")
	errActionCanceled = errors.New("the queued request was canceled")
	errActionTooLong  = errors.New("the queued request did not finish within 2 minutes; the server may still execute it")
)

// await polls a queued action until it ends, and returns its result as if it had been
// the answer. Only the path of location is used, and only if it is one of an action,
// because the session is sent to this server only.
func (c *Client) await(ctx context.Context, t *Token, location string) (*answer, error) {
	u, err := url.Parse(location)
	if err != nil || !strings.HasPrefix(u.Path, actionsPath) {
		return nil, &Error{Kind: KindMalformed, Status: http.StatusAccepted, Err: errNoAction}
	}
	id := url.PathEscape(strings.Trim(strings.TrimPrefix(u.Path, actionsPath), "/"))
	action := outgoing{method: http.MethodGet, path: actionsPath + id, bearer: t.Access}
	pause := firstAsk
	for start := time.Now(); ; pause = min(pause*2, lastAsk) {
		ans, err := c.repeat(ctx, action, true)
		if err != nil {
			return nil, err
		}
		o, err := c.Product.readCall(ans, nil)
		if err != nil {
			return nil, err
		}
		switch fold(o.object("data").text("status")) {
		case "succeed", "succeeded":
			action.path += "/result"
			return c.repeat(ctx, action, true)
		case "failed":
			action.path += "/result"
			return c.failure(ctx, action)
		case "canceled", "cancelled":
			return nil, &Error{Kind: KindServerFault, Err: errActionCanceled}
		}
		if time.Since(start)+pause > awaitFor {
			return nil, &Error{Kind: KindTimeout, Err: errActionTooLong}
		}
		if err := bounded.Sleep(ctx, pause); err != nil {
			return nil, transportError(ctx, err, nil)
		}
	}
}

// failure returns the reason why an action failed: its result is the refusal.
func (c *Client) failure(ctx context.Context, result outgoing) (*answer, error) {
	ans, err := c.repeat(ctx, result, true)
	if err == nil && ans.status >= 400 {
		return ans, nil
	}
	return nil, &Error{Kind: KindServerFault, Err: errActionFailed}
}

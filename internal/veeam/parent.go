// Grants that use a session of another account.

package veeam

import (
	"context"
	"errors"
	"fmt"
)

// ErrNoOtherSession is the error of Account.Parent if the refused session was just
// created. Another new session would be refused too, and each refusal counts.
var ErrNoOtherSession = errors.New("the refused session was new")

// withParent runs a step with a session of the account's parent, and again with another
// one if the server refuses the first.
func (c *Client) withParent(ctx context.Context, a *Account, step func(parent *Token) (*Token, error)) (*Token, error) {
	var refused *Token
	var refusal error
	for {
		parent, err := a.Parent(ctx, refused)
		if errors.Is(err, ErrNoOtherSession) && refusal != nil {
			return nil, refusal
		}
		if err != nil {
			return nil, fmt.Errorf("session of the parent account: %w", err)
		}
		t, err := step(parent)
		var e *Error
		if err == nil || refused != nil || !errors.As(err, &e) || e.Kind != KindRefused {
			return t, err
		}
		refused, refusal = parent, err
	}
}

// Grants that live on a session of another account.

package veeam

import (
	"context"
	"errors"
	"fmt"
)

// withParent runs a step with a session of the account's parent, and once more
// with another one if the server does not take the first.
func (c *Client) withParent(ctx context.Context, a *Account, step func(parent *Token) (*Token, error)) (*Token, error) {
	var refused *Token
	for {
		parent, err := a.Parent(ctx, refused)
		if err != nil {
			return nil, fmt.Errorf("session of the parent account: %w", err)
		}
		t, err := step(parent)
		var e *Error
		if err == nil || refused != nil || !errors.As(err, &e) || e.Kind != KindRefused {
			return t, err
		}
		refused = parent
	}
}

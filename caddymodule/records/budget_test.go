package records

import (
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestBudget_BadValuesAreRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []LockoutBudget{
		{0, caddy.Duration(time.Minute)},
		{101, caddy.Duration(time.Minute)},
		{-1, caddy.Duration(time.Minute)},
		{2, 0},
		{2, caddy.Duration(time.Second)},
		{2, caddy.Duration(25 * time.Hour)},
	} {
		if err := bad.Check(); err == nil || !strings.Contains(err.Error(), "lockout_budget 2 15m") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

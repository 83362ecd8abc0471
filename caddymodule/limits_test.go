// Limits that come from JSON, which no directive has read.

package caddymodule

import (
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestALimitThatWouldLimitNothingIsAnError(t *testing.T) {
	ctx, err := caddy.ProvisionContext(&caddy.Config{StorageRaw: fileStorage(t.TempDir())})
	if err != nil {
		t.Fatal(err)
	}
	for limit, ok := range map[RateLimit]bool{
		{}: false, {PerSecond: -1}: false, {PerSecond: 0.001}: false, {PerSecond: 5, Burst: -1}: false,
		{PerSecond: 0.01}: true, {PerSecond: 5, Burst: 1}: true,
	} {
		h := &Handler{RateLimit: &limit}
		err := h.Provision(ctx)
		if ok != (err == nil) || err != nil && !strings.Contains(err.Error(), "rate_limit") {
			t.Errorf("%+v: %v", limit, err)
		}
		_ = h.Cleanup()
	}
}

func TestManyCallersReleaseNoLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits(&RateLimit{PerSecond: 0.01}, 1)
		leave, refusal := l.enter("mine")
		if refusal != nil {
			t.Fatal(refusal)
		}
		others := 0
		for i := range 2 * maxCallers {
			if leave, refusal := l.enter("caller " + strconv.Itoa(i)); refusal == nil {
				leave()
				others++
			}
			if i%1000 == 0 {
				time.Sleep(2 * time.Second)
				if _, refusal := l.enter("mine"); refusal == nil {
					t.Fatalf("the limit was released after %d other callers", i)
				}
			}
		}
		if known := l.known.Load(); known > maxCallers+1 || others < maxCallers-1 {
			t.Errorf("%d callers are remembered, %d were served", known, others)
		}
		leave()
		time.Sleep(200 * time.Second) // all are as new ones
		for i := range 10 {
			if leave, refusal := l.enter("later " + strconv.Itoa(i)); refusal != nil {
				t.Errorf("a new caller: %+v", refusal)
			} else {
				leave()
			}
		}
		if known := l.known.Load(); known > 20 {
			t.Errorf("%d callers are remembered although most are idle", known)
		}
	})
}

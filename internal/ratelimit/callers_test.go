// Limits of many callers.

package ratelimit

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestManyCallersReleaseNoLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewCallers(0.01, 1, 1)
		leave, exceeded := l.Enter("mine")
		if exceeded != nil {
			t.Fatal(exceeded)
		}
		others := 0
		for i := range 2 * MaxCallers {
			if leave, exceeded := l.Enter("caller " + strconv.Itoa(i)); exceeded == nil {
				leave()
				others++
			}
			if i%1000 == 0 {
				time.Sleep(2 * time.Second)
				if _, exceeded := l.Enter("mine"); exceeded == nil {
					t.Fatalf("the limit was released after %d other callers", i)
				}
			}
		}
		if known := l.known.Load(); known > MaxCallers+1 || others < MaxCallers-1 {
			t.Errorf("%d callers are remembered, %d were served", known, others)
		}
		leave()
		time.Sleep(200 * time.Second) // all are as new ones
		for i := range 10 {
			if leave, exceeded := l.Enter("later " + strconv.Itoa(i)); exceeded != nil {
				t.Errorf("a new caller: %+v", exceeded)
			} else {
				leave()
			}
		}
		if known := l.known.Load(); known > 20 {
			t.Errorf("%d callers are remembered although most are idle", known)
		}
	})
}

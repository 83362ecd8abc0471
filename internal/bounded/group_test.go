package bounded

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestAGroupIsWaitedForWhileMoreBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		var ended atomic.Int32
		g.Wait() // none runs
		go func() {
			for range 100 { // each begins when none runs
				g.Go(func() {
					time.Sleep(time.Second)
					ended.Add(1)
				})
				time.Sleep(2 * time.Second)
			}
		}()
		for before := int32(0); before < 100; time.Sleep(time.Second) {
			g.Wait()
			now := ended.Load()
			if now < before {
				t.Errorf("%d ended after %d", now, before)
			}
			before = now
		}
		began := time.Now()
		for range 3 {
			g.Go(func() { time.Sleep(time.Minute) })
		}
		g.Wait()
		if took := time.Since(began); took != time.Minute {
			t.Errorf("waited for %v", took)
		}
	})
}

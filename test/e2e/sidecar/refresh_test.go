// Refresh tokens of the sidecar's own: they rotate, honest races are forgiven,
// and storms of refused ones cost nothing.

package sidecar

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestARefreshGivesANewPairThatWorks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range formed {
		w.add(p)
	}
	w.start()
	for _, s := range w.sites {
		first := s.client.login(t)
		answer := s.client.renew(t, first.Refresh)
		second := s.client.tokensOf(t, answer)
		if second.Access == first.Access || second.Refresh == first.Refresh {
			t.Errorf("%s: a refresh without rotation", s.Name)
		}
		s.client.ok(t, s.protected, bearer(second.Access))
		if again := s.client.renew(t, first.Refresh); !bytes.Equal(again.body, answer.body) {
			t.Errorf("%s: the same refresh at once again got another answer: %v", s.Name, again)
		}
		third := s.client.tokensOf(t, s.client.renew(t, second.Refresh))
		s.client.ok(t, s.protected, bearer(third.Access))
		// Two generations on, the first one is a stolen one: it ends them all.
		s.client.renew(t, first.Refresh).refusedAs(t, s.product, true, s.refused)
		s.client.renew(t, third.Refresh).refusedAs(t, s.product, true, s.refused)
		s.client.get(t, s.protected, bearer(third.Access)).refusedAs(t, s.product, false, http.StatusUnauthorized)
		s.client.renew(t, third.Access).refusedAs(t, s.product, true, s.refused)
		if c := s.Server.Counters(); c.TokenRequests != 1 {
			t.Errorf("%s: %+v", s.Name, c)
		}
	}
}

func TestOneRefreshTokenSentTwentyTimesAtOnceGetsOneAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range formed {
		w.add(p)
	}
	w.start()
	for _, s := range w.sites {
		form := url.Values{"grant_type": {s.refresh[0]}, "refresh_token": {s.client.login(t).Refresh}}.Encode()
		answers := make([]*answer, 20)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() {
				a, err := s.client.try(http.MethodPost, s.tokens[0], strings.NewReader(form), header("Content-Type", formType))
				if err != nil {
					t.Error(err)
				}
				answers[i] = a
			})
		}
		all.Wait()
		if t.Failed() {
			return
		}
		s.client.ok(t, s.protected, bearer(s.client.tokensOf(t, answers[0]).Access))
		for _, a := range answers {
			if a.status != http.StatusOK || !bytes.Equal(a.body, answers[0].body) {
				t.Fatalf("%s: %v and %v", s.Name, a, answers[0])
			}
		}
	}
}

func TestAStormOfRefusedRefreshesIsBrakedAndNeverReachesTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range formed {
		w.add(p)
	}
	w.start()
	for i, s := range w.sites {
		storm := s.client.from("127.0.0.9")
		defer storm.close()
		var plain, braked int
		began := time.Now()
		for range 200 {
			a := storm.renew(t, "long-gone-token")
			switch a.status {
			case s.refused:
				plain++
				a.refusedAs(t, s.product, true, s.refused)
			default:
				braked++
				a.refusedAs(t, s.product, true, http.StatusTooManyRequests)
			}
		}
		// As many as come at once, and one in each second after.
		if took := time.Since(began); plain == 0 || plain > 30+int(took.Seconds()) {
			t.Errorf("%s: %d refusals and %d times 429 in %v", s.Name, plain, braked, took)
		}
		if c := s.Server.Counters(); c.TokenRequests+c.Protected+c.Unauthorized+c.Anonymous != 0 {
			t.Errorf("%s: the server was asked: %+v", s.Name, c)
		}
		// Neither the same address with a good request nor another one is braked.
		storm.login(t)
		s.client.renew(t, "another-gone-token").refusedAs(t, s.product, true, s.refused)
		if i == 0 && braked > 0 && !strings.Contains(w.svclog(), "[429]") {
			t.Error("the log says nothing of 429")
		}
	}
}

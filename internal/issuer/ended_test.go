package issuer

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// What was begun with a good token ends with the login of the token, at each replica, and not
// because the token has expired.
func TestWhatWasBegunEndsWithItsLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := &memory{}
		here, there := replica(t, shared), replica(t, shared)
		subject := func(token string) Subject {
			sub, err := here.Check(t.Context(), token, site)
			if err != nil {
				t.Fatal(err)
			}
			return sub
		}
		ended := func(what string, sub Subject, since time.Time, want error) {
			t.Helper()
			for name, i := range map[string]*Issuer{"here": here, "there": there} {
				if err := i.Ended(sub.Client, sub.Family, since); !errors.Is(err, want) {
					t.Errorf("%s, %s: %v", what, name, err)
				}
			}
		}
		first, second := subject(issued(t, here).Access), subject(issued(t, here).Access)
		time.Sleep(time.Second)
		begun := time.Now()
		time.Sleep(DefaultLifetime + time.Minute)
		ended("expired", first, begun, nil)

		here.End(first.Client, first.Family)
		time.Sleep(time.Second + time.Millisecond)
		ended("logged out", first, begun, ErrEnded)
		ended("another login", second, begun, nil)

		if err := there.Revoke(t.Context(), second.Client); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second + time.Millisecond)
		ended("revoked", second, begun, ErrEnded)
		again := subject(issued(t, there).Access)
		ended("a login after it", again, time.Now(), nil)
		ended("another caller", Subject{Client: "jenkins", Family: "other"}, begun, nil)
	})
}

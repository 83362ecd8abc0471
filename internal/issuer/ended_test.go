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
		ended := func(what string, sub Subject, want error) {
			t.Helper()
			for name, i := range map[string]*Issuer{"here": here, "there": there} {
				if err := i.Ended(sub.Client, sub.Family, sub.Made); !errors.Is(err, want) {
					t.Errorf("%s, %s: %v", what, name, err)
				}
			}
		}
		first, second := subject(issued(t, here).Access), subject(issued(t, here).Access)
		time.Sleep(DefaultLifetime + time.Minute)
		ended("expired", first, nil)
		third := issued(t, here).Access

		here.End(first.Client, first.Family)
		time.Sleep(time.Second + time.Millisecond)
		ended("logged out", first, ErrEnded)
		ended("another login", second, nil)

		if err := there.Revoke(t.Context(), second.Client); err != nil {
			t.Fatal(err)
		}
		if _, err := here.Check(t.Context(), third, site); err != nil {
			t.Fatalf("known at once: %v", err) // what is begun now, ends when it is known
		}
		time.Sleep(time.Second + time.Millisecond)
		ended("revoked", second, ErrEnded)
		again := subject(issued(t, there).Access)
		ended("a login after it", again, nil)
		ended("another caller", Subject{Client: "jenkins", Family: "other", Made: time.Now().UnixMilli()}, nil)
	})
}

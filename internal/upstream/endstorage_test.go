// The end of a session while a storage is slow.

package upstream

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

func TestAnEndDuringALoginThatAStorageDelaysIsMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := NewState()
		key := sessionKey{account: t.Name()}
		s := state.acquire(key, tokencache.Options{})
		go func() {
			_, _ = s.Get(context.Background(), func(context.Context, *tokencache.Token) (*tokencache.Token, error) {
				time.Sleep(4 * LogoutFor) // the server has answered: this is for the storage
				return &tokencache.Token{Access: secret.New("token"), Lifetime: time.Hour}, nil
			})
		}()
		synctest.Wait()
		state.sessions.Release(key)
		time.Sleep(time.Minute)
		if tok, _ := s.Current(time.Now()); tok != nil {
			t.Error("nobody logs the session out")
		}
	})
}

// What one more account costs does not depend on how many there are.

package upstream

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/account"
	"github.com/caddy-veeam/veeam-auth/tokencache"
)

// TestOneMoreAccountCostsTheSameHoweverManyThereAre counts allocated bytes, which a copy of
// what is there already would make grow.
func TestOneMoreAccountCostsTheSameHoweverManyThereAre(t *testing.T) {
	cost := func(there int) float64 {
		const more = 200
		accounts := make([]*account.Account, there+more)
		for i := range accounts {
			accounts[i] = &account.Account{Name: fmt.Sprint("account-", i)}
		}
		s := newSessions(NewState(), tokencache.Options{}, "", accounts, 1)
		at := Address{Network: "tcp", Address: "vbr01.lab.local:9419"}
		add := func(i int) {
			key := sourceKey{account: accounts[i].Name, Address: at}
			s.source(key, func() *Source { return &Source{key: key} })
			session := sessionKey{account: accounts[i].Name, fingerprint: "f"}
			s.hold(session, tokencache.Options{})
			s.others(session)
			s.dropOthers(session)
		}
		for i := range there {
			add(i)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range more {
			add(there + i)
		}
		runtime.ReadMemStats(&after)
		return float64(after.TotalAlloc-before.TotalAlloc) / more
	}
	few, many := cost(10), cost(5000)
	if many > 2*few+4000 {
		t.Errorf("%.0f bytes with 10 accounts, %.0f with 5000", few, many)
	}
}

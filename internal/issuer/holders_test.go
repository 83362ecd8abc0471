package issuer

import (
	"fmt"
	"testing"
	"time"
)

func TestHoldersAreClientsAndThoseWhoHaveTokens(t *testing.T) {
	b := NewHolders()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	pair := func(at time.Time) Pair { return Pair{Issued: at, Lifetime: time.Hour} }
	h := b.Enter("grafana")
	b.Enter("grafana") // at a second site
	b.Issued("grafana", "client", false, pair(now))
	b.Issued("grafana", "client", true, pair(now.Add(time.Minute)))
	b.Issued("certificate:CN=nightly", "certificate", false, pair(now))
	h.Touch(now.Add(2 * time.Minute))
	want := []HolderState{
		{Client: "certificate:CN=nightly", Via: "certificate", Logins: 1, FirstIssued: now, LastIssued: now, Expires: now.Add(RefreshLifetime)},
		{
			Client: "grafana", Configured: true, Via: "client", Logins: 1, Renewals: 1,
			FirstIssued: now, LastIssued: now.Add(time.Minute), LastUsed: now.Add(2 * time.Minute), Expires: now.Add(time.Minute + RefreshLifetime),
		},
	}
	if got := b.List(now); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for name, known := range map[string]bool{"grafana": true, "certificate:CN=nightly": true, "CN=nightly": false, "grafanna": false, "": false} {
		if b.Knows(name) != known {
			t.Errorf("%q: %v", name, !known)
		}
	}
	b.Revoke("certificate:CN=nightly", now)
	b.Revoke("nobody", now)
	b.Leave("grafana")
	b.Leave("grafana")
	b.Leave("grafana") // more often than it has come
	if got := b.List(now); len(got) != 2 || got[0].Logins != 0 || got[0].Revoked.IsZero() || got[1].Configured {
		t.Errorf("after the revocation: %+v", got)
	}
	if got := b.List(now.Add(RefreshLifetime * 2)); len(got) != 1 {
		t.Errorf("after the end of all tokens: %+v", got)
	}
}

func TestHoldersAreBoundedAndClientsStay(t *testing.T) {
	b := NewHolders()
	b.Enter("grafana")
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range maxHolders + 10 {
		b.Issued(fmt.Sprint("user", i), "", false, Pair{Issued: at.Add(time.Duration(i) * time.Second)})
	}
	if len(b.holders) != maxHolders || !b.Knows("grafana") || b.Knows("user0") || !b.Knows(fmt.Sprint("user", maxHolders)) {
		t.Errorf("%d holders", len(b.holders))
	}
}

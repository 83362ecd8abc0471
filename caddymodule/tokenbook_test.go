package caddymodule

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/policy"
)

func TestTheBookOfTokensKnowsClientsAndThoseWhoHaveTokens(t *testing.T) {
	b := &tokenBook{holders: make(map[string]*tokenHolder)}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	pair := func(at time.Time) issuer.Pair { return issuer.Pair{Issued: at, Lifetime: time.Hour} }
	h := b.enter("grafana")
	b.enter("grafana") // at a second site
	b.issued(policy.Caller{Name: "grafana", Via: policy.ViaClient}, false, pair(now))
	b.issued(policy.Caller{Name: "grafana", Via: policy.ViaClient}, true, pair(now.Add(time.Minute)))
	b.issued(policy.Caller{Name: "CN=nightly", Via: policy.ViaCertificate}, false, pair(now))
	h.touch(now.Add(2 * time.Minute))
	want := []TokenState{
		{Client: "certificate:CN=nightly", Via: "certificate", Logins: 1, FirstIssued: now, LastIssued: now, Expires: now.Add(issuer.RefreshLifetime)},
		{
			Client: "grafana", Configured: true, Via: "client", Logins: 1, Renewals: 1,
			FirstIssued: now, LastIssued: now.Add(time.Minute), LastUsed: now.Add(2 * time.Minute), Expires: now.Add(time.Minute + issuer.RefreshLifetime),
		},
	}
	if got := b.list(now); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for name, known := range map[string]bool{"grafana": true, "certificate:CN=nightly": true, "CN=nightly": false, "grafanna": false, "": false} {
		if b.knows(name) != known {
			t.Errorf("%q: %v", name, !known)
		}
	}
	b.revoke("certificate:CN=nightly", now)
	b.revoke("nobody", now)
	b.leave("grafana")
	b.leave("grafana")
	b.leave("grafana") // more often than it has come
	if got := b.list(now); len(got) != 2 || got[0].Logins != 0 || got[0].Revoked.IsZero() || got[1].Configured {
		t.Errorf("after the revocation: %+v", got)
	}
	if got := b.list(now.Add(issuer.RefreshLifetime * 2)); len(got) != 1 {
		t.Errorf("after the end of all tokens: %+v", got)
	}
}

func TestTheBookOfTokensIsBoundedAndKeepsClients(t *testing.T) {
	b := &tokenBook{holders: make(map[string]*tokenHolder)}
	b.enter("grafana")
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range maxTokenHolders + 10 {
		b.issued(policy.Caller{Name: fmt.Sprint("guest", i)}, false, issuer.Pair{Issued: at.Add(time.Duration(i) * time.Second)})
	}
	if len(b.holders) != maxTokenHolders || !b.knows("grafana") || b.knows("guest0") || !b.knows(fmt.Sprint("guest", maxTokenHolders)) {
		t.Errorf("%d holders", len(b.holders))
	}
}

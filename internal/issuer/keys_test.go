package issuer

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTheKeyIsMadeOnceForAllReplicas(t *testing.T) {
	store := &memory{}
	var wg sync.WaitGroup
	replicas := make([]*Issuer, 20)
	pairs := make([]Pair, len(replicas))
	for n := range replicas {
		replicas[n] = New(NewKeys(store))
	}
	if store.loads != 0 {
		t.Error("the store is touched before a key is needed")
	}
	for n, replica := range replicas {
		wg.Go(func() {
			var err error
			if pairs[n], err = replica.Issue(t.Context(), grafana, site, time.Hour); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if store.stores != 1 {
		t.Errorf("%d keys made", store.stores)
	}
	for _, replica := range replicas {
		for _, pair := range pairs {
			if _, err := replica.Check(t.Context(), pair.Access, site); err != nil {
				t.Fatal(err)
			}
		}
	}
	loads := store.loads
	for range 1000 {
		if _, err := replicas[0].Check(t.Context(), pairs[1].Access, site); err != nil {
			t.Fatal(err)
		}
	}
	if store.loads != loads {
		t.Error("checking a token reads the store")
	}
}

func TestAStoreThatFailsIsSaidAndTriedAgain(t *testing.T) {
	store := &memory{broken: errors.New("disk on fire")}
	i := New(NewKeys(store))
	var keysErr *KeysError
	if _, err := i.Issue(t.Context(), grafana, site, 0); !errors.As(err, &keysErr) || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("issue: %v", err)
	}
	other := issued(t, New(NewKeys(&memory{})))
	if _, err := i.Check(t.Context(), other.Access, site); !errors.As(err, &keysErr) {
		t.Errorf("check: %v", err)
	}
	store.mu.Lock()
	store.broken = nil
	store.mu.Unlock()
	issued(t, i)
}

func TestDamagedKeysAreSaidWithoutQuotingThem(t *testing.T) {
	for what, text := range map[string]string{
		"no JSON":   `[{"id":"a","secret":"c2VjcmV0LWNhbmFyeQ=`,
		"too short": `[{"id":"a","secret":"c2VjcmV0LWNhbmFyeQ=="}]`,
		"no id":     `[{"secret":"c2VjcmV0LWNhbmFyeXNlY3JldC1jYW5hcnlzZWNyZXQtY2FuYXJ5"}]`,
		"none":      `[]`,
	} {
		store := &memory{data: map[string][]byte{KeyPath: []byte(text)}}
		_, err := New(NewKeys(store)).Issue(t.Context(), grafana, site, 0)
		if err == nil || !strings.Contains(err.Error(), KeyPath) || strings.Contains(err.Error(), "c2Vj") || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", what, err)
		}
		if store.stores != 0 {
			t.Errorf("%s: overwritten", what)
		}
	}
}

package pool_test

import (
	"sync"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/pool"
)

func TestAValueLivesAsLongAsSomebodyUsesIt(t *testing.T) {
	var ended []string
	p := pool.New[string](func(v string) { ended = append(ended, v) })
	made := 0
	create := func() string { made++; return "value" }
	for range 3 {
		if got := p.Acquire("key", create); got != "value" {
			t.Error(got)
		}
	}
	p.Release("key")
	p.Release("key")
	if v, ok := p.Get("key"); !ok || v != "value" || made != 1 || len(ended) != 0 || len(p.All()) != 1 {
		t.Error(v, ok, made, ended)
	}
	p.Release("key")
	p.Release("key") // of nothing
	if _, ok := p.Get("key"); ok || len(ended) != 1 || len(p.All()) != 0 {
		t.Error(ok, ended)
	}
	if p.Acquire("key", create); made != 2 {
		t.Error("not created again")
	}
}

func TestUsersAtOnceShareOneValue(t *testing.T) {
	made, ended := 0, 0
	p := pool.New[int](func(*int) { ended++ })
	var users sync.WaitGroup
	for range 50 {
		users.Go(func() { p.Acquire(1, func() *int { made++; return new(int) }) })
	}
	users.Wait()
	for range 50 {
		users.Go(func() { p.Release(1) })
	}
	users.Wait()
	if made != 1 || ended != 1 {
		t.Error(made, ended)
	}
}

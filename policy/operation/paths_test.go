// The property that a policy rests on, over random paths: what is allowed is
// what the server routes, however a path is spelled.

package operation_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

var (
	pathCount = flag.Int("paths", 50_000, "how many random paths to try")
	pathSeed  = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the random paths")
)

// profiles are the emulated servers of each product.
var profiles = func() map[string][]veeamtest.Profile {
	all := make(map[string][]veeamtest.Profile)
	for _, profile := range veeamtest.Profiles() {
		if index, ok := operation.For(profile.Product()); ok {
			all[index.Product()] = append(all[index.Product()], profile)
		}
	}
	return all
}()

func TestEveryIndexIsHeldAgainstAnEmulatedServer(t *testing.T) {
	for _, product := range operation.Products() {
		if len(profiles[product]) == 0 {
			t.Errorf("%s has none", product)
		}
	}
}

// TestNoSpellingReachesADeniedOperation tries -paths random spellings. One that
// Clean accepts and Lookup takes for a read must be routed to a read, or to
// nothing, by the emulator and by a plain router over the whole index: as it was
// received, and as Clean has spelled it. What Clean has spelled must be routed
// alike by every way of reading paths that is in use.
func TestNoSpellingReachesADeniedOperation(t *testing.T) {
	t.Logf("-paths=%d -seed=%d", *pathCount, *pathSeed)
	var targets []*target
	for _, product := range operation.Products() {
		targets = append(targets, newTarget(product))
	}
	workers := runtime.GOMAXPROCS(0)
	totals := make([]tally, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(*pathSeed, uint64(w)))
			for range *pathCount / workers {
				if err := totals[w].try(rng, targets); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	var sum tally
	for _, one := range totals {
		sum.add(one)
	}
	t.Log(sum.String())
	if sum.paths < *pathCount/2 || sum.reads == 0 || sum.emulated == 0 || sum.denied == 0 || sum.refused == 0 {
		t.Error("the paths do not cover what they should")
	}
}

// tally counts what became of the paths.
type tally struct{ paths, refused, unknown, denied, reads, respelled, emulated int }

func (c *tally) String() string {
	return fmt.Sprintf("%d paths: %d refused as ambiguous, %d in no index, %d of denied operations, %d reads; "+
		"%d respelled; the emulator had a route for %d", c.paths, c.refused, c.unknown, c.denied, c.reads, c.respelled, c.emulated)
}

func (c *tally) add(o tally) {
	c.paths += o.paths
	c.refused += o.refused
	c.unknown += o.unknown
	c.denied += o.denied
	c.reads += o.reads
	c.respelled += o.respelled
	c.emulated += o.emulated
}

// target is a product with all that routes its paths.
type target struct {
	index   *operation.Index
	servers []*veeamtest.Server
	router  *router
}

func newTarget(product string) *target {
	index, _ := operation.For(product)
	t := &target{index: index, router: newRouter(index)}
	for _, profile := range profiles[product] {
		t.servers = append(t.servers, veeamtest.New(profile))
	}
	return t
}

// try makes one path and checks it.
func (c *tally) try(rng *rand.Rand, targets []*target) error {
	target := targets[rng.IntN(len(targets))]
	method, raw := spelling(rng, target.index)
	c.paths++
	clean, ok := operation.Clean(raw)
	if !ok {
		c.refused++
		return nil
	}
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%s: %s %q, clean %q: %s", target.index.Product(), method, raw, clean, fmt.Sprintf(format, args...))
	}
	if again, ok := operation.Clean(clean); !ok || again != clean {
		return fail("cleaned again it is %q", again)
	}
	if clean != raw {
		c.respelled++
	}
	op, known := target.index.Lookup(method, clean, "")
	if own, found := target.router.route(method, readings[0].segments(clean)); found != known || own.Path != op.Path {
		return fail("Lookup finds %q, a plain router %q", op.Path, own.Path)
	}
	for _, reading := range readings[1:] {
		if own, _ := target.router.route(method, reading.segments(clean)); own.Path != op.Path {
			return fail("read as %s it is %q, not %q", reading.name, own.Path, op.Path)
		}
	}
	switch {
	case !known:
		c.unknown++
	case op.Class != operation.Read:
		c.denied++
	default:
		c.reads++
	}
	for _, server := range target.servers {
		for _, sent := range []string{raw, clean} {
			routed := server.Route(method, sent)
			if routed == "" {
				continue
			}
			c.emulated++
			if class := target.classOf(routed, sent); op.Class == operation.Read && class != operation.Read {
				return fail("it is taken for the read %s, the emulator routes it to %s, which is %s", op.Path, routed, class)
			}
		}
	}
	if own, found := target.router.route(method, readings[0].segments(raw)); op.Class == operation.Read && found && own.Class != operation.Read {
		return fail("it is taken for the read %s, a plain router says %s as it was received", op.Path, own.Path)
	}
	return nil
}

// classOf is the class of what the emulator routes a path to. Unknown is that of
// routes that the product does not have.
func (t *target) classOf(routed, sent string) operation.Class {
	method, path, _ := strings.Cut(routed, " ")
	segments := strings.Split(strings.Replace(path, "{version}", "v8", 1)[1:], "/")
	values := readings[0].segments(sent)
	for _, fill := range []func(i int) string{
		func(int) string { return "some-value" },
		// Where the emulator has a parameter and the product has several words.
		func(i int) string { return values[i] },
	} {
		filled := slices.Clone(segments)
		for i, s := range filled {
			if s[0] == '{' {
				filled[i] = fill(i)
			}
		}
		if op, ok := t.router.route(method, filled); ok {
			return op.Class
		}
	}
	return operation.Unknown
}

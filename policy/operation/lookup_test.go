package operation_test

// Lookup: case, slashes, what beats what, and what it costs.

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// served is a version segment that each product serves.
var served = map[string]string{"vbr": "v9", "azure": "v8", "vb365": "v8", "one": "v2.3"}

func TestLookupIgnoresCaseAndASlashAtTheEnd(t *testing.T) {
	for _, product := range operation.Products() {
		x := index(t, product)
		for _, op := range x.All() {
			path := concrete(strings.Replace(op.Path, "{version}", served[product], 1))
			query := strings.Replace(op.Query, "{hierarchyRef}", "urn:x", 1)
			for _, c := range [][3]string{
				{op.Method, path, query},
				{strings.ToLower(op.Method), strings.ToUpper(path), strings.ToUpper(query)},
				{op.Method, strings.ToLower(path) + "/", strings.ToLower(query)},
			} {
				if got, ok := x.Lookup(c[0], c[1], c[2]); !ok || got.Path != op.Path || got.Query != op.Query || got.Method != op.Method {
					t.Errorf("%s %s %s finds %s %s", product, c[0], c[1], got.Method, got.Path)
				}
			}
		}
	}
}

func TestLiteralsBeatParametersFromLeftToRight(t *testing.T) {
	for _, c := range []struct{ product, method, path, want string }{
		{"vbr", "GET", "/api/v1/jobs/states", "/api/v1/jobs/states"},
		{"vbr", "GET", "/api/v1/jobs/statesx", "/api/v1/jobs/{id}"},
		// The literal leads nowhere, so the parameter has it.
		{"vbr", "POST", "/api/v1/jobs/states/start", "/api/v1/jobs/{id}/start"},
		{"vbr", "DELETE", "/api/v1/jobs/states", "/api/v1/jobs/{id}"},
		{"vbr", "POST", "/api/v1/inventory/physical/other", "/api/v1/inventory/physical/{protectionGroupId}"},
		// Each has a literal where the other has none: the stricter.
		{"vbr", "POST", "/api/v1/inventory/physical/rescan", "/api/v1/inventory/{hostname}/rescan"},
		{"vbr", "POST", "/api/v1/inventory/other/rescan", "/api/v1/inventory/{hostname}/rescan"},
		{"vspc", "GET", "/api/v3/users/me", "/api/v3/users/me"},
		{"vspc", "GET", "/api/v3/users/you", "/api/v3/users/{user_uid}"},
		{"azure", "POST", "/api/oauth2/token", "/api/oauth2/token"},
		{"vb365", "GET", "/v8/jobs", "/{version}/Jobs"},
	} {
		if op, _ := index(t, c.product).Lookup(c.method, c.path, ""); op.Path != c.want {
			t.Errorf("%s %s %s is %q, want %q", c.product, c.method, c.path, op.Path, c.want)
		}
	}
}

func TestWhatIsInNoIndexIsUnknown(t *testing.T) {
	for _, product := range operation.Products() {
		x := index(t, product)
		for _, c := range [][2]string{
			{"GET", ""},
			{"GET", "/"},
			{"GET", "//"},
			{"GET", "jobs"},
			{"GET", "/api/v1"},
			{"GET", "/api//v1/jobs"},
			{"GET", "/api/v1/jobs//"},
			{"OPTIONS", "/api/v1/jobs"},
			{"", "/api/v1/jobs"},
			{"GET ", "/api/v1/jobs"},
			{"GET", "/api/v1/jobs/1/2/3/4/5/6/7/8/9"},
			{"CONNECT", "/"},
			{"GET", strings.Repeat("/a", 5000)},
			{"G\u0415T", "/api/v1/jobs"},
			{"GET", "/\u212a"},
		} {
			op, ok := x.Lookup(c[0], c[1], "")
			if ok || op.Class != operation.Unknown || op.Path != "" {
				t.Errorf("%s %s %.40q is %+v", product, c[0], c[1], op)
			}
		}
	}
}

func TestAVersionSegmentFitsUpToTheNewestOfTheIndex(t *testing.T) {
	for segment, want := range map[string]bool{
		"v8.1": true, "v8": true, "V8.1": true, "v8.0": true, "v1": true, "v5.9": true, "v0": true,
		"v8.2": false, "v8.10": false, "v9": false, "v10": false, "v99999": false,
		"8.1": false, "v": false, "v8.": false, "v.1": false, "v8.1.1": false, "v08": false, "v8.01": false,
		"v-1": false, "v8a": false, "vx": false, "latest": false, "v%38": false,
	} {
		_, ok := index(t, "azure").Lookup("GET", "/api/"+segment+"/policies/sql", "")
		if ok != want {
			t.Errorf("%s: %v", segment, ok)
		}
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	for _, c := range ordinary {
		x := index(t, c.product)
		if n := testing.AllocsPerRun(100, func() {
			clean, _ := operation.Clean(c.path)
			x.Lookup(c.method, clean, c.query)
		}); n != 0 {
			t.Errorf("%s %s: %v allocations", c.method, c.path, n)
		}
	}
}

func TestAnIndexMayBeFirstUsedByManyAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			product := operation.Products()[i%len(operation.Products())]
			if x, ok := operation.For(product); !ok || len(x.All()) < 10 {
				t.Error(product)
			}
		})
	}
	wg.Wait()
}

var ordinary = []struct{ product, method, path, query string }{
	{"vbr", "GET", "/api/v1/jobs", "skip=0&limit=100"},
	{"vbr", "POST", "/api/v1/jobs/57b3baab-6237-41bf-add7-db63d41d984c/start", "skip=0&limit=100"},
	{"vbr", "GET", "/api/v1/backupBrowser/entraIdTenant/57b3baab-6237-41bf-add7-db63d41d984c/restoreSessions/57b3baab-6237-41bf-add7-db63d41d984c/logs", "skip=0&limit=100"},
	{"vspc", "GET", "/api/v3/organizations/companies/57b3baab-6237-41bf-add7-db63d41d984c/hostedResources/vbr", "skip=0&limit=100"},
	{"azure", "GET", "/api/v8.1/policies/virtualMachines", "skip=0&limit=100"},
	{"aws", "GET", "/api/v1/nowhere/at/all", "skip=0&limit=100"},
	{"vb365", "POST", "/v8/RestoreSessions/57b3baab/organization/mailboxes/57b3baab/folders/57b3baab/search", "skip=0&limit=100"},
	{"em", "GET", "/api/jobs", "format=Entity"},
	{"em", "POST", "/api/jobs/57b3baab-6237-41bf-add7-db63d41d984c", "action=start"},
	{"em", "GET", "/api/query", "type=Job&filter=Name==x&page=1"},
}

func BenchmarkLookup(b *testing.B) {
	for i, c := range ordinary {
		x := index(b, c.product)
		b.Run(fmt.Sprintf("%d_%s_%dbytes", i, c.product, len(c.path)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.Lookup(c.method, c.path, c.query)
			}
		})
	}
}

func BenchmarkClean(b *testing.B) {
	for name, path := range map[string]string{
		"ordinary": ordinary[1].path,
		"escaped":  "/api/v1/inventory/host%20name/caf%C3%A9",
		"dots":     "//api/v1/./x/../jobs",
		"refused":  "/api/v1/..%2f..%2fx",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				operation.Clean(path)
			}
		})
	}
}

// BenchmarkFirstUse is what the first request for a product waits for, and what
// stays in memory then.
func BenchmarkFirstUse(b *testing.B) {
	for _, product := range operation.Products() {
		b.Run(product, func(b *testing.B) {
			kept := make([]*operation.Index, 0, b.N)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for range b.N {
				kept = append(kept, operation.Load(product))
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(b.N)/1024, "KB-kept")
			runtime.KeepAlive(kept)
		})
	}
}

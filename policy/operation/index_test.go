// The index that ships: complete, of one reading, and found again by Lookup.

package operation_test

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

var update = flag.Bool("update", false, "write the golden files of testdata")

func index(tb testing.TB, product string) *operation.Index {
	tb.Helper()
	x, ok := operation.For(product)
	if !ok {
		tb.Fatalf("%s has no index", product)
	}
	return x
}

// listed calls f for every operation of every list in data.
func listed(t *testing.T, f func(product, version, method, path, name string)) {
	t.Helper()
	files, err := filepath.Glob("data/*.tsv")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		product, version, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".tsv"), "_")
		text, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(text)
		for lines.Scan() {
			if fields := strings.Split(lines.Text(), "\t"); fields[0][0] != '#' {
				f(product, version, fields[0], fields[1], fields[2])
			}
		}
		text.Close()
	}
}

// concrete fills in parameters.
func concrete(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if s != "" && s[0] == '{' {
			segments[i] = fmt.Sprintf("57b3baab-6237-41bf-add7-%012d", i)
		}
	}
	return strings.Join(segments, "/")
}

func TestEveryOperationOfEveryListFindsItselfByAConcretePath(t *testing.T) {
	count := 0
	listed(t, func(product, version, method, path, name string) {
		count++
		product, _ = strings.CutPrefix(product, "ahv")
		if product == "" {
			product, version = "vbr", "ahv-"+version
			path = strings.Replace(path, "799a5a3e-ae1e-4eaf-86eb-8a9acc2670e2", "{instance}", 1)
		}
		path, query, _ := strings.Cut(path, "?")
		query = strings.Replace(query, "{hierarchyRef}", "urn:x", 1)
		clean, ok := operation.Clean(concrete(path))
		clean = strings.TrimSuffix(clean, "/")
		if !ok || clean != strings.TrimSuffix(concrete(path), "/") {
			t.Errorf("%s is cleaned to %q, %v", concrete(path), clean, ok)
		}
		op, ok := index(t, product).Lookup(method, clean, query)
		if !ok || op.Method != method || !slices.Contains(op.Versions, version) || op.Class == operation.Unknown {
			t.Errorf("%s %s %s: %+v, %v", product, method, clean, op, ok)
			return
		}
		want := strings.Split(strings.TrimSuffix(path, "/"), "/")
		got := strings.Split(op.Path, "/")
		for i := range want {
			if i >= len(got) || want[i] != "" && want[i][0] != '{' && got[i] != "{version}" && !strings.EqualFold(want[i], got[i]) {
				t.Errorf("%s %s finds %s", product, path, op.Path)
				return
			}
		}
		if newest := op.Versions[len(op.Versions)-1]; version == newest && op.Name != name {
			t.Errorf("%s %s is called %s, not %s", product, path, op.Name, name)
		}
	})
	if count < 6100 {
		t.Errorf("the lists have %d operations", count)
	}
}

func TestNoOperationIsUnclassed(t *testing.T) {
	for _, product := range operation.Products() {
		for _, op := range index(t, product).All() {
			if op.Class == operation.Unknown {
				t.Errorf("%s %s %s has no class", product, op.Method, op.Target())
			}
		}
	}
}

// What would have to be known by heart if there were no index.
func TestTheClassesOfOperationsThatEverybodyKnows(t *testing.T) {
	for _, c := range []struct {
		product, method, path string
		class                 operation.Class
	}{
		{"vbr", "GET", "/api/v1/jobs", operation.Read},
		{"vbr", "GET", "/api/v1/jobs/states", operation.Read},
		{"vbr", "HEAD", "/api/v1/jobs", operation.Read},
		{"vbr", "GET", "/api/v1/serverTime", operation.Read},
		{"vbr", "POST", "/api/v1/license/createReport", operation.Read},
		{"vbr", "POST", "/api/v1/inventory/vc01.lab.local", operation.Read},
		{"vbr", "POST", "/api/v1/jobs/57b3baab/start", operation.Run},
		{"vbr", "POST", "/api/v1/sessions/57b3baab/stop", operation.Run},
		{"vbr", "PUT", "/api/v1/jobs/57b3baab", operation.Change},
		{"vbr", "POST", "/api/v1/restore/vmRestore/vSphere", operation.Change},
		{"vbr", "DELETE", "/api/v1/backups/57b3baab", operation.Destroy},
		{"vbr", "POST", "/api/v1/restore/instantRecovery/vSphere/vm/57b3baab/unmount", operation.Destroy},
		{"vbr", "GET", "/api/v1/credentials", operation.Secret},
		{"vbr", "POST", "/api/v1/automation/credentials/export", operation.Secret},
		{"vbr", "GET", "/api/v1/agents/recoveryTokens", operation.Secret},
		{"vbr", "GET", "/api/v1/deployment/57b3baab/downloadKit", operation.Secret},
		{"vbr", "POST", "/api/v1/security/users", operation.Secret},
		{"vbr", "POST", "/api/v1/security/users/57b3baab/resetMFA", operation.Secret},
		{"vbr", "GET", "/api/v1/security/users", operation.Read},
		{"vbr", "GET", "/api/v1/nowhere", operation.Unknown},
		{"vbr", "PATCH", "/api/v1/jobs", operation.Unknown},
		{"vbr", "TRACE", "/api/v1/jobs", operation.Unknown},
		{"vspc", "GET", "/api/v3/authentication/keys/rsa", operation.Secret},
		{"vspc", "GET", "/api/v3/authentication/keys/rsa-pkcs12", operation.Secret},
		{"vspc", "GET", "/api/v3/authentication/keys/totp-secret", operation.Secret},
		{"vspc", "POST", "/api/v3/users/57b3baab/logins/apikey", operation.Secret},
		{"vspc", "GET", "/api/v3/organizations/companies", operation.Read},
		{"vspc", "DELETE", "/api/v3/asyncActions/57b3baab", operation.Run},
		{"azure", "GET", "/api/v8.1/policies/virtualMachines", operation.Read},
		{"azure", "GET", "/api/v5/policies/virtualMachines", operation.Read},
		{"azure", "GET", "/api/v8.2/policies/virtualMachines", operation.Unknown},
		{"azure", "GET", "/api/v10/policies/virtualMachines", operation.Unknown},
		{"azure", "POST", "/api/v8.1/configurationBackup/export/download", operation.Secret},
		{"azure", "POST", "/api/v8.1/policies/sql/estimateCost", operation.Read},
		{"aws", "POST", "/api/v1/users/57b3baab/enableMfa", operation.Secret},
		{"aws", "POST", "/api/v1/virtualMachines/57b3baab/deleteBackups", operation.Destroy},
		{"vb365", "GET", "/v7/Jobs", operation.Read},
		{"vb365", "POST", "/v8/Jobs/57b3baab/start", operation.Run},
		{"vb365", "POST", "/v8/RestoreSessions/1/organization/teams/2/posts/export", operation.Secret},
		{"vb365", "POST", "/v8/Reports/GenerateUserProtection", operation.Read},
		{"vb365", "POST", "/v6/Token", operation.Secret},
		{"vb365", "POST", "/v8/token/AuthCode", operation.Secret},
		{"vb365", "GET", "/v7/Accounts", operation.Secret},
		{"vb365", "GET", "/v8/EncryptionKeys/7", operation.Secret},
		{"vb365", "POST", "/v7/RestoreSessions/1/organization/teams/2/files/3/save", operation.Secret},
		{"vb365", "GET", "/v9/Jobs", operation.Unknown},
		{"aws", "GET", "/api/v1/redshiftServerless/policies", operation.Read},
		{"aws", "POST", "/api/v1/efs/restorePoints/7/restoreFiles", operation.Change},
		{"aws", "POST", "/api/v1/rds/7/deleteSnapshots", operation.Destroy},
		{"vspc", "POST", "/api/v3/vdcVault/tenants", operation.Change},
		{"vbr", "GET", "/extension/799a5a3e-ae1e-4eaf-86eb-8a9acc2670e2/api/v8/jobs", operation.Read},
		{"vbr", "GET", "/extension/799a5a3e-ae1e-4eaf-86eb-8a9acc2670e2/api/v10/jobs", operation.Read},
		{"vbr", "GET", "/extension/799a5a3e-ae1e-4eaf-86eb-8a9acc2670e2/api/v11/jobs", operation.Unknown},
		{"vbr", "GET", "/extension/799a5a3e-ae1e-4eaf-86eb-8a9acc2670e2/api/v9/secrets", operation.Unknown},
		{"vbr", "POST", "/extension/57b3baab/api/v9/jobs/7/start", operation.Run},
		{"vbr", "POST", "/extension/57b3baab/api/v9/restorePoints/restore", operation.Change},
		{"vbr", "GET", "/private-api/v1/vbrinfo/extensions", operation.Unknown},
		{"gcp", "GET", "/api/v1/vmInstances/7/restorePoints", operation.Read},
		{"gcp", "POST", "/api/v1/accounts/users/x/mfaEnable", operation.Secret},
		{"gcp", "GET", "/api/v1/accounts/users", operation.Unknown},
		{"one", "GET", "/api/v2.1/about", operation.Read},
		{"one", "GET", "/api/v2.4/about", operation.Unknown},
		{"one", "GET", "/api/v2.3/about/updater", operation.Secret},
		{"one", "GET", "/api/v2.3/certificates/export", operation.Secret},
		{"one", "GET", "/api/v2.3/credentials/object/7", operation.Secret},
		{"one", "POST", "/api/v2.3/alarms/triggeredChildAlarms/resolve", operation.Change},
		{"em", "GET", "/api/", operation.Read},
		{"em", "POST", "/api/sessionMngr/?v=v1_7", operation.Secret},
		{"em", "GET", "/api/logonSessions", operation.Secret},
		{"em", "GET", "/api/backupServers/7/credentials?format=Entity", operation.Secret},
		{"em", "POST", "/api/cloud/tenants", operation.Secret},
		{"em", "PUT", "/api/cloud/tenants/7/subtenants/8", operation.Secret},
		{"em", "POST", "/api/cloud/tenants/7/resources", operation.Change},
		{"em", "GET", "/api/cloud/tenants?format=Entity", operation.Secret},
		{"em", "POST", "/api/jobs/7?action=start", operation.Run},
		{"em", "POST", "/api/jobs/7?action=clone", operation.Change},
		{"em", "POST", "/api/jobs/7", operation.Unknown},
		{"em", "GET", "/api/query?type=Job&format=Entities", operation.Read},
		{"em", "GET", "/api/query?type=Credentials", operation.Secret},
		{"em", "GET", "/api/query?format=Entities", operation.Unknown},
		{"em", "GET", "/api/jobs?action=start", operation.Unknown},
	} {
		path, query, _ := strings.Cut(c.path, "?")
		op, ok := index(t, c.product).Lookup(c.method, path, query)
		if op.Class != c.class || ok != (c.class != operation.Unknown) {
			t.Errorf("%s %s %s: %v, %v; want %v", c.product, c.method, c.path, op.Class, ok, c.class)
		}
	}
}

// A rule that is changed moves numbers here, and lines in the index.
func TestTheSummaryIsTheOneReviewed(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "%-8s", "")
	for _, c := range operation.Classes() {
		fmt.Fprintf(&b, "%9s", c)
	}
	b.WriteString("    total  versions\n")
	for _, product := range operation.Products() {
		x := index(t, product)
		counts := make(map[operation.Class]int)
		for _, op := range x.All() {
			counts[op.Class]++
		}
		fmt.Fprintf(&b, "%-8s", product)
		for _, c := range operation.Classes() {
			fmt.Fprintf(&b, "%9d", counts[c])
		}
		fmt.Fprintf(&b, "%9d  %s\n", len(x.All()), strings.Join(x.Versions(), " "))
	}
	b.WriteString("\nGET, and not read:\n")
	for _, product := range operation.Products() {
		for _, op := range index(t, product).All() {
			if op.Method == http.MethodGet && op.Class != operation.Read {
				fmt.Fprintf(&b, "%-8s%-8s%s\n", product, op.Class, op.Target())
			}
		}
	}
	b.WriteString("\nRead, and not GET:\n")
	for _, product := range operation.Products() {
		for _, op := range index(t, product).All() {
			if op.Method != http.MethodGet && op.Class == operation.Read {
				fmt.Fprintf(&b, "%-8s%-6s%s\n", product, op.Method, op.Target())
			}
		}
	}
	golden(t, "summary.txt", b.String())
}

// A literal segment beats a parameter. Where that makes a path milder than the
// parameter would, the pair is listed, to be read by a person. Where two
// templates cross, the stricter is taken.
func TestOnlyALiteralMakesAPathMilder(t *testing.T) {
	var b strings.Builder
	for _, product := range operation.Products() {
		x := index(t, product)
		r := newRouter(x)
		for _, templates := range r.templates {
			for _, a := range templates {
				for _, o := range templates {
					if !o.op.Class.StricterThan(a.op.Class) {
						continue
					}
					both := make([]string, len(a.segments))
					for i := range both {
						both[i] = cmp.Or(a.segments[i], o.segments[i], "v8")
						if both[i] == "{version}" {
							both[i] = "v8"
						}
					}
					if !r.fits(a.segments, both) || !r.fits(o.segments, both) {
						continue
					}
					path := "/" + strings.Join(both, "/")
					found, _ := x.Lookup(a.op.Method, path, a.op.Query)
					if crosses(o.segments, a.segments) && found.Class != o.op.Class {
						t.Errorf("%s %s %s is %s by %s, and would be %s by %s", product, a.op.Method, path,
							found.Class, found.Path, o.op.Class, o.op.Path)
					}
					if found.Class != o.op.Class {
						fmt.Fprintf(&b, "%s\t%s %s is %s; %s is %s\n", product, a.op.Method, found.Path, found.Class, o.op.Path, o.op.Class)
					}
				}
			}
		}
	}
	lines := strings.SplitAfter(b.String(), "\n")
	slices.Sort(lines)
	golden(t, "overlaps.txt", strings.Join(lines, ""))
}

func TestTheDocumentationHasTheSameCounts(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, product := range operation.Products() {
		x := index(t, product)
		counts := make(map[operation.Class]int)
		for _, op := range x.All() {
			counts[op.Class]++
		}
		row := fmt.Sprintf("| `%s` | %s | %d |", product, strings.Join(x.Versions(), ", "), len(x.All()))
		for _, c := range operation.Classes() {
			if c != operation.Unknown {
				row += fmt.Sprintf(" %d |", counts[c])
			}
		}
		if !strings.Contains(string(page), row) {
			t.Errorf("docs/operations.md has no line\n%s", row)
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs; -update writes it:\n%s", file, diff)
	}
}

// The routes that need no token or are the handler's own are in the index too,
// under the same paths.
func TestTheIndexKnowsTheLoginsOfTheProducts(t *testing.T) {
	for _, product := range operation.Products() {
		p, ok := veeam.Lookup(product)
		if !ok {
			continue
		}
		op, ok := index(t, product).Lookup("POST", strings.ReplaceAll(p.TokenPath, "{version}", p.Version.Default), "")
		if !ok || op.Class != operation.Secret {
			t.Errorf("%s: %s is %v", product, p.TokenPath, op.Class)
		}
	}
}

// A rule about a class would deny, or let through, all that a product without an
// index is asked for.
func TestEveryProductOfTheConfigurationHasAnIndex(t *testing.T) {
	for _, product := range veeam.Names() {
		if _, ok := operation.For(product); !ok {
			t.Errorf("%s has none", product)
		}
	}
}

func TestOnlyProductsOfTheListHaveAnIndex(t *testing.T) {
	if x, ok := operation.For("other"); ok || x != nil {
		t.Error("an index of nothing")
	}
	products := operation.Products()
	products[0] = "changed"
	if operation.Products()[0] == "changed" {
		t.Error("the list of products can be changed from outside")
	}
	for _, product := range operation.Products() {
		if got := index(t, product).Product(); got != product {
			t.Errorf("%s: %s", product, got)
		}
	}
}

// What a preset lets through neither changes anything nor shows a secret, and what the
// index does not know it does not let through: of any product, by method, path, or a
// parameter.
func TestPresetsLetNothingThroughThatChangesOrShowsASecret(t *testing.T) {
	monitor, _ := operation.Preset("monitor")
	words := regexp.MustCompile(`(?i)password|credential|secret|token|logonsessions|apikey|/keys?(/|$)|encryptionkeys|/updater|certificates/export|/save$|restore(files|to)?$|action=(restore|clone|failover|create)|mfa`)
	for _, product := range operation.Products() {
		x := index(t, product)
		for _, op := range x.All() {
			path, query := concrete(strings.Replace(op.Path, "{version}", served[product], 1)), strings.Replace(op.Query, "{hierarchyRef}", "urn:x", 1)
			found, ok := x.Lookup(op.Method, path, query)
			if !ok || found.Class != op.Class || found.Class == operation.Unknown {
				t.Errorf("%s %s %s: %v, %v", product, op.Method, op.Target(), found.Class, ok)
			}
			for _, preset := range operation.Presets() {
				set, _ := operation.Preset(preset)
				if set.Has(operation.Change) || set.Has(operation.Destroy) || set.Has(operation.Secret) || set.Has(operation.Unknown) {
					t.Errorf("%s allows %v", preset, set)
				}
				if !set.Has(found.Class) {
					continue
				}
				if op.Method == http.MethodDelete && product != "vspc" || op.Method == http.MethodPatch {
					t.Errorf("%s lets %s %s %s through", preset, product, op.Method, op.Target())
				}
			}
			if other, known := x.Lookup(op.Method, path+"/not-in-the-index/x", query); known {
				continue // a longer template
			} else if other.Class != operation.Unknown {
				t.Errorf("%s: %+v", product, other)
			}
			if monitor.Has(found.Class) && words.MatchString(op.Target()) && !slices.Contains(reviewed, product+" "+op.Method+" "+op.Target()) {
				t.Errorf("%s %s %s sounds like a secret or a change; monitor lets it through", product, op.Method, op.Target())
			}
		}
	}
}

// reviewed are the reads that sound like more, and are not by their description.
var reviewed = []string{
	"vbr GET /api/v1/cloudCredentials/{id}/helperAppliances",
	"vbr GET /api/v1/cloudCredentials/{id}/helperAppliances/{applianceId}",
	"vbr GET /api/v1/encryptionPasswords", // names and hints
	"vbr GET /api/v1/encryptionPasswords/{id}",
	"vspc GET /api/v3/infrastructure/sites/{site_uid}/publicCloud/aws/keys", // names and regions
	"vspc GET /api/v3/infrastructure/sites/{site_uid}/publicCloud/azure/keys",
	"azure POST /api/{version}/accounts/azure/service/exportPermissionsByToken", // the caller's own token
	"azure POST /api/{version}/accounts/azure/service/listTenantsByToken",
	"azure GET /api/{version}/cloudInfrastructure/keyVaults/{keyVaultId}/keys", // names
	"aws GET /api/v1/amazonConnections/{amazonConnectionId}/cloudEncryptionKeys",
	"aws GET /api/v1/problems/expiredAccessToken", // what an error means
	"aws GET /api/v1/problems/invalidAccessToken",
	"aws GET /api/v1/problems/noAccessToken",
	"aws POST /api/v1/users/validatePassword", // a new one
}

// What a scrape costs with many accounts and clients.

package alerts

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// BenchmarkScrape is one scrape of a Caddy with 100 accounts, each with a session, and 50
// clients.
func BenchmarkScrape(b *testing.B) {
	const accounts, clients = 100, 50
	w := harness.New(b)
	if err := os.WriteFile(w.File("password"), []byte(veeamtest.DefaultPassword), 0o600); err != nil {
		b.Fatal(err)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("password of a client"), bcrypt.MinCost)
	if err != nil {
		b.Fatal(err)
	}
	var users []veeamtest.Option
	var blocks, options strings.Builder
	for i := range accounts {
		users = append(users, veeamtest.WithAccount(veeamtest.Account{Username: fmt.Sprint("user-", i), Password: veeamtest.DefaultPassword}))
		fmt.Fprintf(&blocks, "account account-%d {\n\t\t\tusername user-%[1]d\n\t\t\tpassword {file.%s}\n\t\t}\n\t\t", i, w.File("password"))
	}
	for i := range clients {
		fmt.Fprintf(&options, "client client-%d %s\n\t\t", i, hash)
	}
	options.WriteString("act_as {http.request.header.X-Act-As}\n\t\tpace off")
	site := &harness.Site{Server: harness.StartServer(b, veeamtest.VBR13, users...), Account: blocks.String(), Options: options.String()}
	w.Sites = []*harness.Site{site}
	w.Run(b)
	for i := range accounts {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, site.URL()+site.Server.Base()+"/echo", http.NoBody)
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("X-Act-As", fmt.Sprint("account-", i))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			b.Fatalf("account %d: %s", i, res.Status)
		}
	}
	text := ""
	for b.Loop() {
		if text, err = w.Caddy.Metrics(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms")
	b.ReportMetric(float64(strings.Count(text, "\ncaddy_veeam_auth_")), "series")
	b.ReportMetric(float64(len(text)), "bytes")
}

package telemetry

import (
	"errors"
	"net/http"
	"os"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// Without a cache Caddy's own storage counts: a folder that cannot be written to is shown to
// those who watch, and requests go on.
func TestAStorageThatCannotBeWrittenToIsShownWithoutACache(t *testing.T) {
	t.Parallel()
	for up, spoil := range map[float64]func(folder string) error{
		1: func(string) error { return nil },
		0: func(folder string) error {
			return errors.Join(os.Rename(folder, folder+".gone"), os.WriteFile(folder, []byte("no folder"), 0o600))
		},
	} {
		w := harness.New(t)
		w.Env, w.Global = []string{"TELEMETRY_PASSWORD=" + veeamtest.DefaultPassword}, "storage file_system "+w.File("storage")
		w.Sites = []*harness.Site{{Server: harness.StartServer(t, veeamtest.VBR13), Account: "account " + veeamtest.DefaultUser + " {env.TELEMETRY_PASSWORD}"}}
		w.Run(t)
		if err := spoil(w.File("storage")); err != nil {
			t.Fatal(err)
		}
		if got := get(t, w.Sites[0]); got != http.StatusOK {
			t.Errorf("storage_up is to be %v: status %d", up, got)
		}
		harness.Eventually(t, "the metric is there", func() bool {
			series, err := w.Caddy.Series()
			got, ok := series["storage_up"]
			return err == nil && ok && got == up
		})
	}
}

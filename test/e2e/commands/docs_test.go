// The documentation names what the commands take.

package commands

import (
	"os"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func TestTheDocsNameEveryCommandAndOption(t *testing.T) {
	page, err := os.ReadFile("../../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	root := &cobra.Command{Use: "veeam-auth"}
	caddycmd.Commands()["veeam-auth"].CobraFunc(root)
	documented := 0
	var walk func(cmd *cobra.Command, elsewhere bool)
	walk = func(cmd *cobra.Command, here bool) {
		if !strings.Contains(string(page), "`"+cmd.Name()+"`") {
			t.Errorf("docs/commands.md does not name the command %s", cmd.Name())
		}
		if !here {
			return // has a page of its own
		}
		cmd.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
			documented++
			if !strings.Contains(string(page), "--"+flag.Name+"`") && !strings.Contains(string(page), "--"+flag.Name+" ") {
				t.Errorf("docs/commands.md does not name --%s of %s", flag.Name, cmd.Name())
			}
		})
		for _, sub := range cmd.Commands() {
			walk(sub, true)
		}
	}
	own := map[string]bool{"check": true, "sessions": true, "tokens": true, "keys": true, "approvals": true, "enroll": true, "disable": true, "scratch": true, "vspc": true}
	for _, cmd := range root.Commands() {
		walk(cmd, own[cmd.Name()])
	}
	if documented < 30 {
		t.Errorf("%d options found", documented)
	}
}

// What the program does before it knows what it is to do.

package main

import (
	"os"
	"os/exec"
	"regexp"
	"runtime/debug"
	"strconv"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/process"
)

func TestMainHasACalmGarbageCollector(t *testing.T) {
	t.Setenv("GOGC", "")
	before, args := debug.SetGCPercent(100), os.Args
	defer func() {
		debug.SetGCPercent(before)
		os.Args = args
	}()
	os.Args = []string{"veeam-auth", "version"}
	main()
	if got := debug.SetGCPercent(100); got != process.CalmPercent {
		t.Errorf("GOGC is %d, want %d", got, process.CalmPercent)
	}
}

// TestNothingButRegistrationRunsBeforeMain has the runtime tell what each package of this
// module allocates before main: expressions, tables and maps are made when they are first
// needed.
func TestNothingButRegistrationRunsBeforeMain(t *testing.T) {
	const (
		most  = 180 // allocations of a package; the descriptions of metrics are most
		total = 700
	)
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	command.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	line := regexp.MustCompile(`(?m)^init github\.com/caddy-veeam/veeam-auth(\S*) @.* (\d+) bytes, (\d+) allocs$`)
	packages, sum := 0, 0
	for _, found := range line.FindAllStringSubmatch(string(out), -1) {
		allocs, err := strconv.Atoi(found[3])
		if err != nil {
			t.Fatal(err)
		}
		packages++
		sum += allocs
		if allocs > most {
			t.Errorf("%s allocates %d times, %s bytes; want at most %d times", found[1], allocs, found[2], most)
		}
	}
	if packages < 10 || sum > total {
		t.Errorf("%d packages allocate %d times, want at most %d", packages, sum, total)
	}
}

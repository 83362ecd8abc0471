// Command testcount runs `go test -json` and tells what a person wants to know
// of it: a line per package, each failure with its output as soon as it
// happens, each skipped test with its reason, and at the end the count.
//
//	testcount [-passed n] [-failed n] [-noskip] go test -json [flags] [packages]
//
// The exit status is 0 only if at least one test passed and nothing failed.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
)

func main() {
	passed := flag.Int("passed", 0, "checks that passed before, added to the count")
	failed := flag.Int("failed", 0, "checks that failed before, added to the count")
	noSkip := flag.Bool("noskip", false, "count a skipped test as failed")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "testcount: no command to run")
		os.Exit(2)
	}

	count := newCounter(os.Stdout, *noSkip)
	if err := run(count, flag.Args()); err != nil {
		count.commandFailed(err)
	}
	ok := count.finish()
	fmt.Printf("%d passed, %d failed, %d skipped\n", count.passed+*passed, count.failed+*failed, count.skipped)
	if !ok || *failed > 0 {
		os.Exit(1)
	}
}

// run feeds what the command prints to count and returns the command's own
// verdict, which is an error whenever a test failed, too.
func run(count *counter, command []string) error {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := count.read(out); err != nil {
		return fmt.Errorf("reading the output of %s: %w", command[0], err)
	}
	return cmd.Wait()
}

// Command demo shows the main use: clients without any Veeam credential call an
// emulated Veeam server of each product through a real Caddy with the module and
// Caddyfile.example.
//
//	go run ./test/demo          keeps running afterwards, to try curl
//	go run ./test/demo -once    ends after the calls, with status 0 if all succeeded
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

func main() {
	harness.Main()
	once := flag.Bool("once", false, "end after the calls")
	flag.Parse()
	ok, err := run(*once)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(once bool) (ok bool, err error) {
	dir, err := os.MkdirTemp("", "veeam-auth-demo-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	stop := make(chan os.Signal, 1)
	// A reader that has gone, as `head`, and a terminal that was closed end it, too: Caddy would outlive both.
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE, syscall.SIGHUP)

	fmt.Println("Starting an emulated Veeam server of each product, and Caddy with Caddyfile.example …")
	// A run that ends by itself takes free ports, so that it never fails because
	// a port is taken.
	example, err := harness.StartExample(dir, caddyfile(), !once)
	if err != nil {
		return false, err
	}
	defer example.Stop()

	show := &show{example: example}
	show.calls()
	if err := show.log(); err != nil {
		return false, err
	}
	show.verdict()
	if once {
		return show.failures == 0, nil
	}
	show.invitation()
	<-stop
	fmt.Println()
	return show.failures == 0, nil
}

// caddyfile finds Caddyfile.example beside the sources of this program.
func caddyfile() string {
	_, source, _, _ := runtime.Caller(0) //nolint:dogsled // the file is all that is wanted
	return filepath.Join(filepath.Dir(source), "..", "..", "Caddyfile.example")
}

// Command emulator serves one emulated Veeam server until it is stopped. The demo of
// deploy/compose runs it in a container.
//
//	go run ./test/emulator -product VBR13 -listen 127.0.0.1:19419 -ca /tmp/ca.pem
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "emulator:", err)
		stop()
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	var products []string
	for _, p := range veeamtest.Profiles() {
		products = append(products, string(p))
	}
	flags := flag.NewFlagSet("emulator", flag.ContinueOnError)
	product := flags.String("product", string(veeamtest.VBR13), "the product: "+strings.Join(products, ", "))
	listen := flags.String("listen", "127.0.0.1:19419", "the address to listen on")
	names := flags.String("names", "", "more DNS names of the certificate, with commas")
	ca := flags.String("ca", "", "a file to write the certificate of the authority to")
	lifetime := flags.Duration("lifetime", 0, "the lifetime of access tokens (default: that of the product)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if !slices.Contains(products, *product) {
		return fmt.Errorf("unknown product %q; write one of %s", *product, strings.Join(products, ", "))
	}
	options := []veeamtest.Option{veeamtest.WithAddr(*listen)}
	if *names != "" {
		options = append(options, veeamtest.WithNames(strings.Split(*names, ",")...))
	}
	if *lifetime > 0 {
		options = append(options, veeamtest.WithAccessLifetime(*lifetime))
	}
	server := veeamtest.New(veeamtest.Profile(*product), options...)
	if err := server.Start(); err != nil {
		return err
	}
	defer server.Close()
	if *ca != "" {
		if err := os.WriteFile(*ca, veeamtest.CAPEM(), 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%s at %s; user %s, password %s; with a verification code: user %s, password %s, seed %s\n", *product, server.URL(),
		veeamtest.DefaultUser, veeamtest.DefaultPassword, veeamtest.DefaultMFAUser, veeamtest.DefaultMFAPassword, veeamtest.DefaultTOTPSecret)
	<-ctx.Done()
	return nil
}

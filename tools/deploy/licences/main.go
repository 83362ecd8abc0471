// Command licences writes the licences of what is linked into a program to a file, for the
// build of the image.
//
//	licences PROGRAM FILE
package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"

	"github.com/caddy-veeam/veeam-auth/tools/deploy/linked"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: licences PROGRAM FILE")
	}
	info, err := buildinfo.ReadFile(args[0])
	if err != nil {
		return err
	}
	modules := linked.Modules(info)
	if err := linked.Collect(ctx, ".", modules); err != nil {
		return err
	}
	return os.WriteFile(args[1], linked.Text(modules), 0o644) //nolint:gosec // it is published
}

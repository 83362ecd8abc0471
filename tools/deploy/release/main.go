// Command release makes everything that a release has, from a clean checkout, into
// dist/: archives, packages, an image layout, the chart, the lists of what is inside,
// licences, the statement of provenance and the checksums. Two runs at one commit with
// one version of Go make the same bytes; -reproducible shows it.
//
//	release -targets linux/amd64,… [-root DIR] [-version V] [-snapshot] [-only packages]
//	release -targets linux/amd64,… -reproducible [-root DIR] [-cold]
//	release -pin | -check-pin [-root DIR]
//
// docs/release.md says how a maintainer uses it and how a user verifies the result.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/tools/deploy/linked"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		stop()
		os.Exit(1)
	}
}

// target is a platform, by Go's names.
type target struct{ os, arch string }

func (t target) String() string { return t.os + "/" + t.arch }

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	root := flags.String("root", ".", "folder of the checkout")
	version := flags.String("version", "", "version that the checkout must have, such as v1.2.3")
	snapshot := flags.Bool("snapshot", false, "accept a checkout with changes that are not committed")
	names := flags.String("targets", "", "platforms, separated by commas; the Makefile has the list")
	only := flags.String("only", "", "\"packages\": only deb and rpm")
	twice := flags.Bool("reproducible", false, "build the commit in two folders and compare the results")
	cold := flags.Bool("cold", false, "with -reproducible: compile the modules of others twice, too")
	writePin := flags.Bool("pin", false, "write the digest of the image that the Dockerfile builds in")
	readPin := flags.Bool("check-pin", false, "check that digest at the registry")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := filepath.Abs(*root)
	if err != nil {
		return err
	}
	switch {
	case *writePin:
		return pin(ctx, dir, os.Stdout)
	case *readPin:
		return checkPin(ctx, dir, os.Stdout)
	}
	targets, err := parseTargets(*names)
	if err != nil {
		return err
	}
	if *only != "" && *only != "packages" {
		return fmt.Errorf("-only %s is not known", *only)
	}
	if *twice {
		return reproduce(ctx, dir, targets, *cold, os.Stdout)
	}
	return makeRelease(ctx, dir, options{version: *version, snapshot: *snapshot, targets: targets, packagesOnly: *only != ""})
}

var targetForm = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9]+$`)

func parseTargets(names string) ([]target, error) {
	var targets []target
	for _, name := range strings.Split(names, ",") {
		if !targetForm.MatchString(name) {
			return nil, fmt.Errorf("-targets: %q is not a platform such as linux/amd64", name)
		}
		system, arch, _ := strings.Cut(name, "/")
		targets = append(targets, target{system, arch})
	}
	return targets, nil
}

type options struct {
	version      string // that the checkout must have; empty for any
	snapshot     bool   // accept changes that are not committed
	targets      []target
	packagesOnly bool
}

// release is one run. All that it writes has the time of the commit.
type release struct {
	root, dist string
	commit     string
	time       time.Time
	version    string // as Go stamps it, with the "v"
	binaries   []binary
	modules    []linked.Module // of all binaries, sorted by path
	licences   []byte
}

// number is the version without the "v", as packages, charts and images write it.
func (r *release) number() string { return strings.TrimPrefix(r.version, "v") }

// path is a file in dist.
func (r *release) path(format string, args ...any) string {
	return filepath.Join(r.dist, fmt.Sprintf(format, args...))
}

func makeRelease(ctx context.Context, root string, opts options) error {
	r := &release{root: root, dist: filepath.Join(root, "dist")}
	// The paths in nfpm.yaml are relative to the root.
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := r.readCommit(ctx, opts.snapshot); err != nil {
		return err
	}
	if err := os.RemoveAll(r.dist); err != nil {
		return err
	}
	work := filepath.Join(r.dist, "work")
	if err := os.MkdirAll(work, 0o755); err != nil { //nolint:gosec // what a release holds is public
		return err
	}
	if err := r.build(ctx, work, opts); err != nil {
		return err
	}
	if err := linked.Collect(ctx, r.root, r.modules); err != nil {
		return err
	}
	r.licences = linked.Text(r.modules)
	steps := []func() error{r.writePackages}
	if !opts.packagesOnly {
		steps = append(steps, r.writeArchives, r.writeImage, r.writeChart, r.writeLists, func() error { return r.write(linked.FileName, r.licences) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if !opts.packagesOnly {
		if err := r.writeProvenance(); err != nil {
			return err
		}
	}
	if err := r.writeSums(); err != nil {
		return err
	}
	fmt.Printf("%s: %s (%s)\n", r.dist, r.version, r.commit)
	return nil
}

var errDirty = errors.New("the checkout has changes that are not committed; commit them, or make a snapshot: make release SNAPSHOT=1")

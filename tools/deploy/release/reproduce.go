package main

// Two builds of one commit in two folders, compared bit for bit.

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// reproduce clones the commit twice and releases each clone. The second has another path,
// umask, time zone and language. Each has a build cache of its own, so that the packages of
// this module are compiled twice. What others wrote is compiled once, for both: its bytes
// are those of the module cache, and -trimpath keeps the folder of that out. With cold the
// second build begins with an empty cache instead, and the first has that of the user.
func reproduce(ctx context.Context, root string, targets []target, cold bool, w io.Writer) error {
	dir, err := os.MkdirTemp("", "veeam-auth-reproducible")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	commit, err := output(ctx, root, "git", "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	clones := []string{filepath.Join(dir, "first"), filepath.Join(dir, "second/below/another/path")}
	for _, clone := range clones {
		if _, err := output(ctx, root, "git", "clone", "--quiet", "--no-hardlinks", root, clone); err != nil {
			return err
		}
		if _, err := output(ctx, clone, "git", "checkout", "--quiet", "--detach", commit); err != nil {
			return err
		}
	}
	caches := []string{"", filepath.Join(dir, "cache2")} // empty for the user's
	if !cold {
		caches[0] = filepath.Join(dir, "cache1")
		if err := compileOthers(ctx, clones[0], caches, targets); err != nil {
			return err
		}
	}
	for i, surroundings := range []string{"022; export LC_ALL=C TZ=UTC", "077; export LC_ALL=C.UTF-8 TZ=Asia/Kathmandu"} {
		if err := releaseIn(ctx, clones[i], caches[i], surroundings, targets); err != nil {
			return fmt.Errorf("%s: %w", clones[i], err)
		}
	}
	return compare(w, filepath.Join(clones[0], "dist"), filepath.Join(clones[1], "dist"))
}

// compileOthers fills the first cache with what packages of this module import, and copies
// it to the second one.
func compileOthers(ctx context.Context, clone string, caches []string, targets []target) error {
	for _, t := range targets {
		fmt.Fprintln(os.Stderr, "==", t, "what others wrote")
		cmd := exec.CommandContext(ctx, "make", "--no-print-directory", "--silent", "others")
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = clone, append(cleanEnvironment(t), "GOCACHE="+caches[0]), os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("what others wrote for %s: %w", t, err)
		}
	}
	return os.CopyFS(caches[1], os.DirFS(caches[0]))
}

// releaseIn makes a release in a process of its own. surroundings is the umask and what a
// shell runs after it.
func releaseIn(ctx context.Context, clone, cache, surroundings string, targets []target) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.String()
	}
	// A shell sets the umask, which belongs to the process.
	cmd := exec.CommandContext(ctx, "sh", "-c", "umask "+surroundings+`; exec "$0" "$@"`, self, "-root", clone, "-targets", strings.Join(names, ",")) //nolint:gosec // this program itself
	cmd.Dir, cmd.Stdout, cmd.Stderr = clone, os.Stderr, os.Stderr
	if cache != "" {
		cmd.Env = append(os.Environ(), "GOCACHE="+cache)
	}
	return cmd.Run()
}

// compare prints a row for each file of either folder and fails if one differs.
func compare(w io.Writer, first, second string) error {
	a, err := sumsOf(first)
	if err != nil {
		return err
	}
	b, err := sumsOf(second)
	if err != nil {
		return err
	}
	sums := map[string][2]string{}
	for _, s := range a {
		sums[s.name] = [2]string{s.sum, "missing"}
	}
	for _, s := range b {
		pair, ok := sums[s.name]
		if !ok {
			pair[0] = "missing"
		}
		pair[1] = s.sum
		sums[s.name] = pair
	}
	var names []string
	for name := range sums {
		names = append(names, name)
	}
	slices.Sort(names)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	different := 0
	for _, name := range names {
		word, size := "same", int64(0)
		if sums[name][0] != sums[name][1] {
			word = "DIFFERENT"
			different++
		}
		if info, err := os.Stat(filepath.Join(first, name)); err == nil {
			size = info.Size()
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\n", word, name, size, short(sums[name][0]))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if different > 0 || len(names) == 0 {
		return fmt.Errorf("%d of %d files differ", different, len(names))
	}
	fmt.Fprintf(w, "%d files, the same bit for bit\n", len(names))
	return nil
}

func short(sum string) string { return sum[:min(len(sum), 16)] }

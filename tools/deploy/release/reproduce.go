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
// umask, time zone and language and, with fresh, a build cache of its own: nothing that
// the first one compiled is in it.
func reproduce(ctx context.Context, root string, targets []target, fresh bool, w io.Writer) error {
	dir, err := os.MkdirTemp("", "veeam-auth-reproducible")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	commit, err := output(ctx, root, "git", "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var names []string
	for _, t := range targets {
		names = append(names, t.String())
	}
	var dists []string
	cache := ""
	if fresh {
		cache = " GOCACHE=" + filepath.Join(dir, "cache")
	}
	for _, build := range []struct{ folder, umask, environment string }{
		{"first", "022", "LC_ALL=C TZ=UTC"},
		{"second/below/another/path", "077", "LC_ALL=C.UTF-8 TZ=Asia/Kathmandu" + cache},
	} {
		clone := filepath.Join(dir, build.folder)
		if _, err := output(ctx, root, "git", "clone", "--quiet", "--no-hardlinks", root, clone); err != nil {
			return err
		}
		if _, err := output(ctx, clone, "git", "checkout", "--quiet", "--detach", commit); err != nil {
			return err
		}
		// A shell sets the umask, which belongs to the process.
		script := "umask " + build.umask + "; exec env " + build.environment + ` "$0" "$@"`
		cmd := exec.CommandContext(ctx, "sh", "-c", script, self, "-root", clone, "-targets", strings.Join(names, ",")) //nolint:gosec // this program itself
		cmd.Dir, cmd.Stdout, cmd.Stderr = clone, os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", build.folder, err)
		}
		dists = append(dists, filepath.Join(clone, "dist"))
	}
	return compare(w, dists[0], dists[1])
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

package main

// The checkout: its commit, its time, and the binaries that it makes.

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/tools/deploy/linked"
)

func (r *release) readCommit(ctx context.Context, snapshot bool) error {
	changes, err := output(ctx, r.root, "git", "status", "--porcelain")
	if err != nil {
		return err
	}
	if changes != "" && !snapshot {
		return fmt.Errorf("%w\n%s", errDirty, changes)
	}
	head, err := output(ctx, r.root, "git", "log", "-1", "--format=%H %ct")
	if err != nil {
		return err
	}
	commit, seconds, _ := strings.Cut(head, " ")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return err
	}
	r.commit, r.time = commit, time.Unix(unix, 0).UTC()
	return nil
}

// output runs a command and returns what it prints, without the last line's end.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // commands of this program
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimRight(string(out), "\n"), nil
}

// binary is the program for one platform.
type binary struct {
	target
	path string
	info *debug.BuildInfo
}

// cleanEnvironment sets each variable that changes what Go builds: the builder's own
// settings are no part of a release.
func cleanEnvironment(t target) []string {
	return append(os.Environ(),
		"GOOS="+t.os, "GOARCH="+t.arch, "GOAMD64=v1", "GOARM64=v8.0", "CGO_ENABLED=0",
		"GOFLAGS=-buildvcs=true", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off", "GODEBUG=",
		"MAKEFLAGS=", "MAKELEVEL=", "BUILD_VERSION=",
	)
}

func (r *release) build(ctx context.Context, work string, opts options) error {
	for _, t := range opts.targets {
		if opts.packagesOnly && t.os != "linux" {
			continue
		}
		cmd := exec.CommandContext(ctx, "make", "--no-print-directory", "bin/veeam-auth")
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = r.root, cleanEnvironment(t), os.Stdout, os.Stderr
		fmt.Println("==", t)
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
		b := binary{target: t, path: filepath.Join(work, t.os+"_"+t.arch)}
		if err := os.Rename(filepath.Join(r.root, "bin/veeam-auth"), b.path); err != nil {
			return err
		}
		var err error
		if b.info, err = buildinfo.ReadFile(b.path); err != nil {
			return err
		}
		r.binaries = append(r.binaries, b)
		if err := r.checkBinary(ctx, b, opts); err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
	}
	programs := make([]*debug.BuildInfo, len(r.binaries))
	for i, b := range r.binaries {
		programs[i] = b.info
	}
	r.modules = linked.Union(programs...)
	return nil
}

// checkBinary requires that the binary has the version of the others, comes from the
// commit, and says so itself where it can run.
func (r *release) checkBinary(ctx context.Context, b binary, opts options) error {
	version := b.info.Main.Version
	if err := checkVersion(version, opts.version, opts.snapshot); err != nil {
		return err
	}
	if r.version == "" {
		r.version = version
	}
	settings := map[string]string{}
	for _, s := range b.info.Settings {
		settings[s.Key] = s.Value
	}
	switch {
	case version != r.version:
		return fmt.Errorf("the binary has version %s, an earlier one %s", version, r.version)
	case settings["vcs.revision"] != r.commit:
		return fmt.Errorf("the binary is built from %s, not from %s", settings["vcs.revision"], r.commit)
	case settings["-trimpath"] != "true" || settings["CGO_ENABLED"] != "0":
		return errors.New("the binary is not built with -trimpath and CGO_ENABLED=0")
	case b.os != runtime.GOOS || b.arch != runtime.GOARCH:
		return nil
	}
	line, err := output(ctx, r.root, b.path, "version")
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "veeam-auth "+version+" ") || !strings.Contains(line, r.commit) {
		return fmt.Errorf("`veeam-auth version` prints %q, which is not %s of %s", line, version, r.commit)
	}
	return nil
}

var semver = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+dirty)?$`)

// checkVersion compares the version that Go stamped with the one that is wanted.
func checkVersion(stamped, want string, snapshot bool) error {
	switch {
	case !semver.MatchString(stamped):
		return fmt.Errorf("the version %q is not a semantic version: Go takes it from a clone of the repository with its tags, not from an archive or a worktree", stamped)
	case strings.HasSuffix(stamped, "+dirty") && !snapshot:
		return errDirty
	case want != "" && stamped != want:
		return fmt.Errorf("the checkout has version %s, not %s; tag the commit: git tag -s %s", stamped, want, want)
	}
	return nil
}

// The slim build against the full one, as the image runs them: size, start and memory.

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const (
	imageStarts  = 7
	imageRate    = 500 // requests a second
	imageFor     = 30 * time.Second
	imageClients = 50
	imageRest    = 5 * time.Second // from the first answer until the memory is read
)

// measureImage builds both programs as a release has them and runs each with the
// configuration of the image.
func measureImage(ctx context.Context, r *report) error {
	server := veeamtest.New(veeamtest.VBR13)
	if err := server.Start(); err != nil {
		return err
	}
	defer server.Close()
	dir, err := os.MkdirTemp("", "veeam-auth-load-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{"password": veeamtest.DefaultPassword, "ca.pem": string(veeamtest.CAPEM())} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	for _, name := range []string{"veeam-auth", "caddy"} {
		// A folder of its own: Caddy makes a folder "caddy" in its data directory, dir.
		i := &imageRun{program: filepath.Join(dir, "bin", name), dir: dir, server: server}
		build := exec.CommandContext(ctx, "make", "--silent", "program", "PROGRAM="+name, "OUT="+i.program)
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", name, err, out)
		}
		if err := i.measure(ctx, r, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// imageRun is one of the programs.
type imageRun struct {
	program, dir string
	server       *veeamtest.Server
	api          string // address of the site of the process that runs
}

func (i *imageRun) measure(ctx context.Context, r *report, name string) error {
	info, err := os.Stat(i.program)
	if err != nil {
		return err
	}
	r.note(name+", size", fmt.Sprintf("%.1f MB", float64(info.Size())/1e6))
	var starts []time.Duration
	for range imageStarts {
		process, took, err := i.start(ctx)
		if err == nil {
			err = stop(process)
		}
		if err != nil {
			return err
		}
		starts = append(starts, took)
	}
	r.note(name+", from the start to the first answer, with a login", spread(starts))

	process, _, err := i.start(ctx)
	if err != nil {
		return err
	}
	rest, loaded, sent, err := i.memory(ctx, process.Process.Pid)
	if err = errors.Join(err, stop(process)); err != nil {
		return err
	}
	r.note(name+", memory at rest", fmt.Sprintf("%.1f MiB", rest))
	r.exactly(name+", failed requests", int64(sent.failed), 0)
	r.note(fmt.Sprintf("%s, memory after %d requests at %d a second", name, sent.requests, imageRate), fmt.Sprintf("%.1f MiB", loaded))
	return nil
}

// start runs the program until its first answer.
func (i *imageRun) start(ctx context.Context) (*exec.Cmd, time.Duration, error) {
	ports, err := harness.FreePorts(3)
	if err != nil {
		return nil, 0, err
	}
	i.api = local(ports[0])
	process := exec.CommandContext(ctx, i.program, "run", "--config", "deploy/image/Caddyfile", "--adapter", "caddyfile")
	process.Env = append(os.Environ(), "HOME="+i.dir, "XDG_DATA_HOME="+i.dir, "XDG_CONFIG_HOME="+i.dir,
		"VEEAM_AUTH_SERVER="+i.server.URL(), "VEEAM_AUTH_USERNAME="+veeamtest.DefaultUser, "VEEAM_AUTH_PASSWORD_FILE="+filepath.Join(i.dir, "password"),
		"VEEAM_AUTH_TRUST=ca", "VEEAM_AUTH_CA_FILE="+filepath.Join(i.dir, "ca.pem"), fmt.Sprint("VEEAM_AUTH_LISTEN=http://:", ports[0]),
		fmt.Sprint("VEEAM_AUTH_METRICS_PORT=", ports[1]), fmt.Sprint("VEEAM_AUTH_ADMIN=localhost:", ports[2]))
	output := &harness.Output{}
	process.Stdout, process.Stderr = output, output
	begun := time.Now()
	if err := process.Start(); err != nil {
		return nil, 0, err
	}
	client := newClient(1)
	defer client.CloseIdleConnections()
	for {
		status, err := send(ctx, client, http.MethodGet, i.api+"/api/v1/serverInfo", nil)
		if err == nil && status == http.StatusOK {
			return process, time.Since(begun), nil
		}
		if ctx.Err() != nil || err == nil && status != http.StatusOK {
			return nil, 0, errors.Join(fmt.Errorf("status %d, %w: %s", status, err, strings.TrimSpace(output.String())), stop(process))
		}
		time.Sleep(time.Millisecond)
	}
}

func stop(process *exec.Cmd) error {
	_ = process.Process.Signal(syscall.SIGTERM)
	return process.Wait()
}

// memory reads that of the process before and after it has answered requests at a steady
// rate, or as fast as the machine can.
func (i *imageRun) memory(ctx context.Context, pid int) (rest, loaded float64, sent *tally, err error) {
	sent = new(tally)
	time.Sleep(imageRest)
	if rest, err = residentMiB(pid); err != nil {
		return rest, loaded, sent, err
	}
	client := newClient(imageClients)
	defer client.CloseIdleConnections()
	due := make(chan time.Time)
	var workers sync.WaitGroup
	for range imageClients {
		workers.Go(func() {
			for at := range due {
				time.Sleep(time.Until(at))
				begun := time.Now()
				status, err := send(ctx, client, http.MethodGet, i.api+"/api/v1/serverInfo", nil)
				sent.add(status, err, time.Since(begun))
			}
		})
	}
	begun := time.Now()
	for n := range int(imageRate * imageFor / time.Second) {
		due <- begun.Add(time.Duration(n) * time.Second / imageRate)
	}
	close(due)
	workers.Wait()
	loaded, err = residentMiB(pid)
	return rest, loaded, sent, err
}

// This file holds the command that reads log files of the svc_resapi format.

package command

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

// logOptions are the flags of the command.
type logOptions struct {
	user, path, status, since string
	follow, utc               bool
}

// newLogCommand returns `caddy veeam-auth log`.
func newLogCommand() *cobra.Command {
	var options logOptions
	cmd := &cobra.Command{
		Use:   "log [--user <name>] [--path <path>] [--status <codes>] [--since <time>] [--utc] [-f] <file>",
		Short: "Reads a log in the format of Svc.ResAPI.log and prints it as JSON lines",
		Long: `
Reads a log in the format of Veeam's Svc.ResAPI.log, written by the svc_resapi
encoder or by Veeam, and prints each line as a JSON object. Flags select lines; a
line must match all of them. Secrets are masked in the output, line by line: of a
secret that spans several lines only the first part is masked. A file named - is
standard input.

A response line has no user. It gets the user of its request, which is matched by
the number in <...>. In Veeam's own files the numbers may differ: there it is
matched by method and path if only one request is pending.

The field of a hash chain at the end of a line is printed as "chain"; verify checks
it.`,
		Example: `  caddy veeam-auth log --status 4xx,5xx --since 1h /var/log/veeam/Svc.ResAPI.log
  caddy veeam-auth log -f --user svc-monitor --path /api/v1/jobs /var/log/veeam/Svc.ResAPI.log
  caddy veeam-auth log Svc.ResAPI.log | jq -r 'select(.kind == "login_failed") | .user'`,
		Args: arguments(1, 1),
		RunE: runCommand(func(cmd *cobra.Command, args []string) error {
			return options.run(cmd.Context(), args[0], cmd.InOrStdin(), cmd.OutOrStdout(), time.Now())
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&options.user, "user", "", "Only lines of this user, with or without its domain")
	flags.StringVar(&options.path, "path", "", "Only lines with this path prefix, or a pattern with *")
	flags.StringVar(&options.status, "status", "", "Only responses with these statuses: 401, 4xx or several with commas")
	flags.StringVar(&options.since, "since", "", "Only lines since this time: 90m, 2d, 2006-01-02T15:04 or as in the log")
	flags.BoolVar(&options.utc, "utc", false, "Times in the file are UTC (encoder option utc)")
	flags.BoolVarP(&options.follow, "follow", "f", false, "Follow the file across rotations")
	cmd.AddCommand(newLogVerifyCommand(), newLogKeygenCommand())
	return cmd
}

// run prints what the options choose of the file name to out.
func (o *logOptions) run(ctx context.Context, name string, in io.Reader, out io.Writer, now time.Time) error {
	filter, err := o.filter(now)
	if err != nil {
		return err
	}
	switch {
	case name == "-":
	case o.follow:
		follower, err := svclog.Follow(ctx, name)
		if err != nil {
			return err
		}
		defer follower.Close()
		in = follower
	default:
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	buffered := bufio.NewWriter(out)
	enc := plainJSON(buffered)
	err = svclog.Read(ctx, in, filter, func(r svclog.Record) error {
		if err := enc.Encode(r); err != nil || !o.follow {
			return err
		}
		return buffered.Flush()
	})
	if errors.Is(err, context.Canceled) {
		err = nil // interrupted by the user
	}
	if flushed := buffered.Flush(); err == nil {
		err = flushed // a writer that has failed fails again
	}
	return err
}

func (o *logOptions) filter(now time.Time) (svclog.Filter, error) {
	filter := svclog.Filter{User: o.user, Path: o.path, Zone: time.Local}
	if o.utc {
		filter.Zone = time.UTC
	}
	var err error
	if o.status != "" {
		if filter.Status, err = svclog.ParseStatus(o.status); err != nil {
			return filter, err
		}
	}
	if o.since != "" {
		filter.Since, err = svclog.ParseSince(o.since, now, filter.Zone)
	}
	return filter, err
}

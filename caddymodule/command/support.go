// The command that puts together what somebody needs who helps from afar.

package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/internal/buildinfo"
	"github.com/caddy-veeam/veeam-auth/internal/health"
	"github.com/caddy-veeam/veeam-auth/internal/support"
)

func newSupportCommand() *cobra.Command {
	var (
		admin  adminFlags
		output string
	)
	cmd := &cobra.Command{
		Use:   "support [--output <file.tar.gz>] [--config <file>] [--address <address>]",
		Short: "Writes a bundle for support: configuration, states, metrics and log, without secrets",
		Long: `Asks the running Caddy and writes an archive for support: its
configuration, the states of sessions, clients and probes, metrics, versions, variables
that matter, and the last lines of the log in the format svc_resapi, if it is a file.

Of the configuration only numbers, switches, placeholders and the texts of options that
are known to hold no secret remain. Names of accounts, clients, servers and paths are
in it. Look through the files, which are listed, before you send the archive.

Without a running Caddy the bundle has what can be found without it.`,
		Example: "  caddy veeam-auth support --output bundle.tar.gz",
		Args:    arguments(0, 0),
		RunE: withExitCode(func(cmd *cobra.Command, _ []string) error {
			return writeSupport(cmd, &admin, output, time.Now())
		}),
	}
	admin.add(cmd.Flags())
	cmd.Flags().StringVarP(&output, "output", "o", "", "File to write; it must not exist. Default: veeam-auth-support-<time>.tar.gz here")
	return cmd
}

// writeSupport writes the bundle and lists its files.
func writeSupport(cmd *cobra.Command, admin *adminFlags, output string, now time.Time) error {
	folder := "veeam-auth-support-" + now.UTC().Format("20060102T150405Z")
	if output == "" {
		output = folder + ".tar.gz"
	}
	files := supportFiles(cmd, admin)
	file, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = support.Write(file, folder, files, now)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, f := range files {
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.Name, count(len(f.Content), "byte"), f.About)
	}
	_ = table.Flush()
	fmt.Fprintf(cmd.OutOrStdout(), "Wrote %s. Look through its files before you send it: tar xzf %[1]s\n", output)
	return nil
}

// supportFiles are the files of the bundle. One that cannot be had says why.
func supportFiles(cmd *cobra.Command, admin *adminFlags) []support.File {
	file := func(name, about string, content []byte, err error) support.File {
		if err != nil {
			name, content = name+".error", []byte(err.Error()+"\n")
		}
		return support.File{Name: name, About: about, Content: content}
	}
	config, err := supportConfig(cmd, admin)
	log, noLog := supportLog(cmd.Context(), config)
	if err == nil {
		config, err = support.Config(config)
	}
	files := []support.File{
		file("version.txt", "versions of the module, Caddy, Go and the system", supportVersion(), nil),
		file("environment.txt", "environment variables of this command", support.Environment(os.LookupEnv), nil),
		file("config.json", "the configuration without secrets", config, err),
	}
	for _, asked := range []struct{ name, about, path string }{
		{"sessions.json", "the accounts and their sessions", adminapi.SessionsPath},
		{"tokens.json", "the callers with tokens", adminapi.TokensPath},
		{"ready.json", "the probe ready", path.Join(health.Path, string(health.Ready))},
		{"startup.json", "the probe startup", path.Join(health.Path, string(health.Startup))},
		{"metrics.txt", "the metrics of the module and of the process", "/metrics"},
	} {
		answer, err := admin.raw(cmd, asked.path)
		if asked.name == "metrics.txt" {
			answer = support.Metrics(string(answer))
		}
		files = append(files, file(asked.name, asked.about, answer, err))
	}
	return append(files, file("log.jsonl", "the last lines of the log", log, noLog))
}

func supportVersion() []byte {
	return fmt.Appendf(nil, "%s\n%s/%s, %s, %s\n", buildinfo.Read(), runtime.GOOS, runtime.GOARCH, count(runtime.NumCPU(), "processor"), time.Now().Format(time.RFC3339))
}

// supportConfig is the configuration of the Caddy that runs, or else that of the file.
func supportConfig(cmd *cobra.Command, admin *adminFlags) ([]byte, error) {
	config, err := admin.raw(cmd, "/config/")
	if err == nil && !bytes.Equal(bytes.TrimSpace(config), []byte("null")) {
		return config, nil
	}
	files := configFlags{config: admin.config, adapter: admin.adapter}
	if adapted, failed := files.adapt(cmd.InOrStdin(), io.Discard); failed == nil {
		return adapted, nil
	}
	return nil, errors.Join(err, errors.New("and no configuration file can be read: set --config"))
}

// raw asks the running Caddy and returns its answer as it is, also that of a probe whose
// answer is no.
func (f *adminFlags) raw(cmd *cobra.Command, path string) ([]byte, error) {
	address, err := f.find(cmd.InOrStdin(), io.Discard, false)
	if err != nil {
		return nil, err
	}
	content, err := askAdmin(cmd.Context(), address, http.MethodGet, path, nil)
	if err != nil {
		var probe health.Answer
		if refused := adminAnswer().FindStringSubmatch(err.Error()); refused != nil && readAnswer(bytes.NewReader([]byte(refused[2])), &probe) == nil {
			return []byte(refused[2]), nil
		}
		_, plain := f.plainError(address, err)
		return nil, plain
	}
	return content, nil
}

// supportLog is the end of the log in the format svc_resapi, if it is a file.
func supportLog(ctx context.Context, config []byte) ([]byte, error) {
	var c struct {
		Logging struct {
			Logs map[string]struct {
				Writer  json.RawMessage `json:"writer"`
				Encoder struct {
					Format string `json:"format"`
				} `json:"encoder"`
			} `json:"logs"`
		} `json:"logging"`
	}
	_ = json.Unmarshal(config, &c) // no configuration has no logs
	var text []byte
	found := false
	for _, name := range slices.Sorted(maps.Keys(c.Logging.Logs)) {
		log := c.Logging.Logs[name]
		file := filenameOf(log.Writer)
		if log.Encoder.Format != "svc_resapi" || file == "" {
			continue
		}
		lines, err := support.LogTail(ctx, file)
		if err != nil {
			return nil, err
		}
		text, found = append(text, lines...), true
	}
	if !found {
		return nil, errors.New("no log in the format svc_resapi is written to a file: see docs/log.md")
	}
	return text, nil
}

// filenameOf is the file of a writer, or of the one that it hands lines to.
func filenameOf(writer json.RawMessage) string {
	var w struct {
		Filename string          `json:"filename"`
		Writer   json.RawMessage `json:"writer"`
	}
	if json.Unmarshal(writer, &w) != nil {
		return ""
	}
	if w.Filename == "" && len(w.Writer) > 0 {
		return filenameOf(w.Writer)
	}
	return w.Filename
}

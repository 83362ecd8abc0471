// Package support puts together what somebody needs who helps from afar: files without
// secrets, in an archive that a person can look through before sending it.
package support

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

// File is a file of the bundle.
type File struct {
	Name string

	// About says in a few words what is in it.
	About string

	Content []byte
}

// Write writes the files below a folder, as a gzip'd tar archive.
func Write(w io.Writer, folder string, files []File, now time.Time) error {
	compressed := gzip.NewWriter(w)
	archive := tar.NewWriter(compressed)
	for _, f := range files {
		header := &tar.Header{Name: folder + "/" + f.Name, Mode: 0o600, Size: int64(len(f.Content)), ModTime: now, Format: tar.FormatPAX}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(f.Content); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return compressed.Close()
}

const (
	logBytes = 1 << 20 // are read of the end of a log
	logLines = 500     // are kept of them
)

// LogTail returns the last lines of a log in the format of Svc.ResAPI.log as JSON lines,
// each masked once more.
func LogTail(ctx context.Context, name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", name)
	}
	var rest io.Reader = file
	if info.Size() > logBytes {
		if _, err := file.Seek(-logBytes, io.SeekEnd); err != nil {
			return nil, err
		}
		if rest, err = afterLine(file); err != nil {
			return nil, err
		}
	}
	var lines [][]byte
	err = svclog.Read(ctx, rest, svclog.Filter{Zone: time.Local}, func(r svclog.Record) error {
		line, err := encode(r, "")
		if lines = append(lines, line); len(lines) > 2*logLines {
			lines = append([][]byte(nil), lines[len(lines)-logLines:]...)
		}
		return err
	})
	var text []byte
	for _, line := range lines[max(0, len(lines)-logLines):] {
		text = append(text, line...)
	}
	return text, err
}

// encode returns JSON for people, in which < and > stay as they are, and a line break.
func encode(value any, indent string) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	err := encoder.Encode(value)
	return text.Bytes(), err
}

// afterLine reads to the end of a line that begins somewhere before.
func afterLine(r io.Reader) (io.Reader, error) {
	one := make([]byte, 1)
	for one[0] != '\n' {
		if _, err := r.Read(one); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Metrics are the lines of a scrape about the module and the process that it runs in.
func Metrics(text string) []byte {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		name := strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE ")
		for _, prefix := range []string{"caddy_veeam_auth_", "caddy_config_", "process_", "go_"} {
			if strings.HasPrefix(name, prefix) {
				kept.WriteString(line)
			}
		}
	}
	return []byte(kept.String())
}

// plainVariables are those of the environment whose value is no secret.
var plainVariables = []string{
	"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "HOME", "TZ", "USER", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
	"CADDY_ADMIN", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET",
}

// setVariables are those of which only is told whether they are set: a proxy's URL may
// have a password.
var setVariables = []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"}

// Environment are the variables that matter.
func Environment(lookup func(string) (string, bool)) []byte {
	var b strings.Builder
	for _, name := range plainVariables {
		if value, set := lookup(name); set {
			fmt.Fprintf(&b, "%s=%s\n", name, value)
		} else {
			fmt.Fprintf(&b, "%s is not set\n", name)
		}
	}
	for _, name := range setVariables {
		_, upper := lookup(name)
		_, lower := lookup(strings.ToLower(name))
		fmt.Fprintf(&b, "%s is %s\n", name, map[bool]string{true: "set", false: "not set"}[upper || lower])
	}
	return []byte(b.String())
}

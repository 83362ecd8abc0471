// A request byte for byte over a socket, and shells that run what a page shows.

package clients

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

var variable = regexp.MustCompile(`\{(\w+)\}`)

// exchange sends a request whose lines end in LF, with variables in braces, and puts the
// texts of the answer into them. It returns all that was received.
func (w *pageWorld) exchange(t *testing.T, base, raw string, vars map[string]string) (status int, received string) {
	t.Helper()
	fill := func(text string) string {
		return variable.ReplaceAllStringFunc(text, func(name string) string {
			value, found := vars[name[1:len(name)-1]]
			if !found {
				t.Fatalf("no answer has had %s", name)
			}
			return value
		})
	}
	head, body, _ := strings.Cut(raw, "\n\n")
	body = fill(strings.TrimSuffix(body, "\n"))
	vars["length"] = strconv.Itoa(len(body))
	head = fill(strings.TrimSuffix(head, "\n"))
	conn := w.dial(t, base)
	defer conn.Close()
	if _, err := io.WriteString(conn, strings.ReplaceAll(head, "\n", "\r\n")+"\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	reader := bufio.NewReader(io.TeeReader(conn, &all))
	method, _, _ := strings.Cut(head, " ")
	res, err := http.ReadResponse(reader, &http.Request{Method: method})
	for err == nil && res.StatusCode == http.StatusContinue {
		res.Body.Close()
		res, err = http.ReadResponse(reader, &http.Request{Method: method})
	}
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, head, all.String())
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if session := res.Header.Get(harness.SessionHeader); session != "" {
		vars["session"] = session
	}
	var document any
	if json.Unmarshal(text, &document) == nil {
		keep(vars, base, document)
	}
	return res.StatusCode, all.String()
}

// keep puts the texts of a document into the variables. Of a link to the site it keeps
// the path.
func keep(vars map[string]string, base string, document any) {
	switch v := document.(type) {
	case []any:
		for _, item := range v {
			keep(vars, base, item)
		}
	case map[string]any:
		for name, item := range v {
			if text, ok := item.(string); ok {
				vars[name] = strings.TrimPrefix(text, base)
			}
			keep(vars, base, item)
		}
	}
}

// dial connects to a site of the page.
func (w *pageWorld) dial(t *testing.T, base string) net.Conn {
	t.Helper()
	host, port, secure := w.port(t, base)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	if !secure {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	var conn net.Conn
	// The certificate may still be on its way.
	harness.Eventually(t, "a connection to "+base, func() bool {
		root, err := os.ReadFile(w.authority())
		if err != nil {
			return false
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(root)
		conn, err = tls.Dial("tcp", address, &tls.Config{ServerName: host, RootCAs: pool})
		return err == nil
	})
	return conn
}

// gaps looks for what test/e2e/examples looks for in other pages: for a name that no site
// has Caddy itself answers 200 with an empty body, which a client takes for done.
func (w *pageWorld) gaps(t *testing.T, p *page) {
	t.Helper()
	names := map[string]bool{"localhost": true, "127.0.0.1": true, "vbr-sidecar.lab.local": true, "wrong.invalid": true}
	for _, base := range p.bases {
		_, port, secure := w.port(t, base)
		for name := range names {
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			if secure {
				conn = tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true})
			}
			fmt.Fprintf(conn, "DELETE /api/v1/jobs/1 HTTP/1.1\r\nHost: %s:%d\r\n\r\n", name, port)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err == nil { // with TLS there may be no certificate for the name
				if res.Body.Close(); res.StatusCode/100 == 2 {
					t.Errorf("%s: a DELETE under the name %s gets %s", base, name, res.Status)
				}
			}
			conn.Close()
		}
	}
}

// authority is the file with the certificate of Caddy's own authority.
func (w *pageWorld) authority() string {
	return filepath.Join(w.Dir, "data", "caddy", "pki", "authorities", "local", "root.crt")
}

// shell types what a page shows for a shell, with its ports. curl finds the names and
// trusts the authority.
func (w *pageWorld) shell(t *testing.T, p *page) (received string) {
	t.Helper()
	if len(p.scripts) == 0 {
		return ""
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl in PATH (Debian package curl)")
	}
	home, settings := t.TempDir(), "noproxy = \"*\"\n"
	for _, base := range p.bases {
		host, port, secure := w.port(t, base)
		if secure {
			w.dial(t, base).Close()
			settings += fmt.Sprintf("resolve = \"%s:%d:127.0.0.1\"\ncacert = \"%s\"\n", host, port, w.authority())
		}
	}
	if err := os.WriteFile(filepath.Join(home, ".curlrc"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "veeam.key"), []byte(w.key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, script := range p.scripts {
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", w.typed(script))
		cmd.Dir, cmd.Env = home, append(os.Environ(), "HOME="+home, "CURL_HOME="+home)
		out, err := cmd.CombinedOutput()
		received += string(out)
		if err != nil {
			t.Errorf("%v\n%s\n%s", err, script, out)
		}
	}
	return received
}

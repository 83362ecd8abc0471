// Tests of the command that prints fingerprints.

package command

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness/certs"
)

// pinned runs the command.
func pinned(t *testing.T, args ...string) (out, message string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := newPinCommand()
	cmd.SetArgs(args)
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	if err := cmd.ExecuteContext(t.Context()); (err == nil) != (stderr.Len() == 0) {
		t.Errorf("%v: %v, %s", args, err, &stderr)
	}
	return stdout.String(), stderr.String()
}

func TestPinSaysWhatToWriteInstead(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	address := strings.TrimPrefix(plain.URL, "http://")
	for arg, want := range map[string]string{
		"":                        `"" is not a server address: write host:port`,
		"https://":                "is not a server address",
		"vbr01:none":              "is not a server address",
		"vbr01:99999":             "is not a server address",
		"vbr01:":                  "is not a server address",
		"user:hunter2@vbr01:9419": "is not a server address",
		address:                   address + ": tls: first record does not look like a TLS handshake; the server does not speak TLS",
		plain.URL + "/":           address + ": tls: first record does not look like a TLS handshake; the server does not speak TLS",
	} {
		if _, message := pinned(t, arg); !strings.Contains(message, want) {
			t.Errorf("%q: %s", arg, message)
		}
	}
}

// Who answers may have any certificate. It must not write on the terminal what it
// likes, and neither must the password of a URL stand there.
func TestPinPrintsNoControlCharacters(t *testing.T) {
	own := certs.Issue(nil, &x509.Certificate{Subject: pkix.Name{CommonName: "vbr\n  sha1     00\x1b[8m\u202e"}})
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{*own}}
	server.StartTLS()
	defer server.Close()
	out, message := pinned(t, strings.Replace(server.URL, "https://", "https://user:hunter2@", 1)+"/api")
	if message != "" || strings.Count(out, "\n") != 5 || strings.ContainsAny(out, "\x1b\u202e") || strings.Contains(out, "hunter2") {
		t.Errorf("%q %s", out, message)
	}
}

// An interrupt ends a command that waits for its standard input.
func TestAReadOfTheStandardInputEndsWithTheContext(t *testing.T) {
	waiting, writer := io.Pipe()
	defer writer.Close()
	ctx, cancel := context.WithCancel(t.Context())
	in := &interruptible{ctx: ctx, in: waiting}
	ended := make(chan error)
	go func() {
		_, err := io.ReadAll(in)
		ended <- err
	}()
	if _, err := writer.Write([]byte("so far")); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	all, err := io.ReadAll(&interruptible{ctx: t.Context(), in: strings.NewReader("all of it")})
	if string(all) != "all of it" || err != nil {
		t.Errorf("%q %v", all, err)
	}
}

func TestPinSaysWhatALoginWouldLack(t *testing.T) {
	for name, tc := range map[string]struct {
		config *tls.Config
		want   string
	}{
		"new":          {&tls.Config{}, ""},
		"old versions": {&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "enable TLS 1.2"},
		"old ciphers":  {&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}}, "GODEBUG=tlsrsakex=1 in"},
		"3DES":         {&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}}, "GODEBUG=tlsrsakex=1,tls3des=1"},
	} {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.TLS = tc.config
		server.StartTLS()
		out, message := pinned(t, server.URL)
		if message != "" || !strings.Contains(out, "sha1") || strings.Contains(out, "note") != (tc.want != "") || !strings.Contains(out, tc.want) {
			t.Errorf("%s: %s %s", name, out, message)
		}
		server.Close()
	}
}

func TestPinAsksForAServerName(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // which pin does not use either
	var asked []string
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		asked = append(asked, hello.ServerName)
		return nil, nil
	}}
	server.StartTLS()
	defer server.Close()
	if _, message := pinned(t, server.URL, "--server-name", "vbr01.lab.local"); message != "" {
		t.Error(message)
	}
	if len(asked) != 1 || asked[0] != "vbr01.lab.local" {
		t.Errorf("%q", asked)
	}
}

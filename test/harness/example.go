// The set-up of Caddyfile.example: four servers, one sidecar.

package harness

import (
	"crypto/sha1" // the fingerprint that Veeam's consoles show
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// Site is one server with the sidecar in front of it.
type Site struct {
	Product string
	Server  *veeamtest.Server

	// URL is where the sidecar listens for it.
	URL string
}

// Example is the running set-up.
type Example struct {
	Sites []*Site
	Caddy *Caddy

	// Log is the file with the lines of Svc.ResAPI.log.
	Log string

	// Secrets is the folder from which passwords are read.
	Secrets string
}

var exampleProducts = []struct {
	name    string
	profile veeamtest.Profile
	port    int
	files   map[string]string
}{
	{"vbr", veeamtest.VBR13, 9419, map[string]string{"password": veeamtest.DefaultPassword}},
	{"vspc", veeamtest.VSPC, 1280, map[string]string{"password": veeamtest.DefaultPassword}},
	{"azure", veeamtest.Azure, 8443, map[string]string{
		"password": veeamtest.DefaultMFAPassword, "totp_secret": veeamtest.DefaultTOTPSecret,
	}},
	{"aws", veeamtest.AWS, 11005, map[string]string{
		"password": veeamtest.DefaultMFAPassword, "totp_secret": awsTOTPSecret,
	}},
}

// awsTOTPSecret differs from the one at the other servers: a code of one seed is
// used once, and a second server with the same seed would have to wait for the
// next.
const awsTOTPSecret = "GEZDGNBVGY3TQOJQ"

// StartExample starts the emulated servers and Caddy with the file caddyfile,
// which is Caddyfile.example or has the same variables. dir takes all files. The
// sidecar listens on the products' own ports if ownPorts is set, otherwise on
// free ones.
func StartExample(dir, caddyfile string, ownPorts bool, options ...veeamtest.Option) (_ *Example, err error) {
	e := &Example{Log: filepath.Join(dir, "Svc.ResAPI.log"), Secrets: filepath.Join(dir, "secrets")}
	defer func() {
		if err != nil {
			e.Stop()
		}
	}()
	if err := os.MkdirAll(e.Secrets, 0o700); err != nil {
		return nil, err
	}
	ports, err := FreePorts(len(exampleProducts))
	if err != nil {
		return nil, err
	}
	env := []string{"SVC_LOG=" + e.Log, "SECRETS=" + e.Secrets}
	for i, p := range exampleProducts {
		opts := options
		if p.profile == veeamtest.AWS {
			opts = append(slices.Clone(opts), veeamtest.WithAccount(veeamtest.Account{
				Username: veeamtest.DefaultMFAUser, Password: veeamtest.DefaultMFAPassword, TOTPSecret: awsTOTPSecret,
			}))
		}
		server := veeamtest.New(p.profile, opts...)
		if err := server.Start(); err != nil {
			return nil, err
		}
		for name, text := range p.files {
			if err := os.WriteFile(filepath.Join(e.Secrets, p.name+"_"+name), []byte(text+"\n"), 0o600); err != nil {
				return nil, err
			}
		}
		port := ports[i]
		if ownPorts {
			port = p.port
		}
		e.Sites = append(e.Sites, &Site{Product: p.name, Server: server, URL: fmt.Sprintf("http://127.0.0.1:%d", port)})
		prefix := strings.ToUpper(p.name)
		env = append(env,
			prefix+"_URL="+server.URL(), fmt.Sprintf("%s_PORT=%d", prefix, port), prefix+"_PIN="+Pin(server))
	}
	e.Caddy, err = StartCaddy(dir, caddyfile, env)
	return e, err
}

// Pin is the fingerprint of a server's certificate as Veeam shows it.
func Pin(server *veeamtest.Server) string {
	sum := sha1.Sum(server.Certificate().Raw)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// Stop ends everything.
func (e *Example) Stop() {
	if e.Caddy != nil {
		e.Caddy.Stop()
	}
	for _, s := range e.Sites {
		s.Server.Close()
	}
}

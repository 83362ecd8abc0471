// The set-up of Caddyfile.example: a server of each product, one sidecar.

package harness

import (
	"crypto/sha1" // the fingerprint that Veeam's consoles show
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// Example is the running set-up.
type Example struct {
	World

	// Secrets is the folder from which passwords are read.
	Secrets string
}

type exampleProduct struct {
	name    string
	profile veeamtest.Profile
	port    int
	files   map[string]string
	options []veeamtest.Option
}

var exampleProducts = []exampleProduct{
	{"vbr", veeamtest.VBR13, 9419, map[string]string{"password": veeamtest.DefaultPassword}, nil},
	{"vspc", veeamtest.VSPC, 1280, map[string]string{"password": veeamtest.DefaultPassword}, nil},
	{"azure", veeamtest.Azure, 8443, map[string]string{
		"password": veeamtest.DefaultMFAPassword, "totp_secret": veeamtest.DefaultTOTPSecret,
	}, nil},
	withCodes("aws", veeamtest.AWS, 11005, "GEZDGNBVGY3TQOJQ"),
	withCodes("gcp", veeamtest.GCP, 13140, "KRSXG5CTMVRXEZLU"),
	{"vb365", veeamtest.VB365, 4443, map[string]string{"password": veeamtest.DefaultPassword}, nil},
	{"one", veeamtest.ONE, 1239, map[string]string{"password": veeamtest.DefaultPassword}, nil},
	{"em", veeamtest.EM13, 9398, map[string]string{"password": veeamtest.DefaultPassword}, nil},
}

// withCodes is a server whose user has a TOTP secret of its own: a code of one secret
// is used once, and a second server with the same one would have to wait for the next.
func withCodes(name string, profile veeamtest.Profile, port int, secret string) exampleProduct {
	return exampleProduct{
		name, profile, port,
		map[string]string{"password": veeamtest.DefaultMFAPassword, "totp_secret": secret},
		[]veeamtest.Option{veeamtest.WithAccount(veeamtest.Account{
			Username: veeamtest.DefaultMFAUser, Password: veeamtest.DefaultMFAPassword, TOTPSecret: secret,
		})},
	}
}

// StartExample starts the emulated servers and Caddy with the file caddyfile,
// which is Caddyfile.example or has the same variables. dir takes all files. The
// sidecar listens on the products' own ports if ownPorts is set, otherwise on
// free ones.
func StartExample(dir, caddyfile string, ownPorts bool) (_ *Example, err error) {
	text, err := os.ReadFile(caddyfile)
	if err != nil {
		return nil, err
	}
	e := &Example{World: World{Dir: dir, Layout: func() string { return string(text) }}, Secrets: filepath.Join(dir, "secrets")}
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
	e.Env = []string{"SVC_LOG=" + e.SvcLogFile(), "SECRETS=" + e.Secrets}
	for i, p := range exampleProducts {
		server := veeamtest.New(p.profile, p.options...)
		if err := server.Start(); err != nil {
			return nil, err
		}
		for name, text := range p.files {
			if _, err := e.Secret(filepath.Join("secrets", p.name+"_"+name), text); err != nil {
				return nil, err
			}
		}
		site := &Site{Name: p.name, Product: p.name, Server: server, Port: ports[i]}
		if ownPorts {
			site.Port = p.port
			if err := untaken(p.port); err != nil {
				return nil, err
			}
		}
		e.Sites = append(e.Sites, site)
		prefix := strings.ToUpper(p.name)
		e.Env = append(e.Env,
			prefix+"_URL="+server.URL(), fmt.Sprintf("%s_PORT=%d", prefix, site.Port), prefix+"_PIN="+Pin(server))
	}
	return e, e.Start()
}

// untaken says that a port is taken. Caddy would not: it shares ports with another Caddy,
// and the kernel sends each call to one of the two.
func untaken(port int) error {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fmt.Errorf("port %d is taken: end the program that listens there, which may be another demo (%w)", port, err)
	}
	return l.Close()
}

// Pin is the fingerprint of a server's certificate as Veeam shows it.
func Pin(server *veeamtest.Server) string {
	sum := sha1.Sum(server.Certificate().Raw)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// Stop ends everything.
func (e *Example) Stop() {
	e.World.Stop()
	for _, s := range e.Sites {
		s.Server.Close()
	}
}

// The pages of docs/clients. The configuration of a page is loaded as it stands there, but
// for ports, servers, secrets and hashes, and the requests of its clients are sent byte for
// byte: testdata/pages has a file for each page.

package clients

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// docsClients has the pages, and README.md, their index.
const docsClients = "../../../docs/clients"

// page is a page and what it says to somebody in a hurry.
type page struct {
	name           string
	text           string
	caddyfile      string // its blocks of this kind
	snippets       []string
	scripts        []string // snippets for a shell
	bases          []string
	user, password string
}

var (
	fenced  = regexp.MustCompile("(?ms)^```([^\n`]*)\n(.*?)^```$")
	quoted  = regexp.MustCompile("`([^`]+)`")
	aSite   = regexp.MustCompile(`(?m)^(\S*):(\d+) \{$`)
	aServer = regexp.MustCompile(`veeam_auth https://(\w+)\.lab\.local(?::\d+)? \{`)
	anUser  = regexp.MustCompile(`(?m)^\s*account (\S+)`)
	secret  = regexp.MustCompile(`\{file\./run/secrets/(\w+)\}`)
	pinned  = regexp.MustCompile(`tls_pin \S+`)
	aClient = regexp.MustCompile(`(?m)^\s*client (\S+)`)
	aHash   = regexp.MustCompile(`\$2a\$14\$\S+`)
	global  = regexp.MustCompile(`(?s)^\{\n(.*?)^?\n\}\n`)
)

// serverProfiles are the servers of the pages.
var serverProfiles = map[string]veeamtest.Profile{
	"vbr01": veeamtest.VBR13, "vspc01": veeamtest.VSPC, "vbazure": veeamtest.Azure, "vbaws": veeamtest.AWS,
	"vb365": veeamtest.VB365, "one01": veeamtest.ONE, "em01": veeamtest.EM12,
}

// row returns what a page has in backquotes in a row of its table.
func row(t *testing.T, text, name string) []string {
	t.Helper()
	_, rest, found := strings.Cut(text, "\n| "+name+" | ")
	line, _, _ := strings.Cut(rest, "\n")
	var values []string
	for _, match := range quoted.FindAllStringSubmatch(line, -1) {
		values = append(values, match[1])
	}
	if !found || len(values) == 0 {
		t.Fatalf("the table has no row %q with a value", name)
	}
	return values
}

// readPage reads a page and checks its form.
func readPage(t *testing.T, name string) *page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docsClients, name))
	if err != nil {
		t.Fatal(err)
	}
	p := &page{name: name, text: string(text)}
	if n := strings.Count(p.text, "\n"); n > 60 {
		t.Errorf("%d lines; at most 60", n)
	}
	if !strings.Contains(p.text, "](https://github.com/") {
		t.Error("no public source is linked")
	}
	for _, base := range row(t, p.text, "Base URL") {
		if u, err := url.Parse(base); err == nil && u.Port() != "" {
			p.bases = append(p.bases, base)
		}
	}
	p.user, p.password = row(t, p.text, "User")[0], row(t, p.text, "Password")[0]
	for _, name := range []string{"TLS", "Rules", "Saves"} {
		if !strings.Contains(p.text, "\n| "+name+" | ") {
			t.Errorf("the table has no row %q", name)
		}
	}
	for _, block := range fenced.FindAllStringSubmatch(p.text, -1) {
		switch block[1] {
		case "caddyfile":
			p.caddyfile += block[2]
		case "sh":
			p.scripts = append(p.scripts, block[2])
			fallthrough
		default:
			p.snippets = append(p.snippets, block[2])
		}
	}
	return p
}

// pageWorld is the Caddy that all pages use, one after the other.
type pageWorld struct {
	*harness.World
	t       *testing.T
	client  string // the first one of the page
	key     string // of that client
	servers []*veeamtest.Server
	ports   map[string]int // of the sites, by host:port on the page
}

// load starts the servers of a page and loads its configuration.
func (w *pageWorld) load(t *testing.T, p *page) {
	t.Helper()
	w.servers, w.ports, w.Sites = nil, map[string]int{}, nil
	text := p.caddyfile
	w.Global = ""
	if match := global.FindStringSubmatch(text); match != nil {
		w.Global, text = match[1], text[len(match[0]):]
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(p.password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	text = aHash.ReplaceAllLiteralString(text, string(hash))
	text = secret.ReplaceAllStringFunc(text, func(placeholder string) string {
		value := veeamtest.DefaultPassword
		if strings.Contains(placeholder, "totp") {
			value = veeamtest.DefaultTOTPSecret
		}
		file, err := w.Secret(secret.FindStringSubmatch(placeholder)[1], value)
		if err != nil {
			t.Fatal(err)
		}
		return file
	})
	var options []veeamtest.Option
	for _, match := range anUser.FindAllStringSubmatch(text, -1) {
		options = append(options, veeamtest.WithAccount(veeamtest.Account{Username: match[1], Password: veeamtest.DefaultPassword}))
	}
	blocks := aServer.Split(text, -1)
	for i, match := range aServer.FindAllStringSubmatch(text, -1) {
		profile, known := serverProfiles[match[1]]
		if !known {
			t.Fatalf("no server is called %s", match[1])
		}
		server := harness.StartServer(w.t, profile, options...) // Caddy logs out there when the next page is loaded
		w.servers = append(w.servers, server)
		blocks[0] += "veeam_auth " + server.URL() + " {" + pinned.ReplaceAllLiteralString(blocks[i+1], "tls_pin "+harness.Pin(server))
	}
	text = aSite.ReplaceAllStringFunc(blocks[0], func(line string) string {
		match := aSite.FindStringSubmatch(line)
		ports, err := harness.FreePorts(1)
		if err != nil {
			t.Fatal(err)
		}
		host := match[1]
		if host == "" {
			host = "localhost"
		}
		w.ports[host+":"+match[2]] = ports[0]
		w.Sites = append(w.Sites, &harness.Site{Port: ports[0]})
		return match[1] + ":" + strconv.Itoa(ports[0]) + " {"
	})
	if len(w.servers) == 0 || len(w.ports) == 0 {
		t.Fatalf("no site with a server:\n%s", p.caddyfile)
	}
	w.Layout = func() string { return w.Preamble() + text }
	if w.Caddy == nil {
		w.Run(t)
	} else if err := w.Reload(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	found := aClient.FindStringSubmatch(p.caddyfile)
	if found == nil {
		t.Fatal("the Caddyfile has no client, so nobody can have a key")
	}
	w.client = found[1]
	w.key = w.issued(t, w.client)
}

// issued is a key of a client of the configuration, by the command that the pages name.
func (w *pageWorld) issued(t *testing.T, client string) string {
	t.Helper()
	command, err := harness.Command(w.Dir, nil, "veeam-auth", "keys", "issue", client, "--for", "90d", "--address", w.Caddy.Admin)
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// port is where a site of the page listens.
func (w *pageWorld) port(t *testing.T, base string) (host string, port int, secure bool) {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	port, found := w.ports[u.Host]
	if !found {
		t.Fatalf("the page has no site %s", base)
	}
	return u.Hostname(), port, u.Scheme == "https"
}

func TestEachClientPageWorksAsItStands(t *testing.T) {
	names, err := filepath.Glob(docsClients + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(filepath.Join(docsClients, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	w := &pageWorld{World: harness.New(t), t: t}
	seen := []string{}
	for _, path := range names {
		name := filepath.Base(path)
		if name == "README.md" {
			continue
		}
		seen = append(seen, strings.TrimSuffix(name, ".md"))
		if !strings.Contains(string(index), "]("+name+")") {
			t.Errorf("the index does not link %s", name)
		}
		t.Run(strings.TrimSuffix(name, ".md"), func(t *testing.T) {
			p := readPage(t, name)
			p.agrees(t)
			w.load(t, p)
			received := w.replay(t, p)
			received += w.shell(t, p)
			w.gaps(t, p)
			w.clean(t, received)
		})
	}
	files, err := filepath.Glob("testdata/pages/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".txtar"); !slices.Contains(seen, name) {
			t.Errorf("%s belongs to no page", file)
		}
	}
	if len(seen) < 11 {
		t.Errorf("found %v", seen)
	}
}

// agrees demands that each snippet for a client has an address of the page's table, and
// that one has the user and the password.
func (p *page) agrees(t *testing.T) {
	t.Helper()
	all := strings.Join(p.snippets, "\n")
	if !strings.Contains(all, p.user) || !strings.Contains(all, p.password) {
		t.Errorf("no snippet has the user %s and the password %s", p.user, p.password)
	}
	for _, s := range p.snippets {
		if !slices.ContainsFunc(p.bases, func(base string) bool {
			u, err := url.Parse(base)
			return err == nil && strings.Contains(s, u.Hostname()) && strings.Contains(s, u.Port())
		}) {
			t.Errorf("no base URL of the table is in\n%s", s)
		}
	}
	for _, base := range p.bases {
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(all, u.Port()) {
			t.Errorf("no snippet uses %s", base)
		}
	}
}

// replay sends the requests of the file of a page, and returns all that was received.
func (w *pageWorld) replay(t *testing.T, p *page) (received string) {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/pages/" + strings.TrimSuffix(p.name, ".md") + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(archive.Comment), "https://github.com/") {
		t.Error("the file of requests names no source")
	}
	vars := map[string]string{
		"user": p.user, "password": p.password, "client": w.client, "key": w.key, "basic": base64.StdEncoding.EncodeToString([]byte(p.user + ":" + p.password)),
	}
	if strings.HasPrefix(p.password, "vak_") {
		vars["password"] = w.key
	}
	withKey := false
	succeeded := map[string]bool{}
	for _, file := range archive.Files {
		// The name is: base URL, status, what it is, and perhaps after a colon what the answer says.
		words := strings.SplitN(file.Name, " ", 3)
		if len(words) != 3 || !slices.Contains(p.bases, words[0]) {
			t.Fatalf("%q does not begin with a base URL of the page and a status", file.Name)
		}
		status, text := w.exchange(t, words[0], string(file.Data), vars)
		received += text
		if strconv.Itoa(status) != words[1] {
			t.Errorf("%s: %d\n%s", file.Name, status, text)
		}
		_, said, _ := strings.Cut(words[2], ": ")
		for part := range strings.SplitSeq(said, ", ") {
			if !strings.Contains(text, part) {
				t.Errorf("%s: no %q in\n%s", file.Name, part, text)
			}
		}
		withKey = withKey || status/100 == 2 && strings.Contains(string(file.Data), "{key}")
		if status/100 == 2 {
			succeeded[words[0]] = true
		}
	}
	if !withKey {
		t.Error("no request with a key of the client succeeds")
	}
	for _, base := range p.bases {
		if !succeeded[base] {
			t.Errorf("no request to %s succeeds", base)
		}
	}
	return received
}

// clean demands that no client has received a secret of a server, and that one session
// at each server has served all.
func (w *pageWorld) clean(t *testing.T, received string) {
	t.Helper()
	for _, s := range w.servers {
		for _, issued := range append(s.Issued(), veeamtest.DefaultPassword, veeamtest.DefaultTOTPSecret) {
			if strings.Contains(received, issued) {
				t.Errorf("%s: a client has received %.20q", s.Profile(), issued)
			}
		}
		if c := s.Counters(); c.Logins != 1 || c.Logouts != 0 {
			t.Errorf("%s: %d logins and %d logouts at the server", s.Profile(), c.Logins, c.Logouts)
		}
	}
}

// typed is a text with the ports of the sites in place of those of the page.
func (w *pageWorld) typed(text string) string {
	for site, port := range w.ports {
		host, _, _ := strings.Cut(site, ":")
		text = strings.ReplaceAll(text, site, fmt.Sprintf("%s:%d", host, port))
	}
	return text
}

// The page for operators, in a real Chromium.

package browser

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// pageScene is a world whose Caddy has the page, with accounts in several states.
type pageScene struct {
	*world
	mfa  *veeamtest.Server // asks for codes
	site map[string]string // URLs, by the name of their account
}

// grafana is a client; its hash is that of basicPassword.
const grafana = "grafana"

func newPageScene(t *testing.T, more int) *pageScene {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Skip("there is no chromium in PATH")
	}
	w := &world{dir: t.TempDir(), executed: map[string]int{}}
	s := &pageScene{world: w, site: map[string]string{}}
	w.server = veeamtest.New(veeamtest.VBR13)
	s.mfa = veeamtest.New(veeamtest.Azure, veeamtest.WithAccount(veeamtest.Account{Username: "svc-azure", Password: "azure", TOTPSecret: pageSeed}))
	for _, server := range []*veeamtest.Server{w.server, s.mfa} {
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
	}
	w.attacker = httptest.NewServer(http.HandlerFunc(attack))
	t.Cleanup(w.attacker.Close)
	secret := func(text string) string {
		path := filepath.Join(w.dir, "secret-"+text)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "{file." + path + "}"
	}
	ports, err := harness.FreePorts(4)
	if err != nil {
		t.Fatal(err)
	}
	var config strings.Builder
	config.WriteString("{\n\tadmin {$CADDY_ADMIN} {\n\t\torigins {$CADDY_ADMIN} \"\"\n\t}\n\tveeam_auth {\n\t\tpage\n\t}\n}\n")
	site := func(at int, name string, server *veeamtest.Server, product, body string) {
		s.site[name] = fmt.Sprintf("http://127.0.0.1:%d", ports[at])
		fmt.Fprintf(&config, "http://:%d {\n\tbind 127.0.0.1\n\tveeam_auth %s {\n\t\tproduct %s\n\t\ttls_pin %s\n%s\t}\n}\n", ports[at], server.URL(), product, harness.Pin(server), body)
	}
	accounts := "\t\taccount svc-monitor " + secret(veeamtest.DefaultPassword) + "\n"
	for i := range more {
		accounts += fmt.Sprintf("\t\taccount tenant-%03d %s\n", i+1, secret("tenant"))
	}
	site(0, "svc-monitor", w.server, "vbr", accounts+"\t\tclient "+grafana+" "+basicHash+"\n\t\tallow operation read\n\t\tact_as {http.request.header.X-Account}\n")
	site(1, "svc-restore", w.server, "vbr", "\t\taccount svc-restore "+secret("wrong")+"\n")
	site(2, "svc-azure", s.mfa, "azure", "\t\taccount svc-azure "+secret("azure")+"\n")
	fmt.Fprintf(&config, "http://:%d {\n\tbind 127.0.0.1\n\tbasic_auth {\n\t\t%s %s\n\t}\n\tveeam_auth_page\n}\n", ports[3], basicUser, basicHash)
	s.site["page"] = fmt.Sprintf("http://localhost:%d", ports[3])
	path := filepath.Join(w.dir, "Caddyfile")
	if err := os.WriteFile(path, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if w.caddy, err = harness.StartCaddy(w.dir, path, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.caddy.Stop)
	w.startBrowser(t)
	return s
}

// pageSeed is the seed of the account that has codes; the sidecar does not know it.
const pageSeed = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"

func (s *pageScene) url() string { return "http://" + s.caddy.Admin + "/veeam_auth/" }

// request sends a request of a program to a site.
func (s *pageScene) request(t *testing.T, account, path string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.site[account]+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if account == "svc-monitor" {
		req.Header.Set("X-Account", account)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// shows waits until a condition holds in the page.
func (s *pageScene) shows(t *testing.T, condition string) {
	t.Helper()
	for deadline := time.Now().Add(harness.Patience); ; time.Sleep(50 * time.Millisecond) {
		if value, err := chromedp.Run(s.browser, chromedp.Evaluate[bool]("Boolean("+condition+")")); err == nil && value {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the page does not show %s: %s", condition, eval[string](t, s.world, "document.body.innerText"))
		}
	}
}

// shot writes a picture of the page into the folder of VEEAM_AUTH_SHOTS, by default one
// that is removed after the test.
func (s *pageScene) shot(t *testing.T, name string) {
	t.Helper()
	picture, err := chromedp.Run(s.browser, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	folder := os.Getenv("VEEAM_AUTH_SHOTS")
	if folder == "" {
		folder = s.dir
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o600); err != nil {
		t.Fatal(err)
	}
}

// look chooses the size of the window, and dark or light.
func (s *pageScene) look(t *testing.T, width, height int64, scheme string) {
	t.Helper()
	for _, action := range []chromedp.Action[chromedp.Void]{
		chromedp.EmulateViewport(width, height),
		chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
			})
			return err
		}),
	} {
		if err := s.try(action); err != nil {
			t.Fatal(err)
		}
	}
}

func TestThePageShowsWhatOperatorsNeed(t *testing.T) {
	s := newPageScene(t, 0)
	s.look(t, 1200, 800, "light")
	s.request(t, "svc-monitor", "/api/v1/jobs")
	s.visit(t, s.url())
	s.shows(t, "document.querySelector('#accounts, [role=tabpanel] tbody')")
	s.shot(t, "well")
	s.request(t, "svc-restore", "/api/v1/jobs")
	s.request(t, "svc-azure", "/api/v8.1/policies")
	s.shows(t, "document.body.innerText.includes('Held')")
	s.shot(t, "held")
	s.look(t, 390, 844, "light")
	s.shot(t, "phone")
	s.look(t, 1200, 800, "dark")
	s.shot(t, "dark")
}

// A password that is changed under way: noticed in its file however that is
// replaced, tried once, and used when the server has accepted it.

package sidecar

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// noticedWithin is how long a changed file may go unnoticed.
const noticedWithin = 2 * time.Second

// replacement is a way in which the content of a file changes.
type replacement struct {
	name    string
	replace func(path, text string) error
}

var replacements = []replacement{
	{"by writing", byWriting},
	{"by renaming", byRenaming},
	{"by truncating and writing in two steps", inTwoSteps},
	{"by writing in place", inPlace},
	{"by swapping a link", bySwappingALink},
	{"by swapping the link of a folder", asKubernetesDoes},
}

// inTwoSteps is how a slow program writes.
func inTwoSteps(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	time.Sleep(200 * time.Millisecond)
	if _, err := f.WriteString(text[:len(text)/2]); err != nil {
		return err
	}
	time.Sleep(200 * time.Millisecond)
	_, err = f.WriteString(text[len(text)/2:])
	return err
}

// inPlace leaves the file and its length as they are.
func inPlace(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt([]byte(text), 0)
	return err
}

// asKubernetesDoes has the file behind two links, of which that of the folder is
// replaced: password → ..data/password, ..data → a folder with a date.
func asKubernetesDoes(path, text string) error {
	dir, name := filepath.Dir(path)+"/mount_"+filepath.Base(path), filepath.Base(path)
	folder := fmt.Sprintf("..%d", time.Now().UnixNano())
	if err := os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
		return err
	}
	if err := byWriting(filepath.Join(dir, folder, name), text); err != nil {
		return err
	}
	before, _ := os.Readlink(filepath.Join(dir, "..data"))
	if err := os.Symlink(folder, filepath.Join(dir, "..data_tmp")); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		return err
	}
	if target := filepath.Join(dir, "..data", name); !leadsTo(path, target) {
		return link(path, target)
	}
	return os.RemoveAll(filepath.Join(dir, before))
}

func leadsTo(path, target string) bool {
	found, err := os.Readlink(path)
	return err == nil && found == target
}

func link(path, target string) error {
	if err := os.Symlink(target, path+".link"); err != nil {
		return err
	}
	return os.Rename(path+".link", path)
}

// keepAsking has the site asked all the time until the test is over, and no
// request may fail.
func (s *site) keepAsking(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
				a, err := s.client.patient(s.protected)
				if err == nil && a.status != http.StatusOK {
					err = fmt.Errorf("%v", a)
				}
				if err != nil {
					t.Errorf("%s: %v", s.Name, err)
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		stop()
		all.Wait()
	})
}

// change gives the account another password, at the server and in the file.
func (s *site) change(t *testing.T, password string, replace func(path, text string) error) {
	t.Helper()
	s.world.leaks.keep(password)
	s.Server.SetPassword(veeamtest.DefaultUser, password)
	if err := replace(s.file("password"), password+"\n"); err != nil {
		t.Fatal(err)
	}
}

func TestAPasswordThatIsReplacedUnderTrafficIsUsedWithinTwoSeconds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		w.add(p)
	}
	w.start()
	for _, s := range w.sites {
		t.Run(s.Product, func(t *testing.T) {
			t.Parallel()
			s.client.ok(t, s.protected)
			s.keepAsking(t)
			logins, stalled := int64(1), int64(0)
			for round := range 2 {
				for i, r := range replacements {
					began := time.Now()
					s.change(t, fmt.Sprintf("changed-%d-%d", round, i), r.replace)
					if time.Since(began) > upstream.WatchEvery {
						stalled++ // a half that lies there for so long is what the file says
					}
					logins++
					harness.Eventually(t, r.name+", the new password is used", func() bool { return s.Server.Counters().Logins == logins })
				}
			}
			if c := s.Server.Counters(); c.TokenRequests != logins+c.Refused || c.Refused > stalled {
				t.Errorf("%d token requests and %d refusals, expected %d and none, or %d on this machine", c.TokenRequests, c.Refused, logins, stalled)
			}
		})
	}
}

func TestARefusedPasswordInTheFileLeavesTheTrafficAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.add(vbr)
	w.start()
	s.client.ok(t, s.protected)
	s.keepAsking(t)
	w.leaks.keep("wrong-pass-1")
	if err := byRenaming(s.file("password"), "wrong-pass-1\n"); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the changed password is tried", func() bool { return s.Server.Counters().Refused == 1 })
	const said = "The server refuses the changed secret of account 'svc-monitor' (password)."
	harness.Eventually(t, "the log says so", func() bool { return strings.Contains(w.svclog(), said) })
	for range 3 { // also in the middle of a reload
		if err := w.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(noticedWithin / 2)
	}
	if c := s.Server.Counters(); c.TokenRequests != 2 || c.Refused != 1 || c.Logouts != 0 {
		t.Errorf("%+v", c)
	}
	if n := w.scrape(t)[`changed_secrets_total{account="svc-monitor",product="vbr",result="refused"}`]; n < 1 {
		t.Errorf("counted %v", n)
	}
	s.change(t, "right-pass-1", byRenaming)
	harness.Eventually(t, "the right password is used", func() bool { return s.Server.Counters().Logins == 2 })
}

func TestTheNextPasswordTakesOverAndBecomesThePassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.add(vbr)
	password, next := s.secret("password", veeamtest.DefaultPassword), s.secret("next_password", "next-pass-1")
	s.Account = fmt.Sprintf("account %s %s {\n\t\t\tnext_password %s\n\t\t}", veeamtest.DefaultUser, password, next)
	w.start()
	s.client.ok(t, s.protected)
	s.keepAsking(t)
	s.Server.SetPassword(veeamtest.DefaultUser, "next-pass-1")
	s.Server.RevokeAll()
	harness.Eventually(t, "next_password is used", func() bool { return s.Server.Counters().Logins == 2 })
	harness.Eventually(t, "the gauge says so", func() bool {
		return w.scrape(t)[`next_password_active{account="svc-monitor",product="vbr"}`] == 1
	})
	if !strings.Contains(w.svclog(), "The password of account 'svc-monitor' is refused, next_password is in use.") {
		t.Error("not in the log")
	}
	s.Account = fmt.Sprintf("account %s %s", veeamtest.DefaultUser, next)
	if err := w.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "it is the password", func() bool {
		return w.scrape(t)[`next_password_active{account="svc-monitor",product="vbr"}`] == 0
	})
	time.Sleep(noticedWithin)
	// One with each, and between them the outdated one once; all else is renewals.
	if c := s.Server.Counters(); c.PasswordGrants != 3 || c.Logins != 2 || c.Logouts != 0 {
		t.Errorf("%+v", c)
	}
}

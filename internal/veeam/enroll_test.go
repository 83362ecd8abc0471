// Tests of second factors: every way in which giving one can end, against the
// emulated servers, under a clock that does not wait.

package veeam

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/totp"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// clinic is a client of an emulated server and a session of its default user.
type clinic struct {
	*testing.T
	server  *veeamtest.Server
	client  *Client
	account *Account
	token   *Token
	kept    []*Enrollment
}

func newClinic(t *testing.T, product string, profile veeamtest.Profile, opts ...veeamtest.Option) *clinic {
	t.Helper()
	s := veeamtest.New(profile, opts...)
	t.Cleanup(s.Close)
	c := &clinic{
		T: t, server: s,
		client: &Client{
			Product: lookup(t, product), Transport: s.Transport(), BaseURL: "https://veeam.test", TOTPLedger: &totp.Ledger{},
		},
		account: &Account{Name: veeamtest.DefaultUser, Password: secret.New(veeamtest.DefaultPassword)},
	}
	c.token = login(t, c.client, c.account)
	return c
}

func (c *clinic) keep(e *Enrollment) error {
	c.kept = append(c.kept, e)
	return nil
}

func (c *clinic) enroll(recreate bool) (*Enrollment, error) {
	return c.client.Enroll(context.Background(), c.account, c.token, recreate, c.keep)
}

// state demands how an attempt has ended, and what the server has of the user.
func (c *clinic) state(err error, want MFAState, on bool) {
	c.Helper()
	var step *MFAError
	if !errors.As(err, &step) || step.State != want {
		c.Errorf("got %v, want the state %d", err, want)
	}
	if seed := c.server.TOTPSecret(veeamtest.DefaultUser); (seed != "") != on {
		c.Errorf("the server has the seed %q", seed)
	}
	for _, issued := range c.server.Issued() {
		if strings.Contains(err.Error(), issued) {
			c.Errorf("the error repeats a secret: %v", err)
		}
	}
}

var enrolls = []struct {
	product string
	profile veeamtest.Profile
	accept  string // of the operation that puts it in force
	disable string
}{
	{"azure", veeamtest.Azure, "acceptMfa", "disableMfa"},
	{"aws", veeamtest.AWS, "acceptMfa", "disableMfa"},
	{"vspc", veeamtest.VSPC, "logins/totp", "logins/{loginId}"},
}

// each runs a test for every product that gives out second factors.
func each(t *testing.T, run func(c *clinic, accept, disable string)) {
	t.Helper()
	for _, e := range enrolls {
		t.Run(e.product, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { run(newClinic(t, e.product, e.profile), e.accept, e.disable) })
		})
	}
}

func TestAnEnrolledUserLogsInWithWhatWasKept(t *testing.T) {
	each(t, func(c *clinic, _, _ string) {
		e, err := c.enroll(false)
		if err != nil {
			c.Fatal(err)
		}
		if len(c.kept) != 1 || c.kept[0] != e || e.Secret.Reveal() != c.server.TOTPSecret(veeamtest.DefaultUser) {
			c.Error("what was kept is not what is in force")
		}
		if want := len(c.server.ScratchCodes(veeamtest.DefaultUser)); len(e.ScratchCodes) != want {
			c.Errorf("%d scratch codes, not %d", len(e.ScratchCodes), want)
		}
		// The next login is one of a client that knows nothing of the enrolment.
		c.account.TOTP = newTOTP(c.T, e.Secret.Reveal())
		if token := login(c.T, c.client, c.account); token.Grant != GrantMFA {
			c.Errorf("logged in by %s", token.Grant)
		}
		if got := c.server.Counters().DuplicateTOTP; got != 0 {
			c.Errorf("%d codes were sent twice", got)
		}
		if err := c.client.DisableMFA(context.Background(), c.account, c.token); err != nil {
			c.Fatal(err)
		}
		if c.server.TOTPSecret(veeamtest.DefaultUser) != "" {
			c.Error("the second factor is still on")
		}
	})
}

func TestNothingIsInForceBeforeItIsKept(t *testing.T) {
	each(t, func(c *clinic, _, _ string) {
		full := errors.New("no space left")
		_, err := c.client.Enroll(context.Background(), c.account, c.token, false, func(*Enrollment) error {
			if c.server.TOTPSecret(veeamtest.DefaultUser) != "" {
				c.Error("the secret is in force before it is kept")
			}
			return full
		})
		if !errors.Is(err, full) {
			c.Error(err)
		}
		c.state(err, MFAUnchanged, false)
		_, err = c.client.Enroll(context.Background(), c.account, c.token, false, nil)
		c.state(err, MFAUnchanged, false)
	})
}

func TestARefusedCodeLeavesTheUserAlone(t *testing.T) {
	each(t, func(c *clinic, accept, _ string) {
		c.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultStatus, Status: 400, On: veeamtest.OnProtected, Match: accept})
		_, err := c.enroll(false)
		c.state(err, MFAUnchanged, false)
		if !strings.Contains(err.Error(), "clocks") {
			c.Error(err)
		}
	})
}

// The answer to the first code is lost, but the server has taken it: the login
// that verifies shows it.
func TestALostConfirmationIsFoundOut(t *testing.T) {
	each(t, func(c *clinic, accept, _ string) {
		c.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultReset, After: true, Count: 3, On: veeamtest.OnProtected, Match: accept})
		if _, err := c.enroll(false); err != nil {
			c.Error(err)
		}
	})
}

func TestAConfirmationThatNeverArrivedIsFoundOut(t *testing.T) {
	each(t, func(c *clinic, accept, _ string) {
		c.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultReset, Count: 3, On: veeamtest.OnProtected, Match: accept})
		_, err := c.enroll(false)
		c.state(err, MFAUnchanged, false)
	})
}

func TestAFailedVerificationIsUndone(t *testing.T) {
	each(t, func(c *clinic, _, _ string) {
		c.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultStatus, Status: 503})
		_, err := c.enroll(false)
		c.state(err, MFAUnchanged, false)
	})
}

func TestWhatCannotBeUndoneIsSaid(t *testing.T) {
	each(t, func(c *clinic, accept, disable string) {
		stuck := veeamtest.Fault{Kind: veeamtest.FaultStatus, Status: 500, On: veeamtest.OnProtected, Match: disable}
		c.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultStatus, Status: 503}, stuck)
		_, err := c.enroll(false)
		c.state(err, MFAChanged, true)
	})
	each(t, func(c *clinic, accept, disable string) {
		c.server.SetFault(
			veeamtest.Fault{Kind: veeamtest.FaultReset, After: true, Count: 3, On: veeamtest.OnProtected, Match: accept},
			veeamtest.Fault{Kind: veeamtest.FaultStatus, Status: 503},
			veeamtest.Fault{Kind: veeamtest.FaultStatus, Status: 500, On: veeamtest.OnProtected, Match: disable})
		_, err := c.enroll(false)
		c.state(err, MFAUnknown, true)
	})
}

// Once the code is sent, giving up would leave the user in a state that nobody
// knows.
func TestGivingUpAfterTheCodeIsSentChangesNothing(t *testing.T) {
	each(t, func(c *clinic, _, _ string) {
		ctx, cancel := context.WithCancel(context.Background())
		carrier := c.client.Transport
		c.client.Transport = transportFunc(func(req *http.Request) (*http.Response, error) {
			if strings.Contains(req.URL.Path, "acceptMfa") || strings.HasSuffix(req.URL.Path, "/totp") {
				cancel()
			}
			return carrier.RoundTrip(req)
		})
		if _, err := c.client.Enroll(ctx, c.account, c.token, false, c.keep); err != nil {
			c.Error(err)
		}
	})
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestASecondEnrolmentNeedsToBeAskedFor(t *testing.T) {
	each(t, func(c *clinic, _, _ string) {
		first, err := c.enroll(false)
		if err != nil {
			c.Fatal(err)
		}
		_, err = c.enroll(false)
		c.state(err, MFAUnchanged, true)
		second, err := c.enroll(true)
		if c.client.Product.Name == "vspc" { // has no call for it
			c.state(err, MFAUnchanged, true)
			return
		}
		if err != nil || second.Secret.Equal(first.Secret) {
			c.Errorf("%v", err)
		}

		// If the new secret cannot be verified the user is not left without any.
		c.server.SetFault(veeamtest.Fault{Kind: veeamtest.FaultStatus, Status: 503})
		_, err = c.enroll(true)
		c.state(err, MFAChanged, true)
	})
}

func TestTurningOffSaysWhatItHasDone(t *testing.T) {
	for name, tt := range map[string]struct {
		faults []veeamtest.Fault
		want   MFAState
		on     bool
	}{
		"refused":       {[]veeamtest.Fault{{Kind: veeamtest.FaultStatus, Status: 403, On: veeamtest.OnProtected}}, MFAUnchanged, true},
		"never arrived": {[]veeamtest.Fault{{Kind: veeamtest.FaultReset, On: veeamtest.OnProtected, Match: "disableMfa"}}, MFAUnchanged, true},
		"unverified":    {[]veeamtest.Fault{{Kind: veeamtest.FaultStatus, Status: 503}}, MFAChanged, false},
		"lost": {[]veeamtest.Fault{
			{Kind: veeamtest.FaultReset, After: true, On: veeamtest.OnProtected, Match: "disableMfa"}, {Kind: veeamtest.FaultStatus, Status: 503},
		}, MFAUnknown, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClinic(t, "azure", veeamtest.Azure)
				if _, err := c.enroll(false); err != nil {
					t.Fatal(err)
				}
				c.server.SetFault(tt.faults...)
				c.state(c.client.DisableMFA(context.Background(), c.account, c.token), tt.want, tt.on)
			})
		})
	}
}

func TestVBRGivesOutNoSecondFactors(t *testing.T) {
	c := newClinic(t, "vbr", veeamtest.VBR13)
	_, err := c.enroll(false)
	c.state(err, MFAUnchanged, false)
	c.state(c.client.DisableMFA(context.Background(), c.account, c.token), MFAUnchanged, false)
	if !strings.Contains(err.Error(), "service account") {
		t.Error(err)
	}
}

// The seed of the tests below is that of a document.
const printedSeed = "5XKNCVA54BPWQWCXLJZYLMIBD4"

func TestWhatServersIssueIsUnderstood(t *testing.T) {
	azure := lookup(t, "azure")
	for name, tt := range map[string]struct{ secret, uri, wantSecret, wantURI string }{
		"as printed, with a broken escape": {
			printedSeed, "otpauth://totp/administrator&40ip-172-31-71-115?secret=" + printedSeed + "&issuer=ip-172-31-71-115",
			printedSeed, "otpauth://totp/administrator%40ip-172-31-71-115?secret=" + printedSeed + "&issuer=ip-172-31-71-115",
		},
		"only a URI": {
			"", "otpauth://totp/vspc%5cAdministrator?secret=" + printedSeed + "&issuer=My%20Company%20Portal",
			printedSeed, "otpauth://totp/vspc%5cAdministrator?secret=" + printedSeed + "&issuer=My%20Company%20Portal",
		},
		"only a secret, with blanks": {
			"5xkn cva5 4bpw qwcx ljzy lmib d4", "",
			printedSeed, "otpauth://totp/Veeam%20Backup%20for%20Microsoft%20Azure:svc%5Cx?secret=" + printedSeed + "&issuer=Veeam%20Backup%20for%20Microsoft%20Azure",
		},
		"contradiction: the secret counts": {
			printedSeed, "otpauth://totp/a?secret=JBSWY3DPEHPK3PXP",
			printedSeed, "otpauth://totp/Veeam%20Backup%20for%20Microsoft%20Azure:svc%5Cx?secret=" + printedSeed + "&issuer=Veeam%20Backup%20for%20Microsoft%20Azure",
		},
		"unusual codes: only the URI says it": {
			printedSeed, "otpauth://totp/a?secret=" + printedSeed + "&digits=8",
			"otpauth://totp/a?secret=" + printedSeed + "&digits=8", "otpauth://totp/a?secret=" + printedSeed + "&digits=8",
		},
	} {
		e, err := newEnrollment(azure, `svc\x`, tt.secret, tt.uri)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if e.Secret.Reveal() != tt.wantSecret || e.URI.Reveal() != tt.wantURI {
			t.Errorf("%s: %s %s", name, e.Secret.Reveal(), e.URI.Reveal())
		}
		if _, err := totp.Parse(e.URI); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, wrong := range []string{"", "no secret!", "otpauth://hotp/x?secret=" + printedSeed} {
		if _, err := newEnrollment(azure, "x", "", wrong); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}

func FuzzEnrollment(f *testing.F) {
	f.Add(printedSeed, "otpauth://totp/administrator&40host?secret="+printedSeed+"&issuer=host")
	f.Add("", "otpauth://totp/a?secret=JBSWY3DPEHPK3PXP&period=5&algorithm=SHA256")
	p, _ := Lookup("azure")
	f.Fuzz(func(t *testing.T, text, uri string) {
		e, err := newEnrollment(p, "svc", text, uri)
		if err != nil {
			return
		}
		stored, err := totp.Parse(e.Secret)
		if err != nil {
			t.Fatalf("what is stored cannot be read: %v", err)
		}
		if !reflect.DeepEqual(stored, e.totp) {
			t.Error("what is stored makes other codes")
		}
		if _, err := totp.Parse(e.URI); err != nil {
			t.Errorf("the QR code cannot be read: %v", err)
		}
	})
}

func TestEnrollFollowsTheClockOfTheServer(t *testing.T) {
	for _, e := range enrolls {
		t.Run(e.product, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := veeamtest.WithClock(func() time.Time { return time.Now().Add(75 * time.Second) })
				c := newClinic(t, e.product, e.profile, clock)
				enrolled, err := c.enroll(false)
				if err != nil || enrolled == nil || c.server.TOTPSecret(veeamtest.DefaultUser) == "" {
					t.Errorf("%+v, %v", enrolled, err)
				}
			})
		})
	}
}

// The products that tests of a table run over.

package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// ProductsBut returns the names of all products but those that are named: for these a
// test has to say why it does without them.
func ProductsBut(without ...string) []string {
	return slices.DeleteFunc(veeam.Names(), func(name string) bool { return slices.Contains(without, name) })
}

// HasEveryProduct fails the test unless a table has a row for every product but those
// that are named after it.
func HasEveryProduct(tb testing.TB, table []string, without ...string) {
	tb.Helper()
	for _, name := range ProductsBut(without...) {
		if !slices.Contains(table, name) {
			tb.Errorf("the table has no row for %s", name)
		}
	}
}

// Logon is how clients of a product log in and present what they got, as its documents
// say.
type Logon struct {
	Path  string // of the token endpoint
	Grant string // by password
	Basic bool   // with Basic, for a session in a header; others with a form, for a bearer token
}

// SessionHeader is the header of a session, as Enterprise Manager spells it.
const SessionHeader = "X-RestSvcSessionId"

// Request is the login of a user at a site.
func (l Logon) Request(site, user, password string) (*http.Request, error) {
	if l.Basic {
		req, err := http.NewRequest(http.MethodPost, site+l.Path, http.NoBody)
		if err == nil {
			req.SetBasicAuth(user, password)
			req.Header.Set("Accept", "application/json")
		}
		return req, err
	}
	form := url.Values{"grant_type": {l.Grant}, "username": {user}, "password": {password}}
	req, err := http.NewRequest(http.MethodPost, site+l.Path, strings.NewReader(form.Encode()))
	if err == nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req, err
}

// Present puts into the headers of a request what a login got, in the place of another.
func (l Logon) Present(h http.Header, access string) {
	if !l.Basic {
		h.Set("Authorization", "Bearer "+access)
		return
	}
	h.Del("Authorization")
	h[SessionHeader] = []string{access}
}

// Read returns what a login got: refresh is empty for a session.
func (l Logon) Read(status int, h http.Header, body []byte) (access, refresh string, err error) {
	if l.Basic {
		if access = h.Get(SessionHeader); status != http.StatusCreated || access == "" {
			return "", "", fmt.Errorf("no session: %d %.400s", status, body)
		}
		return access, "", nil
	}
	var pair struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	switch err := json.Unmarshal(body, &pair); {
	case status != http.StatusOK, err == nil && (pair.Access == "" || pair.Refresh == ""):
		err = errors.New("no tokens")
		fallthrough
	case err != nil:
		return "", "", fmt.Errorf("%w: %d %.400s", err, status, body)
	}
	return pair.Access, pair.Refresh, nil
}

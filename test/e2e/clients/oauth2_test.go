// golang.org/x/oauth2 with the password grant, as Go programs use it.

package clients

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

func TestGoOAuth2LogsInCallsRenewsAndLogsOut(t *testing.T) {
	for _, s := range sites(t, "1h") {
		ctx := t.Context()
		config := &oauth2.Config{Endpoint: oauth2.Endpoint{TokenURL: s.base + s.token}}
		token, err := config.PasswordCredentialsToken(ctx, clientName, clientPassword)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if left := time.Until(token.Expiry); left < 55*time.Minute || left > time.Hour || token.RefreshToken == "" {
			t.Errorf("%s: expires in %v", s.name, left)
		}
		get(t, config.Client(ctx, token), s.base+s.protected, http.StatusOK)

		// What has expired is renewed before the call, with the refresh token.
		old := *token
		old.Expiry = time.Now().Add(-time.Second)
		source := config.TokenSource(ctx, &old)
		renewed, err := source.Token()
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if renewed.AccessToken == token.AccessToken || renewed.RefreshToken == token.RefreshToken {
			t.Errorf("%s: the tokens are as before", s.name)
		}
		client := oauth2.NewClient(ctx, source)
		get(t, client, s.base+s.protected, http.StatusOK)

		method, path, _ := strings.Cut(s.logout, " ")
		req, err := http.NewRequestWithContext(ctx, method, s.base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusNoContent {
			t.Errorf("%s: logout: %s", s.name, res.Status)
		}
		get(t, client, s.base+s.protected, http.StatusUnauthorized)
		refusedWith(ctx, t, s, config, renewed)
		client.CloseIdleConnections()
		http.DefaultClient.CloseIdleConnections()
	}
}

// refusedWith demands that the library understands the refusal of a token that
// was logged out.
func refusedWith(ctx context.Context, t *testing.T, s *site, config *oauth2.Config, token *oauth2.Token) {
	t.Helper()
	late := *token
	late.Expiry = time.Now().Add(-time.Second)
	var refused *oauth2.RetrieveError
	if _, err := config.TokenSource(ctx, &late).Token(); !errors.As(err, &refused) || refused.Response.StatusCode/100 != 4 {
		t.Errorf("%s: a refresh after the logout: %v", s.name, err)
	}
	if _, err := config.PasswordCredentialsToken(ctx, clientName, "wrong"); !errors.As(err, &refused) || refused.Response.StatusCode/100 != 4 {
		t.Errorf("%s: a wrong password: %v", s.name, err)
	}
}

func get(t *testing.T, client *http.Client, url string, status int) {
	t.Helper()
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != status {
		t.Errorf("GET %s: %s, not %d", url, res.Status, status)
	}
}

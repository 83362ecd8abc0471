// Tests of the key services: what is sent, what is repeated and awaited, and what
// the errors mean.

package veeam

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

var testToken = &Token{Access: secret.New("access-canary")}

const (
	pairBody   = `{"data":{"privateKey":"<RSAKeyValue>private</RSAKeyValue>","publicKey":"<RSAKeyValue>public</RSAKeyValue>"}}`
	failedBody = `{"errors":[{"message":"x","type":"logical","code":1210}]}`
)

func queued(location string) canned {
	return canned{status: 202, header: http.Header{"Location": {location}}}
}

const actionAt = "https://veeam.test:9419/api/v3/asyncActions/ba547d14-c556-42bb-b85c-eeeb16e2f5e7"

func TestRSAKeysAreAskedForAsDocumented(t *testing.T) {
	c, s := client(t, "vspc", canned{status: 200, body: pairBody})
	c.APIVersion = "3.6.1"
	pair, err := c.RSAKeys(context.Background(), testToken, 4096, Select{"privateKey", "publicKey"})
	if err != nil || pair.Private.Reveal() != "<RSAKeyValue>private</RSAKeyValue>" || string(pair.Public) != "<RSAKeyValue>public</RSAKeyValue>" {
		t.Errorf("%v %v", pair, err)
	}
	u, _ := url.Parse(s.seen[0].url)
	if s.seen[0].method != "GET" || u.Path != "/api/v3/authentication/keys/rsa" || u.Query().Get("keySize") != "4096" ||
		u.Query().Get("select") != `[{"propertyPath":"privateKey"},{"propertyPath":"publicKey"}]` {
		t.Error(s.seen[0].url)
	}
	header := s.seen[0].header
	if header.Get("X-Client-Version") != "3.6.1" || header.Get("X-Request-Id") != "" || header.Get("Authorization") != "Bearer access-canary" {
		t.Error(header)
	}
}

func TestARepeatedRequestKeepsItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := client(t, "vspc",
			canned{err: errors.New("connection reset")}, canned{status: 520, body: `{"errors":[{"type":"unspecified","code":520}]}`},
			canned{status: 200, body: `{"data":{"privateKey":"QUI=","publicKey":"Q0Q="}}`})
		start := time.Now()
		pair, err := c.PKCS12(context.Background(), testToken, "CN=x", 0, secret.New("p12-canary"), nil)
		if err != nil || pair.Private.Reveal() != "AB" || !bytes.Equal(pair.Public, []byte("CD")) {
			t.Fatalf("%v %v", pair, err)
		}
		id := s.seen[0].header.Get("X-Request-Id")
		if len(id) != 36 || s.seen[1].header.Get("X-Request-Id") != id || s.seen[2].header.Get("X-Request-Id") != id {
			t.Errorf("ids differ: %v", s.seen)
		}
		if waited := time.Since(start); waited != 3*time.Second {
			t.Errorf("the pauses took %v", waited)
		}
	})
}

func TestAThrottledCallWaitsAsItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := client(t, "vspc", canned{status: 429, body: `{"errors":[{"type":"transport","code":429,"retryAfter":25}]}`}, canned{status: 200, body: pairBody})
		start := time.Now()
		_, err := c.RSAKeys(context.Background(), testToken, 0, nil)
		if waited := time.Since(start); err != nil || waited != 25*time.Second {
			t.Errorf("%v after %v", err, waited)
		}
	})
}

func TestWhatChangesSomethingWithoutAnIDIsSentOnce(t *testing.T) {
	c, s := client(t, "azure", canned{status: 500})
	if _, err := c.do(context.Background(), testToken, userCall("/api/v8/users", "1", "disableMfa", nil)); err == nil || len(s.seen) != 1 {
		t.Errorf("%v, %d requests", err, len(s.seen))
	}
}

func TestAQueuedRequestIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running, done := canned{status: 200, body: `{"data":{"status":"running"}}`}, canned{status: 200, body: `{"data":{"status":"succeed"}}`}
		c, s := client(t, "vspc", queued(actionAt), running, running, done, canned{status: 200, body: `{"data":{"secret":"JBSWY3DPEHPK3PXP"}}`})
		e, err := c.TOTPSecret(context.Background(), testToken, nil)
		if err != nil || e.Secret.Reveal() != "JBSWY3DPEHPK3PXP" {
			t.Fatalf("%v", err)
		}
		if last := s.seen[4].url; last != actionAt+"/result" {
			t.Error(last)
		}
	})
}

func TestAQueuedRequestIsNotAwaitedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := veeamtest.New(veeamtest.VSPC, veeamtest.WithActionPolls(1<<30))
		c := &Client{Product: lookup(t, "vspc"), Transport: s.Transport(), BaseURL: "https://veeam.test"}
		token := login(t, c, &Account{Name: veeamtest.DefaultUser, Password: secret.New(veeamtest.DefaultPassword)})
		start := time.Now()
		_, err := c.TOTPSecret(context.Background(), token, nil)
		if e := fault(t, err, KindTimeout); !errors.Is(e, errActionTooLong) || time.Since(start) > awaitFor {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// The session goes to this server's actions and nowhere else.
func TestALocationElsewhereIsNotFollowed(t *testing.T) {
	for _, location := range []string{"", "https://evil.test/", "/api/v3/users/me", "::", "https://evil.test/api/v3/asyncActions/../users"} {
		c, s := client(t, "vspc", queued(location), canned{status: 404})
		_, err := c.TOTPSecret(context.Background(), testToken, nil)
		if err == nil {
			t.Errorf("%q is followed", location)
		}
		for _, request := range s.seen {
			if !strings.HasPrefix(request.url, "https://veeam.test:9419/api/v3/") || strings.Contains(request.url, "users") && !strings.Contains(request.url, "%2F") {
				t.Errorf("%q leads to %s", location, request.url)
			}
		}
	}
}

func TestWhyAQueuedRequestFailed(t *testing.T) {
	failed := canned{status: 200, body: `{"data":{"status":"failed"}}`}
	for name, tt := range map[string]struct {
		answers []canned
		kind    Kind
		says    string
	}{
		"its result is a refusal": {[]canned{queued(actionAt), failed, {status: 400, body: failedBody}}, KindProtocol, "no private key"},
		"no reason":               {[]canned{queued(actionAt), failed, {status: 200, body: `{}`}}, KindServerFault, "failed"},
		"canceled":                {[]canned{queued(actionAt), {status: 200, body: `{"data":{"status":"canceled"}}`}}, KindServerFault, "canceled"},
	} {
		c, _ := client(t, "vspc", tt.answers...)
		_, err := c.DecryptPKCS12(context.Background(), testToken, []byte("x"), secret.Value{}, nil)
		if e := fault(t, err, tt.kind); !strings.Contains(e.Error(), tt.says) || !strings.Contains(e.Error(), "keys/rsa-pkcs12/decrypt") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatTheErrorsOfACallMean(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		kind   Kind
		says   string
	}{
		{400, failedBody, KindProtocol, "has no private key"},
		{400, `{"errors":[{"type":"logical","code":400}]}`, KindProtocol, "400"},
		{401, "", KindRefused, "another login of the same user"},
		{403, `{"errors":[{"type":"security","code":403}]}`, KindForbidden, "role"},
		{404, "", KindProtocol, "does not support the request"},
		{409, "", KindProtocol, "conflicts"},
		{302, "", KindMalformed, "redirect"},
		{200, "<html>", KindMalformed, "JSON"},
		{200, `{"data":null}`, KindMalformed, "no data"},
		{200, `{"data":{}}`, KindMalformed, "none of the requested properties"},
	} {
		c, _ := client(t, "vspc", canned{status: tt.status, body: tt.body})
		_, err := c.RSAKeys(context.Background(), testToken, 0, nil)
		if e := fault(t, err, tt.kind); !strings.Contains(e.Error(), tt.says) {
			t.Errorf("%d %s: %v", tt.status, tt.body, err)
		}
	}
	c, _ := client(t, "aws")
	_, err := c.RSAKeys(context.Background(), testToken, 0, nil)
	fault(t, err, KindAccount)
}

// The password of a container is in the query, so errors of transports that name
// the URL repeat it.
func TestNoErrorOfACallRepeatsASecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		password := secret.New("p12 canary+/")
		repeat := func(c *Client) {
			c.Transport = transportFunc(func(req *http.Request) (*http.Response, error) {
				return nil, errors.New("Get " + req.URL.String() + " " + req.Header.Get("Authorization"))
			})
		}
		c, _ := client(t, "vspc")
		repeat(c)
		_, err := c.PKCS12(context.Background(), testToken, "CN=x", 0, password, nil)
		_, errDecrypt := c.DecryptPKCS12(context.Background(), testToken, []byte("container-canary"), password, nil)
		all := errors.Join(err, errDecrypt).Error()
		for _, hidden := range []string{"canary", url.QueryEscape("p12 canary+/"), base64.StdEncoding.EncodeToString([]byte("container-canary"))} {
			if strings.Contains(all, hidden) {
				t.Errorf("%q is in %s", hidden, all)
			}
		}
	})
}

func TestAContainerIsMadeOpenedAndAssigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := veeamtest.New(veeamtest.VSPC, veeamtest.WithActionPolls(1))
		c := &Client{Product: lookup(t, "vspc"), Transport: s.Transport(), BaseURL: "https://veeam.test"}
		ctx := context.Background()
		a := &Account{Name: veeamtest.DefaultUser, Password: secret.New(veeamtest.DefaultPassword)}
		token := login(t, c, a)
		pair, err := c.PKCS12(ctx, token, "CN=x", 1024, secret.New("p"), nil)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := c.DecryptPKCS12(ctx, token, []byte(pair.Private.Reveal()), secret.New("p"), nil)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ReadKey([]byte(opened.Private.Reveal()), KeyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		public := veeamtest.PublicKeyXML(&key.private.PublicKey)
		id, err := c.AssignKey(ctx, token, KeyAssignment{Public: []byte(public), Description: "test", ReadOnly: true})
		if err != nil || id == "" {
			t.Fatalf("%q %v", id, err)
		}
		login(t, c, &Account{Name: veeamtest.DefaultUser, Grant: GrantPublicKey, Key: key})
	})
}

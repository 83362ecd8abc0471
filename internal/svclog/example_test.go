// This file holds the examples of the package's documentation.

package svclog_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
)

func ExampleRenderer() {
	body := []byte("grant_type=password&username=benyoung&password=secret")
	request := &svclog.Request{
		Method: http.MethodPost,
		Path:   "/api/oauth2/token",
		Host:   "vbr01:9419",
		Header: http.Header{"X-Api-Version": {"1.2-rev1"}, "Content-Length": {"53"}},
		Body:   svclog.MaskBody(nil, "application/x-www-form-urlencoded", "", body, false),
		Thread: 36,
	}
	at := time.Date(2022, 10, 3, 11, 48, 31, 999_000_000, time.UTC)
	lines := svclog.Renderer{UTC: true}
	out := lines.AppendRequest(nil, at, zapcore.InfoLevel, request)
	out = lines.AppendSentence(out, at, zapcore.ErrorLevel, 36, svclog.LoginFailed("benyoung"), nil)
	_, _ = os.Stdout.Write(out)
	// Output:
	// [03.10.2022 11:48:31.999] <36> Info         [User: Anonymous][POST] request to [/api/oauth2/token] deserialized. Message: [grant_type=password&username=benyoung&password=****]; Parameters: [x-api-version: 1.2-rev1; Content-Length: ****; Host: vbr01:9419; ].
	// [03.10.2022 11:48:31.999] <36> Error        Login failed for user 'benyoung'.
}

func ExampleMaskJSON() {
	answer := `{"access_token": "eyJ…", "token_type": "bearer", "expires_in": 900}`
	fmt.Printf("%s\n", svclog.MaskJSON(nil, []byte(answer)))
	// Output: {"access_token": "****", "token_type": "bearer", "expires_in": 900}
}

func ExampleRead() {
	file := `[03.10.2022 11:48:32.071] <36> Error        Login failed for user 'benyoung'.
[03.10.2022 11:48:32.072] <08> Info         [POST /api/oauth2/token]: [401] {"errorCode":"AccessDenied"}
`
	failed := svclog.Filter{Status: []svclog.StatusRange{{From: 400, To: 499}}}
	err := svclog.Read(context.Background(), strings.NewReader(file), failed, func(r svclog.Record) error {
		fmt.Println(r.Method, r.Path, r.Status, r.Body)
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output: POST /api/oauth2/token 401 {"errorCode":"AccessDenied"}
}

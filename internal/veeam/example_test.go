// Examples that stand in the documentation.

package veeam_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/caddy-veeam/veeam-auth/internal/secret"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

func Example() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.URL.Path, r.FormValue("grant_type"), r.Header.Get("x-api-version"))
		fmt.Fprint(w, `{"access_token":"a","token_type":"bearer","refresh_token":"r","expires_in":900}`)
	}))
	defer server.Close()

	product, _ := veeam.Lookup("vbr")
	client := &veeam.Client{Product: product, BaseURL: server.URL, Transport: server.Client().Transport}
	account := &veeam.Account{Name: "svc-monitor", Password: secret.New("s3cret")}
	token, err := client.Login(context.Background(), account)
	fmt.Println(token.Access, token.Lifetime, token.Grant, err)
	// Output:
	// POST /api/oauth2/token password 1.1-rev0
	// **** 15m0s password <nil>
}

func ExampleClient_Refresh() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("grant_type") == "refresh_token" {
			http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, `{"access_token":"a2","refresh_token":"r2","mfa_token":null,"expires_in":3600}`)
	}))
	defer server.Close()

	ctx := context.Background()
	product, _ := veeam.Lookup("vspc")
	client := &veeam.Client{Product: product, BaseURL: server.URL, Transport: server.Client().Transport}
	account := &veeam.Account{Name: `LAB\svc-monitor`, Password: secret.New("s3cret")}

	token, err := client.Refresh(ctx, account, secret.New("a refresh token of yesterday"))
	var failed *veeam.Error
	if errors.As(err, &failed) && failed.Kind == veeam.KindRefused {
		fmt.Println(failed)
		token, err = client.Login(ctx, account)
	}
	fmt.Println(token.Lifetime, token.Access, err)
	// Output:
	// vspc refresh_token failed: credential refused (400 invalid_grant)
	// 1h0m0s **** <nil>
}

func ExampleProduct_Classify() {
	product, _ := veeam.Lookup("azure")
	fmt.Println(product.Classify("POST", "/api/OAuth2/token/"))
	fmt.Println(product.Classify("DELETE", "/api/oauth2/token"))
	fmt.Println(product.Classify("GET", "/api/v8.1/system/serviceIsUp"))
	fmt.Println(product.Classify("GET", "/api/v8.1/virtualMachines"))
	// Output:
	// token
	// logout
	// anonymous
	// protected
}

func ExampleProduct_ReadTokenRequest() {
	product, _ := veeam.Lookup("vspc")
	body := strings.NewReader("Grant_Type=Password&username=grafana&password=100%&&&")
	r := httptest.NewRequest(http.MethodPost, "/api/v3/token", body)
	request, err := product.ReadTokenRequest(r)
	fmt.Println(request.Grant, request.Username, request.Password.Reveal(), err)
	// Output: password grafana 100% <nil>
}

func ExampleProduct_AppendTokenAnswer() {
	product, _ := veeam.Lookup("aws")
	fmt.Println(string(product.AppendTokenAnswer(nil, veeam.Answer{
		AccessToken: "a", RefreshToken: "r", Lifetime: time.Hour,
		Issued: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), Username: "grafana",
	}, nil)))
	// Output: {"access_token":"a","token_type":"bearer","refresh_token":"r","expires_in":3600,".issued":"2026-05-01T12:00:00",".expires":"2026-05-01T13:00:00","username":"grafana"}
}

func ExampleProduct_AppendError() {
	product, _ := veeam.Lookup("vbr")
	refusal := veeam.Refusal{Reason: veeam.ReasonBadCredential, AtTokenEndpoint: true}
	body, contentType := product.AppendError(nil, refusal)
	fmt.Println(product.Status(refusal), contentType)
	fmt.Println(string(body))
	// Output:
	// 401 application/json; charset=utf-8
	// {"errorCode":"AccessDenied","message":"Authentication failed","resourceId":null}
}

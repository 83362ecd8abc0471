// VSPC as of API 3.5.1: multipart forms, and the login routes in the data envelope that 3.6 dropped.

package veeamtest

import (
	"encoding/base64"
	"net/http"
	"time"
)

func vspc35() *product {
	p := vspc()
	p.multipart = true
	p.build = "8.1.0.21377"
	p.routes = func(s *Server) []route {
		return append(vspcRoutes(s), []route{
			{"POST", "/api/v3/authentication/usernamepassword", grants, legacyForm("password", passwordGrant)},
			{"POST", "/api/v3/authentication/refresh", grants, legacyForm("refresh_token", legacyRefresh)},
			{"POST", "/api/v3/authentication/asymmetricalgorithm", grants, legacyBytes("public_key", legacyChallenge)},
			{"PATCH", "/api/v3/authentication/asymmetricalgorithm", grants, legacyBytes("authorization_code", legacyAnswer)},
		}...)
	}
	return p
}

// legacyDialect is how the old routes speak: the same envelopes as resources.
var legacyDialect = dialect{
	success: func(x *exchange, i issue) any {
		return map[string]any{"data": legacyToken{&i.access, &i.refresh, nil, i.expires.UTC().Format(time.RFC3339)}}
	},
	challenge: func(x *exchange, a *account, mfaToken string) any {
		return map[string]any{"data": legacyToken{nil, nil, &mfaToken, x.s.now().Add(x.s.cfg.mfaLifetime).UTC().Format(time.RFC3339)}}
	},
	refusals: merge(vspcProblems, map[reason]problem{
		missingField:         {status: 400, kind: "logical", message: "A parameter is missing."},
		badCredentials:       {status: 401, kind: "security", message: vspcLoginFailed},
		badRefresh:           {status: 401, kind: "security", message: "The refresh token is not valid."},
		expiredRefresh:       {status: 401, kind: "security", message: "The refresh token has expired."},
		badAuthorizationCode: {status: 401, kind: "security", message: "The answer to the challenge is not valid."},
	}),
	refusal: vspcError,
}

type legacyToken struct {
	AccessToken    *string `json:"accessToken"`
	RefreshToken   *string `json:"refreshToken"`
	MFAToken       *string `json:"mfaToken"`
	ExpirationTime string  `json:"expirationTime"`
}

func legacyForm(grant string, serve func(*exchange)) func(*exchange) {
	return func(x *exchange) {
		known := x.readForm()
		x.dialect, x.grant = &legacyDialect, grant
		x.attempt(func(x *exchange) {
			if !known {
				x.refuseToken(unsupportedMedia)
				return
			}
			serve(x)
		})
	}
}

func legacyBytes(grant string, serve func(*exchange)) func(*exchange) {
	return func(x *exchange) {
		x.readBody()
		x.dialect, x.grant = &legacyDialect, grant
		x.attempt(serve)
	}
}

func legacyRefresh(x *exchange) { x.refresh("refreshToken") }

func legacyChallenge(x *exchange) {
	x.s.mu.Lock()
	l := x.s.loginByKey(x.body)
	x.s.mu.Unlock()
	if l == nil {
		x.refuseToken(badCredentials)
		return
	}
	encrypted, expires, err := x.s.encryptCode(l)
	if err != nil {
		x.refuseToken(badRequest)
		return
	}
	x.json(http.StatusOK, map[string]any{"data": map[string]string{
		"challenge": encrypted, "expirationTime": expires.UTC().Format(time.RFC3339),
	}})
}

// legacyAnswer takes the decrypted bytes as they are.
func legacyAnswer(x *exchange) {
	if x.s.cfg.binaryChallenge {
		x.answerChallenge(base64.StdEncoding.EncodeToString(x.body))
		return
	}
	x.answerChallenge(string(x.body))
}

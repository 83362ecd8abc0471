// This file holds the tests of the words that make a name secret.

package svclog

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
)

// secretHeaders and secretParameters are names that no product describes.
var (
	secretHeaders = strings.Fields(`
		X-Session-Id X-Sessionid X-Session X-User-Session Session X-Functions-Key X-Functionskey X-Credential X-Credentials
		X-User-Pass X-Pass X-Pwd X-Signature X-Hub-Signature-256 X-Sig X-Jwt X-Jwt-Assertion X-Oauth X-Auth X-Key
		X-Amz-Security-Token X-Ms-Token-Aad-Access-Token X-Secret-Value X-Cookies X-Otp-Code X-Pin X-Mfa-Code X-Xsrf
		X-Auth-Data X-Bearer-Value X-Hmac Ocp-Apim-Subscription-Key X-Goog-Iap-Jwt-Assertion X-Authorization-Old
		Sec-WebSocket-Protocol Cf-Access-Jwt-Assertion X-Accesskey X-Sess-Id X-Sess X-Session-Guid X-Dbpass Grpc-Metadata-Authorization
	`)
	secretParameters = strings.Fields(`
		sas sasToken SASToken jwt JWT JWTToken idJwt session sessionId session_id sessionid SESSIONID SessionID userSessionId user-session.id
		JSESSIONID jsessionid PHPSESSID ASP.NET_SessionId key Key key2 api-key userKey user.key functionskey sig Signature
		signature X-Amz-Signature X-Goog-Credential credential credentials code userCode auth oauth pass userPass user_pass pwd
		otp pin pinCode cookie secretValue tokenData mfa csrf session[id] sess_id sess-id sessId sess sessionUid session_guid sessionUuid s%65ssion k%2565y k\u0065y ses%00sion ｓｅｓｓｉｏｎ
	`)
)

// readableHeaders and readableParameters are names that tell an operator something. The
// parameters are those of the products' public descriptions, of paths and queries, and names of
// the same make.
var (
	readableHeaders = strings.Fields(`
		Sec-WebSocket-Key Sec-WebSocket-Version Sec-WebSocket-Extensions Idempotency-Key X-Idempotency-Key Postman-Token
		X-Request-Id X-Correlation-Id Traceparent X-Api-Version X-Client-Version User-Agent Accept-Encoding Content-Type
		Keep-Alive Content-Security-Policy Www-Authenticate Proxy-Authenticate Access-Control-Allow-Credentials
		Access-Control-Request-Headers X-Forwarded-For X-Real-Ip Cf-Ray Cf-Ipcountry X-Country-Code X-Error-Code
		X-Auth-Request-User X-Auth-Request-Email X-Authorization-Mode X-Author X-Authority X-Passenger-Name Sec-Fetch-Mode
		X-Keyword X-Job-Session-Id X-Design X-Config X-Encoding X-Compass
	`)
	readableParameters = strings.Fields(`
		skip limit offset setId orderColumn orderAsc nameFilter typeFilter viTypeFilter sessionTypeFilter sessionIdFilter
		taskSessionTypeFilter sessionStateFilter keyFilter jobIdFilter platformIdFilter policyTagFilter createdAfterFilter
		endedBeforeFilter credentialsIdFilter tokenFilter select expand filter sort format action type hierarchyRef
		backupJobSessionId backupSessionId browseSessionId compareSessionId credentialId credentialsId dataRetrievalSessionId
		diskManagementSessionId exportSessionId flrSessionId healthCheckJobSessionId jobSessionId jobSessionIds jobSessionsId keyId
		keyVaultId restoreJobSessionId restoreSessionId jobSessionUid backupSessionGuid assess sessionUidFilter retentionJobSessionId retentionSessionId sessionIds sessionType
		sessionTypes sessionStatus includeSessions keySize keyAlgorithm encryptionKeyId accessKeyId tokenType token_type_hint
		continuationToken pageToken keyword keywords author authority bypass passThrough assignee design signal config encoding
		postcode shipping spin option errorCode statusCode countryCode organizationId repositoryId userUid userLoginId scopes
		description isReadAccessOnly sortKey orderKey subject username userSid SAMLRequest v
	`)
)

func TestAWordMakesTheNameOfAHeaderSecret(t *testing.T) {
	for _, name := range secretHeaders {
		for _, spelled := range []string{name, strings.ToLower(name), strings.ToUpper(name), http.CanonicalHeaderKey(name)} {
			if got := maskHeaderValue(spelled, "c4n4ry"); got != Mask || !HeaderHides(spelled, "c4n4ry") {
				t.Errorf("%s: %s", spelled, got)
			}
		}
	}
	for _, name := range readableHeaders {
		for _, spelled := range []string{name, strings.ToLower(name), strings.ToUpper(name), http.CanonicalHeaderKey(name)} {
			if got := maskHeaderValue(spelled, "shown"); got != "shown" || HeaderHides(spelled, "shown") || SecretHeader(spelled) {
				t.Errorf("%s: %s", spelled, got)
			}
		}
	}
	if SecretHeader("Sec-Websocket-Protocol") || !SecretHeader("X-Session-Id") {
		t.Error("a websocket needs its protocol, and nobody a session")
	}
}

func TestAWordMakesTheNameOfAParameterSecret(t *testing.T) {
	for _, name := range secretParameters {
		for _, spelled := range []string{name, "x&" + name} {
			query := spelled + "=c4n4ry"
			for kind, got := range map[string]string{
				"query":  string(MaskQuery(nil, query)),
				"path":   string(MaskPath(nil, "/x?"+query)),
				"matrix": string(MaskPath(nil, "/x;"+query)),
				"header": maskHeaderValue("Referer", "https://h/x?"+query),
			} {
				if strings.Contains(got, "c4n4ry") {
					t.Errorf("%s in a %s: %s", spelled, kind, got)
				}
			}
			if !PathHides("/x?" + query) {
				t.Errorf("%s: %s", spelled, query)
			}
		}
	}
	for _, name := range readableParameters {
		for _, spelled := range []string{name, strings.ToUpper(name), strings.ToLower(name), snake(name)} {
			query := spelled + "=shown&limit=1"
			if got := string(MaskQuery(nil, query)); got != query || PathHides("/x?"+query) {
				t.Errorf("%s: %s", spelled, got)
			}
			if got := maskHeaderValue("Referer", "https://h/x?"+query); got != "https://h/x?"+query {
				t.Errorf("%s: %s", spelled, got)
			}
		}
	}
}

// A name that the table knows for a secret does not become readable by a word.
func TestTheTableComesBeforeTheWords(t *testing.T) {
	for _, name := range documented {
		for _, spelled := range spellings(name) {
			if !strings.Contains(spelled, "%") && judgeHeader(spelled) == readable {
				t.Errorf("the header %s", spelled)
			}
			if got := string(MaskQuery(nil, spelled+"=c4n4ry")); strings.Contains(got, "c4n4ry") {
				t.Error(got)
			}
		}
	}
}

func TestNamesAreJudgedWithoutAllocating(t *testing.T) {
	room := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		HeaderHides("X-Some-Header", "application/json")
		HeaderHides("X-Session-Type", "backup")
		room = MaskQuery(room[:0], "skip=0&orderColumn=Name&sessionTypeFilter=Job&jobSessionId=1")
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// The access log of Caddy in this format has the headers as JSON, by their names.
func TestTheHeadersOfCaddysAccessLogAreMaskedByTheirNames(t *testing.T) {
	const fields = `{"request":{"method":"vak_c4n4ryc4n4ryc4n4ryc4n4ry","uri":"/x?session=c4n4ry","headers":{"X-Session-Id":["c4n4ry"],"Accept":["shown"],` +
		`"Sec-Websocket-Protocol":["c4n4ry"],"Upgrade":["vak_c4n4ryc4n4ryc4n4ryc4n4ry"],"Vak_c4n4ryc4n4ryc4n4ryc4n4ry":["x"]}},"sessionId":"kept"}`
	got := Renderer{}.AppendSentence(nil, time.Now(), zapcore.InfoLevel, 0, "handled request", []byte(fields))
	if bytes.Contains(got, []byte("c4n4ry")) || !bytes.Contains(got, []byte("shown")) || !bytes.Contains(got, []byte("kept")) {
		t.Errorf("%s", got)
	}
}

func TestAKeyInTheNameOfAHeaderIsMasked(t *testing.T) {
	const name = "Vak_c4n4ryc4n4ryc4n4ryc4n4ry"
	header := http.Header{name: {"x"}, "Upgrade": {name}}
	line := string(AppendRequest(nil, &Request{Method: name, Path: "/", Header: header}))
	if strings.Contains(line, "c4n4ry") || !strings.Contains(line, "[****: ****; Upgrade: ****; ]") {
		t.Error(line)
	}
	if !HeaderHides(name, "x") || !HeaderHides("Upgrade", name) {
		t.Error("nothing is hidden")
	}
	record := Parse("[03.10.2022 11:48:31.999] <36> Info         [User: a][GET] request to [/] deserialized. Message: []; Parameters: ["+name+": x; ].", time.UTC)
	if len(record.Parameters) != 1 || record.Parameters[0].Name != Mask {
		t.Errorf("%+v", record)
	}
}

func TestTheUserOfAURLThatIsTakenForAPathIsMasked(t *testing.T) {
	for path, want := range map[string]string{
		"/u:c4n4ry@h/x":             "/****@h/x",
		"//u:c4n4ry@h/":             "//****@h/",
		"//u:c4n4ry@h":              "//****@h",
		"/a/u:c4n4ry@h?b=c":         "/a/****@h?b=c",
		"/u:c4@n4ry@h/x":            "/****@h/x",
		"/u:c4:n4ry@h/x":            "/****@h/x",
		"/:c4n4ry@h":                "/****@h",
		"/password:c4n4ry@h/x":      "/****@h/x",
		"/u%3Ac4n4ry%40h/x":         "/****",
		"/tags/urn:vmomi:Tag:1/x":   "/tags/urn:vmomi:Tag:1/x",
		"/mailboxes/user@lab.local": "/mailboxes/user@lab.local",
		"/a:b/c@d":                  "/a:b/c@d",
		"/a@b:c":                    "/a@b:c",
		"/u:@h":                     "/****@h",
		`/\u:c4n4ry@h/x`:            `/\****@h/x`,
		`http:\\u:c4n4ry@h\x`:       `http:\\****@h\x`,
	} {
		if got := string(MaskPath(nil, path)); got != want || PathHides(path) != (want != path) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if got := maskHeaderValue("Referer", "//u:c4n4ry@h/x"); got != "//****@h/x" {
		t.Error(got)
	}
	if !testing.Short() {
		MaskText(nil, "/"+strings.Repeat("a:", 1<<20)) // in no time
		MaskText(nil, strings.Repeat("/a:", 1<<20))
	}
}

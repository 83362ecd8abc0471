// What Explain says is what ServeHTTP does: see also the differential test.

package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// handlerWith prepares the handler of a site with these rules and options for Explain.
func handlerWith(t *testing.T, rules string) *Handler {
	t.Helper()
	text := fmt.Sprintf(":80 {\n\tveeam_auth https://veeam.lab.local {\n\t\taccount x {env.X}\n%s\n\t}\n}\n", rules)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return explainer(t, config, 80)
}

// explainer prepares the handler of the server that listens on a port for Explain.
func explainer(t *testing.T, config []byte, port int) *Handler {
	t.Helper()
	h, err := prepare(t, config, port)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func prepare(t *testing.T, config []byte, port int) (*Handler, error) {
	t.Helper()
	var tree struct {
		Apps struct {
			HTTP struct {
				Servers map[string]struct {
					Listen []string        `json:"listen"`
					Routes json.RawMessage `json:"routes"`
				} `json:"servers"`
			} `json:"http"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(config, &tree); err != nil {
		t.Fatal(err)
	}
	for _, server := range tree.Apps.HTTP.Servers {
		raw := handlerIn(server.Routes)
		if raw == nil || !strings.HasSuffix(server.Listen[0], fmt.Sprintf(":%d", port)) {
			continue
		}
		ctx := provisionContext(t, &caddy.Config{})
		ctx, cancel := caddy.NewContext(ctx)
		t.Cleanup(cancel)
		return PrepareExplain(ctx, raw, "svc")
	}
	return nil, fmt.Errorf("no handler listens on port %d", port)
}

// handlerIn is the first handler veeam_auth in JSON.
func handlerIn(raw json.RawMessage) json.RawMessage {
	if !bytes.Contains(raw, []byte(`"veeam_auth"`)) {
		return nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err == nil {
		for _, item := range list {
			if found := handlerIn(item); found != nil {
				return found
			}
		}
		return nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil
	}
	if string(object["handler"]) == `"veeam_auth"` {
		return raw
	}
	for _, below := range []json.RawMessage{object["handle"], object["routes"]} {
		if found := handlerIn(below); found != nil {
			return found
		}
	}
	return nil
}

func TestExplain_FollowsTheOrderOfServeHTTP(t *testing.T) {
	t.Parallel()
	h := handlerWith(t, "passthrough\nact_as {http.request.header.X-As}\ndeny path /api/v1/credentials\ndeny header Authorization *\nallow *")
	grafana, user := policy.Caller{Name: "grafana", Via: policy.ViaClient}, policy.Caller{Name: "bob", Via: policy.ViaPassthrough}
	for name, c := range map[string]struct {
		method, path string
		caller       policy.Caller
		header       http.Header
		reason       veeam.Reason // empty if allowed
		proxied      bool
	}{
		"allowed":                             {"GET", "/api/v1/jobs", grafana, http.Header{"X-As": {"x"}}, "", true},
		"denied":                              {"GET", "/api/v1/credentials", grafana, http.Header{"X-As": {"x"}}, veeam.ReasonDenied, true},
		"act_as is empty":                     {"GET", "/api/v1/jobs", grafana, nil, veeam.ReasonNoAccount, true},
		"passthrough needs no account":        {"GET", "/api/v1/jobs", user, nil, "", true},
		"rules are not shown a credential":    {"GET", "/api/v1/jobs", user, http.Header{"Authorization": {"Bearer hunter2"}}, "", true},
		"not known":                           {"GET", "/api/v1/jobs", policy.Caller{}, nil, veeam.ReasonNoToken, true},
		"not known, on a closed route":        {"DELETE", "/api/oauth2/token", policy.Caller{}, nil, veeam.ReasonNoToken, false},
		"closed":                              {"DELETE", "/api/oauth2/token", grafana, nil, veeam.ReasonDenied, false},
		"a login":                             {"POST", "/api/oauth2/token", policy.Caller{}, nil, "", false},
		"a logout of a caller who is unknown": {"POST", "/api/oauth2/logout", policy.Caller{}, nil, veeam.ReasonNoToken, false},
		"ambiguous":                           {"GET", "/api/v1/jobs%2f..%2fcredentials", grafana, nil, veeam.ReasonBadRequest, false},
	} {
		if c.header == nil {
			c.header = http.Header{}
		}
		r, err := ExplainRequest(c.method, c.path, c.header)
		if err != nil {
			t.Fatal(err)
		}
		x := h.Explain(r, c.caller, c.caller != policy.Caller{})
		var reason veeam.Reason
		if x.Refusal != nil {
			reason = x.Refusal.Reason
		}
		if reason != c.reason || x.Proxied != c.proxied || (x.Status != 0) != (reason != "") || (x.Refusal != nil && x.Message == "") {
			t.Errorf("%s: %+v", name, x)
		}
	}
}

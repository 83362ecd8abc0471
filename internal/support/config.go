// The configuration without secrets.

package support

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Removed stands in place of a text that may be a secret.
const Removed = "[removed]"

// plainKeys are the keys whose texts are no secrets. The texts of all others are removed:
// those of modules of others may hold anything.
var plainKeys = []string{
	// Caddy's own structure.
	"handler", "module", "output", "format", "protocol", "policy", "listen", "listen_protocols", "protocols", "host", "path", "method", "dial", "filename",
	"level", "include", "exclude", "automatic_https", "ca", "issuer", "versions", "root", "lookup_srv", "ranges", "source", "group",
	"server_name", "trusted_ca_certs_pem_files", "try_duration", "client_ip_headers", "default_sni", "name_servers", "resolver", "network",
	// The options of this module that are neither secrets nor free texts.
	"product", "index_file", "audience", "name", "account", "effect", "preset", "classes", "class", "default", "act_as", "hosts", "allowed_origins",
	"api_version", "base_path", "grant", "padding", "public_key_format", "user_uid", "parent", "login_at", "tls_pins", "upstream_host", "except", "username", "client_id", "wait", "use_within",
}

// placeholder is a text that stands for a secret and is none, alone or as the parts of a
// path.
var placeholder = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^\{(env|file|http)\.[A-Za-z0-9_./\\:-]{1,300}\}$`) })

// userOf are the user and the password of a URL, and a query.
var (
	userOf  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`://[^/\s]*@`) })
	queryOf = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\?.*$`) })
)

// below are the keys below which every text is removed, also of a plain key: headers and
// conditions hold keys of APIs, storages and others their logins.
var below = []string{"headers", "header", "query", "header_regexp", "vars", "storage", "certificates", "dns", "provider", "providers", "challenges"}

// Config returns a configuration as it is, without the texts that may be secrets:
// placeholders, numbers and switches remain, and the texts of plainKeys.
func Config(text []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	return encode(cleared(value, "", false), "\t")
}

// cleared returns what remains of a value. key is the one that it has, or that its list
// has.
func cleared(value any, key string, hidden bool) any {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			// The kind of a module tells nothing, wherever it is.
			kind := name == "handler" || name == "module"
			v[name] = cleared(inner, name, !kind && (hidden || slices.Contains(below, name)))
		}
		return v
	case []any:
		for i := range v {
			v[i] = cleared(v[i], key, hidden)
		}
		return v
	case string:
		switch {
		case v == "" || placeholder().MatchString(v):
			return v
		case hidden || !slices.Contains(plainKeys, key) || strings.ContainsAny(v, "\r\n"):
			return Removed
		}
		return queryOf().ReplaceAllString(userOf().ReplaceAllString(v, "://"+Removed+"@"), "?"+Removed)
	}
	return value
}

// How the commands find their account: in the configuration that Caddy itself
// would load.

package command

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/caddymodule"
	"github.com/caddy-veeam/veeam-auth/internal/jwtcaller"
)

// configFlags say which configuration and which server a command is about.
type configFlags struct{ config, adapter, upstream string }

func (f *configFlags) add(cmd *cobra.Command) {
	f.addFile(cmd)
	cmd.Flags().StringVar(&f.upstream, "upstream", "", "Server (host:port), if the account has several")
}

// addFile adds the flags of the configuration alone.
func (f *configFlags) addFile(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.config, "config", "c", "", "Configuration file with the account; - reads standard input. "+defaultText)
	flags.StringVarP(&f.adapter, "adapter", "a", "", "Adapter of the configuration, such as caddyfile. Default: by file name")
}

const defaultText = "Default: Caddyfile, or else that of the packages, /etc/veeam-auth/Caddyfile"

// defaultConfig is the configuration that is used if none is given.
func defaultConfig() string { return firstFile("Caddyfile", "/etc/veeam-auth/Caddyfile") }

// firstFile returns the first of some files that exists, the first one if none does.
func firstFile(names ...string) string {
	for _, name := range names {
		if _, err := os.Stat(name); err == nil {
			return name
		}
	}
	return names[0]
}

// moduleName is that of the handler and of the transport in JSON.
const moduleName = "veeam_auth"

// configSite is a reverse_proxy with our transport, as the configuration has it.
type configSite struct {
	raw       json.RawMessage // of the transport
	product   string
	accounts  []string
	upstreams []string
	dynamic   bool // there are upstreams that only a running Caddy knows
}

// configuration is what the commands need of one.
type configuration struct {
	name      string
	text      []byte // as it is written
	sites     []*configSite
	providers []*jwtcaller.Config // of callers, each once
	rest      struct {
		Storage json.RawMessage            `json:"storage"`
		Apps    map[string]json.RawMessage `json:"apps"`
	}
}

// load reads and adapts the configuration. Warnings of the adapter go to stderr, and which
// file was found if none is given: it names the secrets that are read, and who gets them.
func (f *configFlags) load(stdin io.Reader, stderr io.Writer) (*configuration, error) {
	given := f.config
	written, err := f.read(stdin)
	if err != nil {
		return nil, err
	}
	if given == "" {
		fmt.Fprintf(stderr, "Using the configuration %s\n", f.config)
	}
	c := &configuration{name: f.config, text: written}
	text, err := f.adaptText(written, stderr)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &c.rest); err != nil {
		return nil, fmt.Errorf("%s is not a Caddy configuration (--adapter names its format): %w", f.config, err)
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		return nil, fmt.Errorf("%s: %w", f.config, err)
	}
	if err := c.collect(tree); err != nil {
		return nil, fmt.Errorf("%s: %w", f.config, err)
	}
	if len(c.sites) == 0 {
		return nil, fmt.Errorf("%s has no veeam_auth: choose another file with --config", f.config)
	}
	return c, nil
}

// line names file and line of the first place where a text is written; empty if that is in
// another file.
func (c *configuration) line(text string) string {
	number := 1
	for line := range bytes.Lines(c.text) {
		if bytes.Contains(line, []byte(text)) {
			return fmt.Sprintf("%s:%d", c.name, number)
		}
		number++
	}
	return ""
}

// adapt reads the configuration as JSON.
func (f *configFlags) adapt(stdin io.Reader, stderr io.Writer) ([]byte, error) {
	text, err := f.read(stdin)
	if err != nil {
		return nil, err
	}
	return f.adaptText(text, stderr)
}

func (f *configFlags) adaptText(text []byte, stderr io.Writer) ([]byte, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, fmt.Errorf("%s is empty: choose another file with --config", f.config)
	}
	if name := adapterFor(f.config, f.adapter); name != "" {
		adapter := caddyconfig.GetAdapter(name)
		if adapter == nil {
			return nil, fmt.Errorf("%s: unknown configuration adapter %q", f.config, name)
		}
		adapted, warnings, err := adapter.Adapt(text, map[string]any{"filename": f.config})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.config, err)
		}
		for _, w := range warnings {
			fmt.Fprintf(stderr, "Warning: %s:%d: %s\n", f.config, w.Line, w.Message)
		}
		text = adapted
	}
	return text, nil
}

func (f *configFlags) read(stdin io.Reader) ([]byte, error) {
	var text []byte
	var err error
	f.config = cmp.Or(f.config, defaultConfig())
	if f.config == "-" {
		text, err = io.ReadAll(stdin)
	} else {
		text, err = os.ReadFile(f.config)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return text, nil
}

// adapterFor chooses as Caddy does: a file named Caddyfile or *.caddyfile is one,
// *.json is none, the ending of others may name an adapter.
func adapterFor(file, adapter string) string {
	base := strings.ToLower(filepath.Base(file))
	switch {
	case adapter != "":
		return adapter
	case filepath.Ext(base) == ".json":
		return ""
	case strings.HasPrefix(base, "caddyfile"), strings.HasSuffix(base, ".caddyfile"):
		return "caddyfile"
	}
	if name := strings.TrimPrefix(filepath.Ext(base), "."); name != "" && caddyconfig.GetAdapter(name) != nil {
		return name
	}
	return ""
}

// collect finds every reverse_proxy with our transport, and the identity providers of our
// handlers, wherever they stand. A site that listens at two addresses stands there twice.
func (c *configuration) collect(tree any) error {
	switch node := tree.(type) {
	case []any:
		for _, item := range node {
			if err := c.collect(item); err != nil {
				return err
			}
		}
	case map[string]any:
		if transport, ok := node["transport"].(map[string]any); ok && node["handler"] == "reverse_proxy" && transport["protocol"] == moduleName {
			return c.add(node, transport)
		}
		if node["handler"] == moduleName && node["trust_jwt"] != nil {
			if err := c.addProviders(node["trust_jwt"]); err != nil {
				return err
			}
		}
		for _, name := range slices.Sorted(maps.Keys(node)) {
			if err := c.collect(node[name]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *configuration) add(proxy, transport map[string]any) error {
	raw, err := json.Marshal(transport)
	if err != nil {
		return err
	}
	var read caddymodule.Transport
	if err := json.Unmarshal(raw, &read); err != nil {
		return fmt.Errorf("transport veeam_auth: %w", err)
	}
	product, err := caddymodule.LookupProduct(read.Product)
	if err != nil {
		return err
	}
	s := &configSite{raw: raw, product: product.Name, dynamic: proxy["dynamic_upstreams"] != nil}
	for _, a := range read.Accounts {
		s.accounts = append(s.accounts, a.Name)
	}
	upstreams, _ := proxy["upstreams"].([]any)
	for _, u := range upstreams {
		if u, ok := u.(map[string]any); ok {
			if dial, _ := u["dial"].(string); dial != "" && !slices.Contains(s.upstreams, dial) {
				s.upstreams = append(s.upstreams, dial)
			}
		}
	}
	for _, known := range c.sites {
		if string(known.raw) == string(raw) && slices.Equal(known.upstreams, s.upstreams) && known.dynamic == s.dynamic {
			return nil
		}
	}
	c.sites = append(c.sites, s)
	return nil
}

func (c *configuration) addProviders(trusted any) error {
	raw, err := json.Marshal(trusted)
	if err != nil {
		return err
	}
	var providers []*jwtcaller.Config
	if err := json.Unmarshal(raw, &providers); err != nil {
		return fmt.Errorf("trust_jwt: %w", err)
	}
	for _, p := range providers {
		if !slices.ContainsFunc(c.providers, func(known *jwtcaller.Config) bool { return reflect.DeepEqual(known, p) }) {
			c.providers = append(c.providers, p)
		}
	}
	return nil
}

// configPlace is an account at a server.
type configPlace struct {
	site              *configSite
	account, upstream string
}

func (p configPlace) String() string {
	return fmt.Sprintf("%s at %s (%s)", p.account, p.upstream, p.site.product)
}

// places are all accounts at all servers, or those of a name or of an upstream.
func (c *configuration) places(account, upstream string) (found []configPlace) {
	for _, s := range c.sites {
		upstreams := s.upstreams
		if s.dynamic && upstream != "" && !slices.Contains(upstreams, upstream) {
			upstreams = append(slices.Clone(upstreams), upstream)
		}
		for _, u := range upstreams {
			for _, a := range s.accounts {
				if (account == "" || a == account) && (upstream == "" || u == upstream) {
					found = append(found, configPlace{s, a, u})
				}
			}
		}
	}
	return found
}

// find finds the one account at the one server that a command is about.
func (c *configuration) find(account, upstream string) (configPlace, error) {
	found := c.places(account, upstream)
	if len(found) == 1 {
		return found[0], nil
	}
	var b strings.Builder
	if len(found) > 1 {
		fmt.Fprintf(&b, "the account %s is ambiguous in %s; choose the server with --upstream:", account, c.name)
	} else {
		b.WriteString(c.name + " has no account")
		if account != "" {
			fmt.Fprintf(&b, " named %q", account)
		}
		if upstream != "" {
			b.WriteString(" at " + upstream)
		}
		b.WriteString("; it has:")
		found = c.places("", "")
	}
	for _, p := range found {
		fmt.Fprintf(&b, "\n  %s", p)
	}
	if slices.ContainsFunc(c.sites, func(s *configSite) bool { return s.dynamic }) {
		b.WriteString("\n  and dynamic upstreams: choose one with --upstream")
	}
	if len(found) > 1 && !slices.ContainsFunc(found, func(p configPlace) bool { return p.upstream != found[0].upstream }) {
		b.WriteString("\nThey differ only in their options: move one of them to another configuration.")
	}
	return configPlace{}, errors.New(b.String())
}

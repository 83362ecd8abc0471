// The command that makes rules from a log: the least that would have let its
// callers do what they did.

package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-veeam/veeam-auth/internal/svclog"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

func newPolicySuggestCommand() *cobra.Command {
	var product string
	cmd := &cobra.Command{
		Use:   "suggest <log> [--product <product>]",
		Short: "Prints rules that allow the requests of a log",
		Long: `
Reads a log in the format of Svc.ResAPI.log, as the svc_resapi encoder writes it, and
prints rules for veeam_auth that allow each caller the requests it has sent: reads,
starts and stops by class; changes, deletions, revealed secrets and operations that
are not in the index by method and path. Review the rules before you use them:
rules from the log of an incident allow the incident again.

Requests of unknown callers, requests that veeam_auth denied or answers itself, and
paths that it always refuses are skipped. A file named - is standard input.`,
		Example: "  caddy veeam-auth policy suggest /var/log/veeam/Svc.ResAPI.log",
		Args:    arguments(1, 1),
		RunE: runCommand(func(cmd *cobra.Command, args []string) error {
			in, err := open(cmd, args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			return suggest(cmd.Context(), in, product, cmd.OutOrStdout())
		}),
	}
	cmd.Flags().StringVar(&product, "product", "", "Product of the log. Default: the product whose API matches most requests")
	return cmd
}

// observed is one kind of request in a log. Its path has a query of the parameters that
// select operations.
type observed struct{ client, method, path string }

// find returns the operation of an observed request, and its path and query as they are sent. ok is
// false if it would be refused as ambiguous.
func (d observed) find(index *operation.Index) (op operation.Operation, path, query string, ok bool) {
	path, query, _ = strings.Cut(d.path, "?")
	if op, ok = index.LookupRaw(d.method, path, query); ok {
		path, _ = operation.Clean(path)
		query, _ = operation.CleanQuery(query)
	}
	return op, path, query, ok
}

// errNothingToSuggest is the answer to a log that says nothing about rules.
var errNothingToSuggest = errors.New("the log has no requests of known callers to write rules for")

// suggest reads a log and prints rules. Its errors are errNothingToSuggest and
// those of reading the log.
func suggest(ctx context.Context, log io.Reader, product string, out io.Writer) error {
	seen := make(map[observed]int)
	unknown, denied, first, last := 0, 0, time.Time{}, time.Time{}
	latest := make(map[uint32]observed) // by the thread of its lines
	err := svclog.Read(ctx, log, svclog.Filter{}, func(r svclog.Record) error {
		switch {
		case wasDenied(r):
			if d, ok := latest[r.Thread]; ok {
				delete(latest, r.Thread)
				denied++
				if seen[d]--; seen[d] == 0 {
					delete(seen, d)
				}
			}
			return nil
		case r.Kind != svclog.KindRequest:
			return nil
		case r.User == svclog.Anonymous:
			unknown++
			return nil
		}
		if first.IsZero() {
			first = r.Time
		}
		last = r.Time
		path, query, _ := strings.Cut(r.Path, "?")
		if query = operation.Selecting(query); query != "" {
			path += "?" + query
		}
		d := observed{r.User, r.Method, path}
		seen[d]++
		latest[r.Thread] = d
		return nil
	})
	if err != nil {
		return err
	}
	product, index, err := indexFor(product, seen)
	if err != nil {
		return err
	}
	w := newSuggestion(product, index)
	total, others := 0, make(map[string]int) // by product
	for d, times := range seen {
		if other := otherProduct(d, index); other != "" {
			others[other] += times
		} else if w.add(d) {
			total += times
		}
	}
	if total == 0 {
		return errNothingToSuggest
	}
	fmt.Fprintf(out, "# %s: %s of %s, %s to %s.\n", product, count(total, "request"), count(len(w.clients), "caller"), first.Format(time.DateTime), last.Format(time.DateTime))
	if unknown > 0 {
		fmt.Fprintf(out, "# Skipped: %s of unknown callers.\n", count(unknown, "request"))
	}
	if denied > 0 {
		fmt.Fprintf(out, "# Skipped: %s.\n", count(denied, "denied request"))
	}
	for _, other := range slices.Sorted(maps.Keys(others)) {
		fmt.Fprintf(out, "# Skipped: %s to %s; --product %[2]s prints its rules.\n", count(others[other], "request"), other)
	}
	w.print(out)
	return nil
}

// wasDenied reports whether a line says that veeam_auth has refused the request of
// its thread. What the server itself has refused is no matter of rules.
func wasDenied(r svclog.Record) bool {
	return (r.Kind == svclog.KindException || r.Kind == svclog.KindText) &&
		strings.HasPrefix(r.Message, "Access of user '") && strings.Contains(r.Message, "] is denied.")
}

// indexFor is the index of a product, or of the product whose index knows most of
// the observed requests.
func indexFor(product string, seen map[observed]int) (found string, best *operation.Index, err error) {
	most := -1
	for _, name := range veeam.Names() {
		index, ok := operation.For(name)
		if !ok || product != "" && product != name {
			continue
		}
		known := 0
		for d := range seen {
			if op, _, _, _ := d.find(index); op.Path != "" {
				known++
			}
		}
		if known > most {
			found, best, most = name, index, known
		}
	}
	if best == nil {
		return "", nil, fmt.Errorf("unknown product %q (allowed: %s)", product, strings.Join(veeam.Names(), ", "))
	}
	return found, best, nil
}

// otherProduct is the product of a request that the API of the chosen product does not have,
// if that of another one has it: a log may be of sites of several products.
func otherProduct(d observed, chosen *operation.Index) string {
	if op, _, _, ok := d.find(chosen); !ok || op.Path != "" {
		return ""
	}
	for _, name := range veeam.Names() {
		if index, ok := operation.For(name); ok {
			if op, _, _, _ := d.find(index); op.Path != "" {
				return name
			}
		}
	}
	return ""
}

// suggestion is what the callers of a log need.
type suggestion struct {
	index   *operation.Index
	product *veeam.Product
	clients map[string]*need
}

// need is what one caller needs: whole classes, and single operations by class
// and method.
type need struct {
	classes operation.Set
	single  map[single]map[string]bool // patterns
}

type single struct {
	class         operation.Class
	method, query string
}

func newSuggestion(name string, index *operation.Index) *suggestion {
	product, _ := veeam.Lookup(name)
	return &suggestion{index: index, product: product, clients: make(map[string]*need)}
}

// add notes an observed request, and reports false for those that no rule is asked about.
func (w *suggestion) add(d observed) bool {
	op, path, query, ok := d.find(w.index)
	if !ok {
		return false
	}
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return false
	}
	switch w.product.Classify(d.method, decoded) {
	case veeam.RouteToken, veeam.RouteLogout, veeam.RouteAuthorizationCode:
		return false
	}
	c := w.clients[d.client]
	if c == nil {
		c = &need{single: make(map[single]map[string]bool)}
		w.clients[d.client] = c
	}
	key := single{class: op.Class, method: d.method}
	switch op.Class {
	case operation.Read, operation.Run:
		c.classes |= operation.SetOf(op.Class)
		return true
	case operation.Unknown:
		rule := operation.Rule(d.method, path, query)
		path = strings.TrimPrefix(rule[1], "path ")
		if len(rule) > 2 {
			key.query = rule[2]
		}
	default:
		path = templated(op.Path)
		if op.Query != "" && !strings.Contains(op.Query, "{") {
			key.query = "query " + op.Query
		}
	}
	if c.single[key] == nil {
		c.single[key] = make(map[string]bool)
	}
	c.single[key][path] = true
	return true
}

var parameter = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\{[^}]*\}`) })

// templated is the pattern of an operation. Within its class it may end openly.
func templated(path string) string { return parameter().ReplaceAllString(path, "*") }

// print writes the rules. Callers who need the same share one.
func (w *suggestion) print(out io.Writer) {
	callers := make(map[string][]string) // by what they need
	for _, name := range slices.Sorted(maps.Keys(w.clients)) {
		for _, body := range w.clients[name].bodies() {
			callers[body] = append(callers[body], name)
		}
	}
	bodies := slices.SortedFunc(maps.Keys(callers), func(a, b string) int {
		return cmp.Or(slices.Compare(callers[a], callers[b]), strings.Compare(a, b))
	})
	for _, body := range bodies {
		if preset := presetFor(body); preset != "" && len(w.clients) == 1 {
			fmt.Fprintf(out, "allow preset %s\n", preset)
			continue
		}
		fmt.Fprintf(out, "allow {\n")
		if len(w.clients) > 1 {
			fmt.Fprintf(out, "\texpression `%s`\n", isOneOf(callers[body]))
		}
		fmt.Fprintf(out, "%s}\n", body)
	}
	fmt.Fprintln(out, "default deny")
}

// bodies are the conditions of the rules of one caller, but for its name.
func (c *need) bodies() (all []string) {
	if c.classes != 0 {
		all = append(all, "\toperation "+strings.ReplaceAll(c.classes.String(), ",", " ")+"\n")
	}
	for key, patterns := range c.single {
		paths := strings.Join(slices.Sorted(maps.Keys(patterns)), " ")
		body := fmt.Sprintf("\toperation %s\n\tmethod %s\n\tpath %s\n", key.class, key.method, paths)
		if key.query != "" {
			body += "\t" + key.query + "\n"
		}
		all = append(all, body)
	}
	return all
}

// presetFor is the preset that says the same as a condition.
func presetFor(body string) string {
	for _, name := range operation.Presets() {
		set, _ := operation.Preset(name)
		if body == (&need{classes: set}).bodies()[0] {
			return name
		}
	}
	return ""
}

// isOneOf is a CEL expression that holds for certain callers.
func isOneOf(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		// A backtick would end the token, a brace begin a placeholder.
		quoted[i] = strings.NewReplacer("`", `\x60`, "{", `\x7b`).Replace(strconv.Quote(name))
	}
	const client = "{http.veeam_auth.client}"
	if len(quoted) == 1 {
		return client + " == " + quoted[0]
	}
	return client + " in [" + strings.Join(quoted, ", ") + "]"
}

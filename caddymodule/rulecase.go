// Rules without regard to letter case: the servers compare paths and the names of
// parameters so.

package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// Rules are shown paths and the names of parameters in lower case, so that no
// client changes their outcome by its letters. foldMatchers writes the conditions
// in lower case too, so that it does not matter in which case they are written.
func foldMatchers(sets caddyhttp.RawMatcherSets) (caddyhttp.RawMatcherSets, error) {
	folded := make(caddyhttp.RawMatcherSets, len(sets))
	for i, set := range sets {
		folded[i] = make(caddy.ModuleMap, len(set))
		for name, raw := range set {
			if strings.Contains(string(raw), "{http.request.orig_") {
				return nil, fmt.Errorf("%s: {http.request.orig_…} is the request as it arrived, and rules are about the request as it is sent: use {http.request.uri}, {http.request.uri.path} or {http.request.method}", name)
			}
			var err error
			if folded[i][name], err = foldMatcher(name, raw); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return folded, nil
}

func foldMatcher(name string, raw json.RawMessage) (json.RawMessage, error) {
	switch name {
	case "not":
		var sets caddyhttp.RawMatcherSets
		return edit(raw, &sets, func() (err error) { sets, err = foldMatchers(sets); return err })
	case "method":
		var methods []string
		return edit(raw, &methods, func() error {
			for i := range methods {
				methods[i] = strings.ToUpper(methods[i])
			}
			return nil
		})
	case "path_regexp":
		var m map[string]any
		return edit(raw, &m, func() error {
			if pattern, ok := m["pattern"].(string); ok {
				m["pattern"] = anyCase(pattern)
			}
			return nil
		})
	case "query":
		var m map[string][]string
		return edit(raw, &m, func() error {
			query := make(map[string][]string, len(m))
			for name, values := range m {
				if _, twice := query[operation.Fold(name)]; twice {
					return fmt.Errorf("%s is written twice, in different letter case", name)
				}
				query[operation.Fold(name)] = values
			}
			m = query
			return nil
		})
	case "vars":
		var m map[string][]string
		return edit(raw, &m, func() error {
			for key, values := range m {
				if pathPlaceholder(strings.Trim(key, "{}")) {
					for i := range values {
						values[i] = operation.Fold(values[i])
					}
				}
			}
			return nil
		})
	case "vars_regexp":
		var m map[string]map[string]any
		return edit(raw, &m, func() error {
			for key, values := range m {
				if pattern, ok := values["pattern"].(string); ok && pathPlaceholder(strings.Trim(key, "{}")) {
					values["pattern"] = anyCase(pattern)
				}
			}
			return nil
		})
	case "expression":
		var m caddyhttp.MatchExpression
		return edit(raw, &m, func() (err error) { m.Expr, err = foldExpression(m.Expr); return err })
	}
	return raw, nil
}

// edit reads a matcher, has it changed and writes it.
func edit(raw json.RawMessage, target any, change func() error) (json.RawMessage, error) {
	if err := json.Unmarshal(raw, target); err != nil {
		return nil, err
	}
	if err := change(); err != nil {
		return nil, err
	}
	return json.Marshal(target)
}

func anyCase(pattern string) string { return "(?i)" + pattern }

// pathPlaceholder reports whether a placeholder has the path, which rules see in
// lower case.
func pathPlaceholder(name string) bool {
	return name == "http.request.uri" || name == "http.request.uri_escaped" || strings.HasPrefix(name, "http.request.uri.path")
}

// wholeQuery reports whether a placeholder has names and values of parameters mixed.
func wholeQuery(name string) bool {
	switch name {
	case "http.request.uri", "http.request.uri_escaped", "http.request.uri.query", "http.request.uri.query_escaped", "http.request.uri.prefixed_query":
		return true
	}
	return false
}

const oneParameter = "http.request.uri.query."

var celPlaceholder = regexp.MustCompile(`([^\\]|^){([a-zA-Z][\w.-]+)}`)

// foldExpression rewrites a CEL expression: what is compared with a path is put
// into lower case, regular expressions about paths get the flag i, and names of
// parameters are put into lower case.
func foldExpression(expr string) (string, error) {
	expr = strings.ReplaceAll(expr, escapedBrace, hiddenBrace)
	for previous := ""; previous != expr; { // placeholders may touch
		previous, expr = expr, celPlaceholder.ReplaceAllString(expr, `${1}ph(req, "${2}")`)
	}
	reader, err := parser.NewParser(parser.Macros())
	if err != nil {
		return "", err
	}
	tree, faults := reader.Parse(common.NewTextSource(expr))
	if len(faults.GetErrors()) > 0 {
		return "", errors.New(faults.ToDisplayString())
	}
	f := &celFolder{info: tree.SourceInfo(), text: []rune(expr)}
	f.visit(tree.Expr(), false)
	if f.err != nil {
		return "", f.err
	}
	// From the end, so that places stay where they are.
	slices.SortFunc(f.edits, func(a, b celEdit) int { return b.start - a.start })
	for _, e := range f.edits {
		f.text = slices.Replace(f.text, e.start, e.end, []rune(celQuote(e.text))...)
	}
	return strings.ReplaceAll(string(f.text), hiddenBrace, escapedBrace), nil
}

// An escaped brace begins no placeholder. It is no CEL either, until Caddy has taken
// its escape off, and stands aside while the expression is read.
const escapedBrace, hiddenBrace = `\{`, "\ue000"

type celEdit struct {
	start, end int // of a literal
	text       string
}

type celFolder struct {
	info  *ast.SourceInfo
	text  []rune
	edits []celEdit
	err   error
}

// visit goes through an expression. about says that it is held against a path.
func (f *celFolder) visit(e ast.Expr, about bool) {
	switch e.Kind() {
	case ast.LiteralKind:
		if about {
			f.replace(e, operation.Fold)
		}
	case ast.ListKind:
		for _, element := range e.AsList().Elements() {
			f.visit(element, about)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			f.visit(entry.AsMapEntry().Key(), about)
			f.visit(entry.AsMapEntry().Value(), about)
		}
	case ast.SelectKind:
		f.visit(e.AsSelect().Operand(), about)
	case ast.CallKind:
		f.call(e, about)
	}
}

func (f *celFolder) call(e ast.Expr, about bool) {
	call := e.AsCall()
	operands := call.Args()
	if call.IsMemberFunction() {
		operands = append([]ast.Expr{call.Target()}, operands...)
	}
	if len(operands) == 0 {
		return
	}
	last := operands[len(operands)-1]
	switch name := call.FunctionName(); name {
	case caddyhttp.CELPlaceholderFuncName:
		f.replace(last, func(name string) string {
			if parameter, ok := strings.CutPrefix(name, oneParameter); ok {
				return oneParameter + operation.Fold(parameter)
			}
			return name
		})
		return
	case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Conditional:
		for _, operand := range operands {
			f.visit(operand, about)
		}
		return
	case "path_regexp":
		f.replace(last, anyCase)
		return
	case "path":
		return
	case "method":
		for _, operand := range operands {
			f.literals(operand, strings.ToUpper)
		}
		return
	case "query":
		f.literals(last, nil)
		return
	default:
		path, query := false, false
		for _, operand := range operands {
			path, query = path || mentions(operand, pathPlaceholder), query || mentions(operand, wholeQuery)
		}
		about = about || path
		switch {
		case (path || query) && (name == "upperAscii" || name == "bind"):
			f.err = fmt.Errorf("%s cannot be used with the path or the query: rules see them in lower case", name)
			return
		case query:
			for _, operand := range operands {
				f.capitals(operand)
			}
		case path && name == "matches":
			f.visit(operands[0], true)
			f.replace(last, anyCase)
			return
		}
	}
	for _, operand := range operands {
		f.visit(operand, about)
	}
}

// literals replaces the names of a map of literals by those of Fold, or literals by
// what change makes of them.
func (f *celFolder) literals(e ast.Expr, change func(string) string) {
	switch e.Kind() {
	case ast.LiteralKind:
		if change != nil {
			f.replace(e, change)
		}
	case ast.ListKind:
		for _, element := range e.AsList().Elements() {
			f.literals(element, change)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			f.replace(entry.AsMapEntry().Key(), operation.Fold)
		}
	}
}

// capitals refuses literals that are held against a whole query and whose letters
// may belong to names or to values.
func (f *celFolder) capitals(e ast.Expr) {
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if text, ok := literal(e); ok && strings.ContainsAny(text, "=&?") && operation.Fold(text) != text {
			f.err = fmt.Errorf("%q: names of parameters are seen in lower case, and values as they are sent; use the matcher query or {query.<name>}", text)
		}
	}))
}

// mentions reports whether an expression has a placeholder that fits.
func mentions(e ast.Expr, fits func(string) bool) (found bool) {
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != caddyhttp.CELPlaceholderFuncName || len(e.AsCall().Args()) != 2 {
			return
		}
		if name, ok := literal(e.AsCall().Args()[1]); ok && fits(name) {
			found = true
		}
	}))
	return found
}

func literal(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().(types.String)
	return string(text), ok
}

// replace takes down what becomes of a literal.
func (f *celFolder) replace(e ast.Expr, change func(string) string) {
	text, ok := literal(e)
	if !ok || change(text) == text {
		return
	}
	place, ok := f.info.GetOffsetRange(e.ID())
	if !ok {
		return
	}
	start := int(place.Start)
	f.edits = append(f.edits, celEdit{start, literalEnd(f.text, start), change(text)})
}

// literalEnd is where the literal of a string ends that begins at start.
func literalEnd(text []rune, start int) int {
	i, raw := start, false
	for ; i < len(text) && text[i] != '"' && text[i] != '\''; i++ {
		raw = raw || text[i] == 'r' || text[i] == 'R'
	}
	if i >= len(text) {
		return len(text)
	}
	quote := string(text[i])
	if rest := string(text[i:min(i+3, len(text))]); rest == strings.Repeat(quote, 3) {
		quote = rest
	}
	for i += len(quote); i < len(text); i++ {
		switch {
		case text[i] == '\\' && !raw:
			i++
		case strings.HasPrefix(string(text[i:min(i+3, len(text))]), quote):
			return i + len(quote)
		}
	}
	return len(text)
}

// celQuote writes a string as CEL reads it.
func celQuote(text string) string {
	quoted, _ := json.Marshal(text)
	return string(quoted)
}

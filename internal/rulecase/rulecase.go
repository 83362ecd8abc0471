// Package rulecase makes the conditions of rules, Caddy matchers in JSON,
// case-insensitive: the servers ignore the case of paths, parameter names and
// enumeration values. Rules see paths and queries in lower case, so that a client
// cannot change their result by letter case.
package rulecase

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

// Set writes the conditions of a set of matchers, by their names, so that it does not
// matter in which letter case they are written. The error says which cannot be written so.
func Set(set map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	folded := make(map[string]json.RawMessage, len(set))
	for name, raw := range set {
		if strings.Contains(string(raw), "{http.request.orig_") {
			return nil, fmt.Errorf("%s: {http.request.orig_…} is the request as received, but rules see the request as sent: use {http.request.uri}, {http.request.uri.path} or {http.request.method}", name)
		}
		var err error
		if folded[name], err = foldMatcher(name, raw); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return folded, nil
}

func foldMatcher(name string, raw json.RawMessage) (json.RawMessage, error) {
	switch name {
	case "not":
		var sets []map[string]json.RawMessage
		return edit(raw, &sets, func() (err error) {
			for i := range sets {
				if sets[i], err = Set(sets[i]); err != nil {
					return err
				}
			}
			return nil
		})
	case "method":
		var methods []string
		return edit(raw, &methods, func() error {
			for i := range methods {
				methods[i] = strings.ToUpper(methods[i])
			}
			return nil
		})
	case "path":
		var patterns []string
		return edit(raw, &patterns, func() error {
			for _, pattern := range patterns {
				if err := checkPath(pattern); err != nil {
					return err
				}
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
					return fmt.Errorf("%s is set twice, in different letter case", name)
				}
				for i, value := range values {
					if strings.Contains(value, "{") {
						return fmt.Errorf("%s=%s: rules see values of parameters in lower case, and the value of a placeholder may have capitals: use a CEL expression with lowerAscii()", name, value)
					}
					values[i] = operation.Fold(value)
				}
				query[operation.Fold(name)] = values
			}
			m = query
			return nil
		})
	case "vars":
		var m map[string][]string
		return edit(raw, &m, func() error {
			folded := make(map[string][]string, len(m))
			for key, values := range m {
				if seenFolded(strings.Trim(key, "{}")) {
					for i := range values {
						values[i] = operation.Fold(values[i])
					}
				}
				folded[foldParameter(key)] = append(folded[foldParameter(key)], values...)
			}
			m = folded
			return nil
		})
	case "vars_regexp":
		var m map[string]map[string]any
		return edit(raw, &m, func() error {
			folded := make(map[string]map[string]any, len(m))
			for key, values := range m {
				if pattern, ok := values["pattern"].(string); ok && seenFolded(strings.Trim(key, "{}")) {
					values["pattern"] = anyCase(pattern)
				}
				if _, twice := folded[foldParameter(key)]; twice {
					return fmt.Errorf("%s is set twice, in different letter case", key)
				}
				folded[foldParameter(key)] = values
			}
			m = folded
			return nil
		})
	case "expression":
		return foldNamed(raw)
	}
	return raw, nil
}

// foldNamed changes an expression, which is a string, or an object if it has a name.
func foldNamed(raw json.RawMessage) (json.RawMessage, error) {
	var m struct {
		Expr string `json:"expr"`
		Name string `json:"name"`
	}
	if json.Unmarshal(raw, &m.Expr) != nil {
		if err := json.Unmarshal(raw, &m); err != nil {
			return nil, err
		}
	}
	var err error
	if m.Expr, err = foldExpression(m.Expr); err != nil {
		return nil, err
	}
	if m.Name == "" {
		return json.Marshal(m.Expr)
	}
	return json.Marshal(m)
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

// checkPath returns an error for a pattern that no path matches: a rule with it that denies
// would deny nothing.
func checkPath(pattern string) error {
	if pattern != "" && strings.ContainsRune(`/*?[\{%`, rune(pattern[0])) {
		return nil
	}
	return fmt.Errorf("%q matches no request, because every path begins with a slash: write %q", pattern, "/"+pattern)
}

func anyCase(pattern string) string { return "(?i)" + pattern }

// seenFolded reports whether a placeholder has the path or the query or a part of
// them, which rules see in lower case.
func seenFolded(name string) bool {
	return name == "http.request.uri" || name == "http.request.uri_escaped" || strings.HasPrefix(name, "http.request.uri.")
}

const oneParameter = "http.request.uri.query."

// foldParameter puts the name of a parameter in a placeholder into lower case.
func foldParameter(placeholder string) string {
	if before, name, ok := strings.Cut(placeholder, oneParameter); ok {
		return before + oneParameter + operation.Fold(name)
	}
	return placeholder
}

// placeholderFunc is the function that Caddy's CEL gets placeholders with.
const placeholderFunc = "ph"

var celPlaceholder = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`([^\\]|^){([a-zA-Z][\w.-]+)}`) })

// foldExpression rewrites a CEL expression: what is compared with a path or a query is
// put into lower case, as are the arguments of query(), and regular expressions about
// them get the flag i.
func foldExpression(expr string) (string, error) {
	expr = strings.ReplaceAll(expr, escapedBrace, hiddenBrace)
	for previous := ""; previous != expr; { // placeholders may touch
		previous, expr = expr, celPlaceholder().ReplaceAllString(expr, `${1}ph(req, "${2}")`)
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

// visit goes through an expression. about says that it is held against a path or a
// query.
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
	case placeholderFunc:
		f.replace(last, foldParameter)
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
		for _, operand := range operands {
			f.literals(operand, func(pattern string) string {
				if err := checkPath(pattern); err != nil {
					f.err = fmt.Errorf("path: %w", err)
				}
				return pattern
			})
		}
		return
	case "method":
		for _, operand := range operands {
			f.literals(operand, strings.ToUpper)
		}
		return
	case "query":
		f.literals(last, operation.Fold)
		return
	default:
		here := slices.ContainsFunc(operands, mentionsFolded)
		about = about || here
		switch {
		case here && (name == "upperAscii" || name == "bind"):
			f.err = fmt.Errorf("%s cannot be used with the path or the query: rules see them in lower case", name)
			return
		case here && name == "matches":
			f.visit(operands[0], true)
			f.replace(last, anyCase)
			return
		}
	}
	for _, operand := range operands {
		f.visit(operand, about)
	}
}

// literals replaces literals, and those in lists and maps, by what change makes of
// them.
func (f *celFolder) literals(e ast.Expr, change func(string) string) {
	switch e.Kind() {
	case ast.LiteralKind:
		f.replace(e, change)
	case ast.ListKind:
		for _, element := range e.AsList().Elements() {
			f.literals(element, change)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			f.literals(entry.AsMapEntry().Key(), change)
			f.literals(entry.AsMapEntry().Value(), change)
		}
	}
}

// mentionsFolded reports whether an expression has a placeholder of the path or the
// query.
func mentionsFolded(e ast.Expr) (found bool) {
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != placeholderFunc || len(e.AsCall().Args()) != 2 {
			return
		}
		if name, ok := literal(e.AsCall().Args()[1]); ok && seenFolded(name) {
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

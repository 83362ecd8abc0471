// Reading of API descriptions: OpenAPI 3 and Swagger 2, in JSON or YAML.

package build

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ReadOpenAPI returns the operations of an API description, OpenAPI 3 or Swagger 2 in
// JSON or YAML, sorted by path. A description without operations is an error.
func ReadOpenAPI(text []byte) ([]Row, error) {
	d, err := decode(text)
	if err != nil {
		return nil, err
	}
	return d.rows()
}

func (d description) rows() ([]Row, error) {
	if str(d["openapi"]) == "" && str(d["swagger"]) == "" {
		return nil, errNoDescription
	}
	base := basePath(d)
	var rows []Row
	for path, item := range object(d["paths"]) {
		for method, op := range object(item) {
			method = strings.ToUpper(method)
			if !slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE"}, method) {
				continue
			}
			if !strings.HasPrefix(path, "/") {
				return nil, fmt.Errorf("path %q does not begin with a slash", path)
			}
			rows = append(rows, d.row(method, base+path, object(op)))
		}
	}
	if len(rows) == 0 {
		return nil, errors.New("it has no operations")
	}
	sortRows(rows)
	return rows, nil
}

func decode(text []byte) (description, error) {
	var d description
	if bytes.HasPrefix(text, []byte("# product\t")) || bytes.HasPrefix(text, []byte("# versions\t")) {
		return nil, errors.New("it is an index file, for the option index_file")
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		if err := json.Unmarshal(text, &d); err != nil {
			return nil, fmt.Errorf("%w: %w", errNoDescription, err)
		}
		return d, nil
	}
	var scalar *yaml.TypeError // text or a list, of which the details say nothing
	if err := yaml.Unmarshal(text, &d); errors.As(err, &scalar) {
		return nil, errNoDescription
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoDescription, err)
	}
	return d, nil
}

var errNoDescription = errors.New("it is not an API description, OpenAPI 3 or Swagger 2 in JSON or YAML")

// basePath is what comes before each path: Swagger 2 says so, OpenAPI 3 has it
// in the address of its first server, which may be relative.
func basePath(d description) string {
	base := str(d["basePath"])
	if servers, _ := d["servers"].([]any); len(servers) > 0 {
		if address, err := url.Parse(str(object(servers[0])["url"])); err == nil {
			base = address.Path
		}
	}
	base = strings.Trim(base, "/")
	if base == "" {
		return ""
	}
	return "/" + base
}

type description map[string]any

func (d description) row(method, path string, op map[string]any) Row {
	row := Row{Method: method, Path: path, Name: word(str(op["operationId"])), Group: "-"}
	if row.Name == "" {
		row.Name = word(strings.ToLower(method) + path)
	}
	if tags, _ := op["tags"].([]any); len(tags) > 0 {
		row.Group = cmp.Or(strings.Join(strings.Fields(str(tags[0])), " "), "-")
	}
	if security, ok := op["security"].([]any); ok {
		row.Anonymous = len(security) == 0
	}

	found := make(map[string]bool)
	for status, response := range object(op["responses"]) {
		if !strings.HasPrefix(status, "2") && status != "default" {
			continue
		}
		response := d.resolve(object(response))
		schema := object(response["schema"]) // Swagger 2
		d.secrets(schema, found, map[string]bool{})
		row.Stream = row.Stream || str(schema["type"]) == "file"
		for contentType, content := range object(response["content"]) {
			d.secrets(object(object(content)["schema"]), found, map[string]bool{})
			row.Stream = row.Stream || !isJSON(contentType)
		}
	}
	if produces, ok := op["produces"].([]any); ok {
		row.Stream = row.Stream || slices.ContainsFunc(produces, func(p any) bool { return !isJSON(str(p)) })
	}
	for name := range found {
		row.Fields = append(row.Fields, name)
	}
	slices.Sort(row.Fields)
	return row
}

func isJSON(contentType string) bool {
	return contentType == "*/*" || strings.Contains(contentType, "json")
}

var secretName = expression(`(?i)password|passphrase|secret|token|(access|shared|private|api|mfa)key|scratchcode|qrstring`)

// secrets collects the names of properties, at any depth, that look like those
// of secrets. seen holds the references that have been followed.
func (d description) secrets(schema map[string]any, found, seen map[string]bool) {
	if len(schema) == 0 {
		return
	}
	if ref := str(schema["$ref"]); ref != "" {
		if !seen[ref] {
			seen[ref] = true
			d.secrets(d.lookup(ref), found, seen)
		}
		return
	}
	for name, property := range object(schema["properties"]) {
		if secretName().MatchString(name) {
			found[word(name)] = true
		}
		d.secrets(object(property), found, seen)
	}
	for _, key := range []string{"items", "additionalProperties"} {
		d.secrets(object(schema[key]), found, seen)
	}
	for _, key := range []string{"allOf", "oneOf", "anyOf"} {
		parts, _ := schema[key].([]any)
		for _, part := range parts {
			d.secrets(object(part), found, seen)
		}
	}
	for _, ref := range object(object(schema["discriminator"])["mapping"]) {
		d.secrets(map[string]any{"$ref": ref}, found, seen)
	}
}

func (d description) resolve(o map[string]any) map[string]any {
	if ref := str(o["$ref"]); ref != "" {
		return d.lookup(ref)
	}
	return o
}

// lookup finds what a local reference names. Others name nothing.
func (d description) lookup(ref string) map[string]any {
	pointer, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	o := map[string]any(d)
	for name := range strings.SplitSeq(pointer, "/") {
		o = object(o[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)])
	}
	return o
}

func object(v any) map[string]any {
	switch o := v.(type) {
	case map[string]any:
		return o
	case description:
		return o
	case map[any]any: // YAML reads 200 as a number
		named := make(map[string]any, len(o))
		for key, value := range o {
			named[fmt.Sprint(key)] = value
		}
		return named
	}
	return nil
}

func str(v any) string {
	s, _ := v.(string)
	return s
}

// word makes a name fit for a column.
func word(s string) string { return strings.Join(strings.Fields(s), "_") }

// Reading of form bodies the way ASP.NET does: empty pairs skipped, blank values absent, bad escapes kept as they are.

package veeamtest

import (
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/url"
	"strconv"
	"strings"
)

type form struct {
	values url.Values
	fold   bool // field names are compared without case
	exact  bool // grant_type is compared with case
}

func parseForm(body string) url.Values {
	values := url.Values{}
	for pair := range strings.SplitSeq(body, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name = unescapeForm(name)
		values[name] = append(values[name], unescapeForm(value))
	}
	return values
}

// parseMultipart reads what it can: a part that breaks off is the last.
func parseMultipart(body []byte, boundary string) url.Values {
	values := url.Values{}
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := parts.NextPart()
		if err != nil {
			return values
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return values
		}
		values.Add(part.FormName(), string(value))
	}
}

// parseJSON reads the fields of an object whose values are texts, booleans and nulls. It returns nil for anything else.
func parseJSON(body []byte) url.Values {
	var fields map[string]any
	if json.Unmarshal(body, &fields) != nil || fields == nil {
		return nil
	}
	values := url.Values{}
	for name, value := range fields {
		switch value := value.(type) {
		case nil:
		case string:
			values.Set(name, value)
		case bool:
			values.Set(name, strconv.FormatBool(value))
		default:
			return nil
		}
	}
	return values
}

// get returns the first value of a field, or "" when it is missing or blank.
func (f form) get(name string) string {
	values := f.values[name]
	if values == nil && f.fold {
		for n, v := range f.values {
			if strings.EqualFold(n, name) {
				values = v
				break
			}
		}
	}
	if len(values) == 0 || strings.TrimSpace(values[0]) == "" {
		return ""
	}
	return values[0]
}

// grant is the grant type, in lower case where servers compare it so.
func (f form) grant() string {
	if f.exact {
		return f.get("grant_type")
	}
	return strings.ToLower(f.get("grant_type"))
}

func (f form) bool(name string) bool { return strings.EqualFold(f.get(name), "true") }

func unescapeForm(s string) string {
	return unescape(strings.ReplaceAll(s, "+", " "))
}

// unescape decodes percent escapes once and leaves what is none.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

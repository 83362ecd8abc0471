// The JSON of tokens and key sets, read so that nobody reads it in another way.

package jwtcaller

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep claims may be nested.
const maxDepth = 16

var (
	errNotJSON   = errors.New("it is not a JSON object")
	errTwice     = errors.New("it has a duplicate name")
	errTooDeep   = errors.New("it is nested too deeply")
	errAmbiguous = errors.New("its name matches several claims")
)

// decode reads one JSON object with nothing behind it. A name that is twice in an object
// is an error, because readers differ in which value they use. Names differ in case.
func decode(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) || !json.Valid(data) {
		return nil, errNotJSON
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	value, err := decodeValue(dec, 0)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if _, end := dec.Token(); !ok || !errors.Is(end, io.EOF) {
		return nil, errNotJSON
	}
	return object, nil
}

func decodeValue(dec *json.Decoder, depth int) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, errNotJSON
	}
	delim, nested := token.(json.Delim)
	switch {
	case !nested:
		return token, nil
	case depth == maxDepth:
		return nil, errTooDeep
	case delim == '[':
		list := []any{}
		for dec.More() {
			value, err := decodeValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err = dec.Token()
		return list, err
	}
	object := make(map[string]any)
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, errNotJSON
		}
		text, _ := name.(string)
		if _, twice := object[text]; twice {
			return nil, errTwice
		}
		if object[text], err = decodeValue(dec, depth+1); err != nil {
			return nil, err
		}
	}
	_, err = dec.Token()
	return object, err
}

// lookup returns a claim, nil if there is none. Dots in the path lead into objects, unless
// they belong to a name, as in kubernetes.io.serviceaccount.name. It is an error if the
// path leads to more than one claim.
func lookup(claims map[string]any, path string) (any, error) {
	var found []any
	collect(claims, path, &found)
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	return nil, errAmbiguous
}

func collect(claims map[string]any, path string, found *[]any) {
	if value, ok := claims[path]; ok {
		*found = append(*found, value)
	}
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		if inner, ok := claims[path[:i]].(map[string]any); ok {
			collect(inner, path[i+1:], found)
		}
	}
}

// has reports whether a claim is one of the values, or a list that has one of them. The
// texts of scope and scp are lists with blanks (RFC 8693).
func has(claims map[string]any, path string, values []string) (bool, error) {
	value, err := lookup(claims, path)
	if err != nil {
		return false, err
	}
	if text, ok := value.(string); ok && (path == "scope" || path == "scp") {
		return slices.ContainsFunc(strings.Split(text, " "), func(word string) bool { return slices.Contains(values, word) }), nil
	}
	if list, ok := value.([]any); ok {
		return slices.ContainsFunc(list, func(one any) bool { return is(one, values) }), nil
	}
	return is(value, values), nil
}

func is(value any, values []string) bool {
	switch value := value.(type) {
	case string:
		return slices.Contains(values, value)
	case json.Number:
		return slices.Contains(values, value.String())
	case bool:
		return value && slices.Contains(values, "true") || !value && slices.Contains(values, "false")
	}
	return false
}

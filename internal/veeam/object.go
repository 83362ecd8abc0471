// JSON objects as servers and clients send them: keys in either spelling, in the order
// of the text, possibly after a byte order mark.

package veeam

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
)

var byteOrderMark = []byte("\xef\xbb\xbf")

var errNoObject = errors.New("not a JSON object")

// member is one key of a JSON object.
type member struct {
	Key   string
	Value json.RawMessage
}

// object is a JSON object with its keys in the order of the text.
type object []member

func readObject(data []byte) (object, error) {
	data = bytes.TrimSpace(bytes.TrimPrefix(data, byteOrderMark))
	if len(data) == 0 || data[0] != '{' || !json.Valid(data) {
		return nil, errNoObject
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if _, err := dec.Token(); err != nil {
		return nil, errNoObject
	}
	o := object{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, errNoObject
		}
		name, ok := key.(string)
		if !ok {
			return nil, errNoObject
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, errNoObject
		}
		o = append(o, member{name, value})
	}
	return o, nil
}

// get returns the value of a key in any spelling, nil if there is none or if it
// is null. The last of several counts, as in encoding/json.
func (o object) get(folded string) json.RawMessage {
	for _, m := range slices.Backward(o) {
		if fold(m.Key) == folded && string(m.Value) != "null" {
			return m.Value
		}
	}
	return nil
}

// text returns a string value, "" if there is none.
func (o object) text(folded string) string {
	var s string
	if raw := o.get(folded); raw == nil || json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// object returns the object under a key, nil if there is none.
func (o object) object(folded string) object {
	inner, err := readObject(o.get(folded))
	if err != nil {
		return nil
	}
	return inner
}

// objects returns the objects of the list under a key.
func (o object) objects(folded string) (list []object) {
	var raw []json.RawMessage
	if json.Unmarshal(o.get(folded), &raw) != nil {
		return nil
	}
	for _, item := range raw {
		if inner, err := readObject(item); err == nil {
			list = append(list, inner)
		}
	}
	return list
}

// texts returns the strings of the list under a key.
func (o object) texts(folded string) (list []string) {
	_ = json.Unmarshal(o.get(folded), &list)
	return list
}

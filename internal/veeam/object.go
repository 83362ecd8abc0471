// JSON objects as servers and clients send them: keys in either spelling, in the order
// of the text, possibly after a byte order mark.

package veeam

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"unicode/utf8"

	"github.com/caddy-veeam/veeam-auth/internal/jsonscan"
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

// maxDepth is how deep encoding/json reads, too.
const maxDepth = 10_000

// readObject reads an object. The values are parts of data, which may have tokens: what is kept
// of them has to be copied.
func readObject(data []byte) (object, error) {
	data = bytes.TrimSpace(bytes.TrimPrefix(data, byteOrderMark))
	if len(data) == 0 || data[0] != '{' {
		return nil, errNoObject
	}
	o := object{}
	scan := jsonscan.Scanner{MaxDepth: maxDepth}
	for i, began, isKey := 0, 0, false; ; { // began and isKey are of the latest key or value of the object itself
		own := scan.Depth() == 1
		event, next := scan.Next(data, i)
		whole := false
		switch event {
		case jsonscan.Key, jsonscan.String, jsonscan.Number, jsonscan.Word:
			if whole = scan.Whole; own {
				began, isKey = scan.Start, event == jsonscan.Key
			}
		case jsonscan.Object, jsonscan.Array:
			if own {
				began, isKey = next-1, false
			}
		case jsonscan.Close, jsonscan.End:
			whole = true
		case jsonscan.More:
			if !scan.Complete() {
				return nil, errNoObject
			}
			return o, nil
		default:
			return nil, errNoObject
		}
		if whole && scan.Depth() == 1 {
			if part := data[began:next:next]; isKey {
				o = append(o, member{Key: text(part)})
			} else {
				o[len(o)-1].Value = part
			}
		}
		i = next
	}
}

// text returns the value of a JSON string, "" if raw is something else.
func text(raw json.RawMessage) string {
	if len(raw) >= 2 && raw[0] == '"' && jsonscan.Plain(raw, 1) == len(raw)-1 && utf8.Valid(raw) {
		return string(raw[1 : len(raw)-1])
	}
	var value string
	if json.Unmarshal(raw, &value) != nil {
		return ""
	}
	return value
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
func (o object) text(folded string) string { return text(o.get(folded)) }

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

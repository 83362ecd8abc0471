// JSON whose names are spelled as the server does.

package logon

import (
	"bytes"
	"encoding/json"

	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// object is an object of JSON that is being written. Names are given as Enterprise
// Manager 12 spells them.
type object struct {
	format veeam.Format
	body   []byte
}

// raw adds a value that is JSON.
func (o *object) raw(name, value string) {
	if len(o.body) > 0 {
		o.body = append(o.body, ',')
	}
	o.body = append(o.body, `"`+o.format.Name(name)+`":`+value...)
}

// text adds a string.
func (o *object) text(name, value string) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(value) // a string always encodes
	o.raw(name, string(bytes.TrimSpace(b.Bytes())))
}

// String is the whole object.
func (o *object) String() string { return "{" + string(o.body) + "}" }

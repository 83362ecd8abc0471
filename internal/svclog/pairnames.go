// This file holds the names of fields that name something else, whose value stands
// beside them: {"displayName":"password","value":"x"}.

package svclog

import "sync"

// PairRole is the role of a field in an object with a name and a value.
type PairRole uint8

const (
	// PairNone means that the field is independent of the others.
	PairNone PairRole = iota
	// PairName means that the value is the name of something.
	PairName
	// PairValue means that the value belongs to the name in another field.
	PairValue
)

// pairRoles returns the normalised names of both.
var pairRoles = sync.OnceValue(func() map[string]PairRole {
	return map[string]PairRole{
		"name": PairName, "key": PairName, "path": PairName, "field": PairName, "fieldname": PairName, "property": PairName,
		"propertyname": PairName, "parameter": PairName, "parametername": PairName, "param": PairName, "attribute": PairName,
		"attributename": PairName, "id": PairName, "displayname": PairName, "label": PairName, "title": PairName, "caption": PairName,
		"setting": PairName, "settingname": PairName, "option": PairName, "optionname": PairName, "variable": PairName,
		"variablename": PairName, "keyname": PairName, "header": PairName, "headername": PairName, "argument": PairName,
		"argumentname": PairName, "type": PairName, "kind": PairName, "claim": PairName, "claimtype": PairName,
		"column": PairName, "columnname": PairName, "secretname": PairName, "credentialtype": PairName,

		"value": PairValue, "newvalue": PairValue, "oldvalue": PairValue, "currentvalue": PairValue, "defaultvalue": PairValue,
		"values": PairValue, "val": PairValue, "stringvalue": PairValue, "textvalue": PairValue, "valuetext": PairValue, "rawvalue": PairValue,
		"plainvalue": PairValue, "originalvalue": PairValue, "previousvalue": PairValue,
	}
})

// PairRoleOf returns the role of a field by its name.
func PairRoleOf(name string) PairRole {
	const longest = 16
	if len(name) > longest {
		return PairNone
	}
	var buf [nameWidth]byte
	return pairRoles()[string(normalize(&buf, name))]
}

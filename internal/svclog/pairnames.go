// This file holds the names of fields that name something else, whose value stands
// beside them: {"displayName":"password","value":"x"}.

package svclog

// PairRole is what a field is in such an object.
type PairRole uint8

const (
	// PairNone says that the field stands for itself.
	PairNone PairRole = iota
	// PairName says that the value is the name of something.
	PairName
	// PairValue says that the value is that of what a field beside it names.
	PairValue
)

// pairRoles lists the normalised names of both.
var pairRoles = map[string]PairRole{
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

// PairRoleOf is the role of a field by its name.
func PairRoleOf(name string) PairRole {
	const longest = 16
	if len(name) > longest {
		return PairNone
	}
	var buf [nameWidth]byte
	return pairRoles[string(normalize(&buf, name))]
}

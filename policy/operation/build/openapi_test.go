// API descriptions of both formats, in JSON and YAML.

package build

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const openapi3 = `
openapi: 3.0.1
servers:
  - url: https://localhost:9419/
paths:
  /api/v1/things/{id}:
    parameters: [{name: id, in: path}]
    get:
      operationId: GetThing
      tags: [Some   Things, Other]
      responses:
        200: {$ref: '#/components/responses/Thing'}
        "401": {content: {application/json: {schema: {properties: {token: {}}}}}}
    delete: {responses: {"204": {description: gone}}}
  /api/v1/serverTime:
    get:
      operationId: GetServerTime
      security: []
      tags: [Service]
      responses: {"200": {content: {application/octet-stream: {schema: {type: string}}}}}
components:
  responses:
    Thing: {content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}}}}
  schemas:
    Base:
      discriminator: {mapping: {linux: '#/components/schemas/Linux'}}
      properties: {name: {type: string}, self: {$ref: '#/components/schemas/Base'}}
    Linux: {properties: {privateKey: {type: string}}}
    Thing:
      allOf: [{$ref: '#/components/schemas/Base'}]
      properties:
        list: {items: {oneOf: [{properties: {passwordId: {}}}, {$ref: 'other.yaml#/x'}]}}
        map: {additionalProperties: {properties: {clientSecret: {}}}}
`

var openapi3Rows = []Row{
	{Method: "GET", Path: "/api/v1/serverTime", Name: "GetServerTime", Group: "Service", Anonymous: true, Stream: true},
	{Method: "DELETE", Path: "/api/v1/things/{id}", Name: "delete/api/v1/things/{id}", Group: "-"},
	{
		Method: "GET", Path: "/api/v1/things/{id}", Name: "GetThing", Group: "Some Things",
		Fields: []string{"clientSecret", "passwordId", "privateKey"},
	},
}

func TestOpenAPI3(t *testing.T) {
	rows, err := ReadOpenAPI([]byte(openapi3))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(openapi3Rows, rows); diff != "" {
		t.Error(diff)
	}
	var b bytes.Buffer
	if err := WriteRows(&b, rows); err != nil {
		t.Fatal(err)
	}
	if again, err := ReadRows(&b); err != nil || cmp.Diff(rows, again) != "" {
		t.Errorf("it cannot be read as a list: %v", err)
	}
}

const swagger2 = `{
  "swagger": "2.0", "basePath": "/api/v1",
  "paths": {"/keys": {
    "get": {"operationId": "Keys", "produces": ["application/json"], "responses": {"200": {"schema": {"$ref": "#/definitions/Keys"}}}},
    "post": {"operationId": "Download", "responses": {"default": {"schema": {"type": "file"}}}},
    "put": {"operationId": "Zip", "produces": ["application/zip"], "responses": {"200": {}}},
    "x-note": {}
  }},
  "definitions": {"Keys": {"properties": {"accessKey": {"type": "string"}, "a~b": {"$ref": "#/definitions/Keys"}}}}
}`

func TestSwagger2(t *testing.T) {
	rows, err := ReadOpenAPI([]byte("\ufeff" + swagger2))
	want := []Row{
		{Method: "GET", Path: "/api/v1/keys", Name: "Keys", Group: "-", Fields: []string{"accessKey"}},
		{Method: "POST", Path: "/api/v1/keys", Name: "Download", Group: "-", Stream: true},
		{Method: "PUT", Path: "/api/v1/keys", Name: "Zip", Group: "-", Stream: true},
	}
	if diff := cmp.Diff(want, rows); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestWhatIsNoDescriptionIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":       "",
		"no format":     `{"paths": {"/a": {"get": {}}}}`,
		"no operations": `{"openapi": "3.0.0", "paths": {}}`,
		"a page":        "<html><body>: :</body></html>\n\t- x",
		"broken JSON":   `{"openapi": `,
		"a list":        "- a\n- b\n",
		"relative path": `{"openapi": "3.0.0", "paths": {"a": {"get": {}}}}`,
	} {
		if rows, err := ReadOpenAPI([]byte(text)); err == nil {
			t.Errorf("%s: %v", name, rows)
		}
	}
}

func FuzzReadOpenAPI(f *testing.F) {
	f.Add([]byte(openapi3))
	f.Add([]byte(swagger2))
	f.Fuzz(func(t *testing.T, text []byte) {
		rows, err := ReadOpenAPI(text)
		if err != nil {
			return
		}
		for _, row := range rows {
			if !strings.HasPrefix(row.Path, "/") || row.Name == "" || row.Group == "" {
				t.Errorf("%+v", row)
			}
		}
	})
}

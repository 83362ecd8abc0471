// The index of an operator's own server.

package build

import (
	"os"
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/policy/operation"
)

const ownDescription = `{"openapi": "3.0.1", "info": {"version": "1.4 rev0"}, "paths": {
	"/api/v1/jobs": {"get": {"operationId": "GetAllJobs", "tags": ["Jobs"], "responses": {}}},
	"/api/v1/jobs/{id}/start": {"post": {"operationId": "StartJob", "tags": ["Jobs"], "responses": {}}},
	"/api/v1/newThings/{id}": {"get": {}, "delete": {}, "put": {}},
	"/api/v1/newThings/{id}/password": {"get": {}},
	"/api/v1/newThings/{id}/frob": {"post": {"operationId": "Frob"}},
	"/api/v1/newThings/{id}.csv": {"get": {}},
	"/api/v1/new things": {"get": {}},
	"/": {"get": {}}
}}`

func TestTheDescriptionOfAnOperatorBecomesAnIndexFile(t *testing.T) {
	own, err := FromOpenAPI([]byte(ownDescription), "", "")
	if err != nil {
		t.Fatal(err)
	}
	const want = "# product\tvbr\n# versions\t1.4_rev0\n" +
		"read\tGET\t/api/v1/jobs\tGetAllJobs\tJobs\ta\n" +
		"run\tPOST\t/api/v1/jobs/{id}/start\tStartJob\tJobs\ta\n" +
		"destroy\tDELETE\t/api/v1/newThings/{id}\tdelete/api/v1/newthings/{id}\t-\ta\n" +
		"read\tGET\t/api/v1/newThings/{id}\tget/api/v1/newthings/{id}\t-\ta\n" +
		"change\tPUT\t/api/v1/newThings/{id}\tput/api/v1/newthings/{id}\t-\ta\n" +
		"unknown\tPOST\t/api/v1/newThings/{id}/frob\tFrob\t-\ta\n" +
		"unknown\tGET\t/api/v1/newThings/{id}/password\tget/api/v1/newthings/{id}/password\t-\ta\n"
	if !strings.EqualFold(own.Text, want) {
		t.Errorf("%s", own.Text)
	}
	if own.Product != "vbr" || own.Version != "1.4_rev0" || len(own.Unclassed) != 2 || len(own.LeftOut) != 3 || own.Counts[operation.Unknown] != 2 {
		t.Errorf("%+v", own)
	}
	if err := operation.Check("vbr", own.Text); err != nil {
		t.Error(err)
	}
	for _, c := range []struct{ text, product, want string }{
		{`{"openapi": "3.0.1", "paths": {"/x": {"get": {}}}}`, "", "specify the product"},
		{`{"openapi": "3.0.1", "paths": {"/": {"get": {}}}}`, "vbr", "no operations that an index can hold"},
		{ownDescription, "other", "unknown product"},
		{"<html></html>", "", "it is not an API description, OpenAPI 3 or Swagger 2 in JSON or YAML"},
		{"- a list", "", "it is not an API description"},
		{"", "", "it is not an API description"},
		{"{}", "", "it is not an API description"},
		{`{"openapi": "3.0.1", "paths"`, "", "in JSON or YAML: unexpected end of JSON input"},
		{"openapi: 3.0.1\n\tpaths: {", "", "in JSON or YAML: yaml: line 2"},
		{own.Text, "", "it is an index file, for the option index_file"},
	} {
		if _, err := FromOpenAPI([]byte(c.text), c.product, ""); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.want, err)
		}
	}
}

func TestANewVersionInPathsIsTheNewestOfTheFile(t *testing.T) {
	const text = `{"swagger": "2.0", "basePath": "/api/v9", "info": {"version": "9"}, "paths": {"/policies/sql": {"get": {}}, "/policies/new": {"get": {}}}}`
	own, err := FromOpenAPI([]byte(text), "azure", "")
	if err != nil || !strings.Contains(own.Text, "# newest\t9\n") || !strings.Contains(own.Text, "\t/api/{version}/policies/new\t") {
		t.Errorf("%+v, %v", own, err)
	}
}

// The list of every version, written as a description and read again, has the classes
// of the index.
func TestAPlugInIsPartOfItsHost(t *testing.T) {
	const text = `{"openapi": "3.0.1", "info": {"version": "11"}, "servers": [{"url": "https://vbr/extension/799a5a3e-ae1e-4eaf-86eb-8a9acc2670e2/api/v11"}],
		"paths": {"/jobs": {"get": {"operationId": "GetJobs"}}, "/jobs/{id}/start": {"post": {}}}}`
	own, err := FromOpenAPI([]byte(text), "ahv", "")
	if err != nil || own.Product != "vbr" || !strings.Contains(own.Text, "run\tPOST\t/extension/{instance}/api/{version}/jobs/{id}/start\t") || !strings.Contains(own.Text, "# newest\t11\n") {
		t.Errorf("%+v, %v", own, err)
	}
	if _, err := os.Stat("../index/ahv.tsv"); err == nil {
		t.Error("the plug-in has an index of its own")
	}
}

// FuzzFromOpenAPI: whatever a description says, the file that is made of it is valid.
func FuzzFromOpenAPI(f *testing.F) {
	f.Add([]byte(ownDescription), "vbr")
	f.Add([]byte(openapi3), "")
	f.Add([]byte(swagger2), "em")
	f.Add([]byte(`{"swagger":"2.0","basePath":"/v8","paths":{"/a\tb":{"get":{"operationId":"x\ny","tags":["a\tb"]}},"/a?x=y":{"post":{}},"/a/../b":{"get":{}}}}`), "vb365")
	f.Fuzz(func(t *testing.T, text []byte, product string) {
		own, err := FromOpenAPI(text, product, "")
		if err != nil {
			return
		}
		if err := operation.Check(own.Product, own.Text); err != nil {
			t.Errorf("%v\n%s", err, own.Text)
		}
	})
}

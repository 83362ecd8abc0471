package main

// The lists of what is inside, one for each binary: CycloneDX 1.6 and SPDX 2.3. Both come
// from the build info that Go writes into the binary.

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/caddy-veeam/veeam-auth/tools/deploy/linked"
)

const projectURL = "https://github.com/caddy-veeam/veeam-auth"

func (r *release) writeLists() error {
	for _, b := range r.binaries {
		program, err := os.ReadFile(b.path)
		if err != nil {
			return err
		}
		sum := fmt.Sprintf("%x", sha256.Sum256(program))
		base := fmt.Sprintf("veeam-auth_%s_%s_%s", r.number(), b.os, b.arch)
		modules := r.linkedInto(b)

		var buf bytes.Buffer
		encoder := cyclonedx.NewBOMEncoder(&buf, cyclonedx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false)
		if err := encoder.EncodeVersion(r.cycloneDX(b, modules, sum), cyclonedx.SpecVersion1_6); err != nil {
			return err
		}
		if err := r.write(base+".cdx.json", buf.Bytes()); err != nil {
			return err
		}
		if err := r.writeJSON(base+".spdx.json", r.spdx(b, modules, base, sum)); err != nil {
			return err
		}
	}
	return nil
}

// linkedInto returns the modules of a binary, with their licences.
func (r *release) linkedInto(b binary) []linked.Module {
	byPath := map[string]linked.Module{}
	for _, m := range r.modules {
		byPath[m.Path] = m
	}
	modules := linked.Modules(b.info)
	for i := range modules {
		modules[i] = byPath[modules[i].Path]
	}
	return modules
}

func (r *release) writeJSON(name string, value any) error {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	return r.write(name, buf.Bytes())
}

// purl is the package URL of a Go module.
func purl(path, version string) string { return "pkg:golang/" + path + "@" + version }

// hexSum is the h1: of go.sum in hexadecimal digits.
func hexSum(h1 string) string {
	sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(h1, "h1:"))
	if err != nil || len(sum) != sha256.Size {
		return ""
	}
	return hex.EncodeToString(sum)
}

func (r *release) cycloneDX(b binary, modules []linked.Module, sum string) *cyclonedx.BOM {
	bom := cyclonedx.NewBOM()
	self := purl(b.info.Main.Path, r.version)
	bom.Metadata = &cyclonedx.Metadata{
		Timestamp: r.time.Format(time.RFC3339),
		Component: &cyclonedx.Component{
			BOMRef: self, Type: cyclonedx.ComponentTypeApplication, Name: "veeam-auth", Version: r.version, PackageURL: self,
			Hashes:   &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: sum}},
			Licenses: &cyclonedx.Licenses{{Expression: "Apache-2.0"}},
			Properties: &[]cyclonedx.Property{
				{Name: "goos", Value: b.os}, {Name: "goarch", Value: b.arch}, {Name: "vcs.revision", Value: r.commit},
			},
		},
	}
	var components []cyclonedx.Component
	var refs []string
	for _, m := range modules {
		ref := purl(m.Path, m.Version)
		component := cyclonedx.Component{
			BOMRef: ref, Type: cyclonedx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: ref,
			Scope: cyclonedx.ScopeRequired,
		}
		if m.Licence != linked.NoAssertion {
			component.Licenses = &cyclonedx.Licenses{{Expression: m.Licence}}
		}
		if m.Sum != "" {
			component.Properties = &[]cyclonedx.Property{{Name: "go.sum", Value: m.Sum}}
		}
		components, refs = append(components, component), append(refs, ref)
	}
	bom.Components = &components
	bom.Dependencies = &[]cyclonedx.Dependency{{Ref: self, Dependencies: &refs}}
	return bom
}

func (r *release) spdx(b binary, modules []linked.Module, name, sum string) *v2_3.Document {
	const root = "veeam-auth"
	doc := &v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT", DocumentName: name,
		DocumentNamespace: projectURL + "/spdx/" + name + "/" + sum,
		CreationInfo: &v2_3.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "veeam-auth-release"}}, Created: r.time.Format(time.RFC3339),
		},
	}
	add := func(id, name, version, location, licence string) *v2_3.Package {
		p := &v2_3.Package{
			PackageSPDXIdentifier: common.ElementID(id), PackageName: name, PackageVersion: version,
			PackageDownloadLocation: location, PackageLicenseConcluded: licence, PackageLicenseDeclared: licence,
			PackageCopyrightText: "NOASSERTION",
			PackageExternalReferences: []*v2_3.PackageExternalReference{{
				Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: purl(name, version),
			}},
		}
		doc.Packages = append(doc.Packages, p)
		return p
	}
	relate := func(from, kind, to string) {
		doc.Relationships = append(doc.Relationships, &v2_3.Relationship{
			RefA: common.MakeDocElementID("", from), RefB: common.MakeDocElementID("", to), Relationship: kind,
		})
	}
	program := add(root, b.info.Main.Path, r.version, "git+"+projectURL+"@"+r.commit, "Apache-2.0")
	program.PackageChecksums = []common.Checksum{{Algorithm: common.SHA256, Value: sum}}
	program.PrimaryPackagePurpose = "APPLICATION"
	relate("DOCUMENT", common.TypeRelationshipDescribe, root)
	for i, m := range modules {
		id := fmt.Sprintf("module-%d", i)
		location := "https://proxy.golang.org/" + m.Path + "/@v/" + m.Version + ".zip"
		if m.Path == linked.StandardLibrary {
			location = "https://go.dev/dl/go" + m.Version + ".src.tar.gz"
		}
		p := add(id, m.Path, m.Version, location, m.Licence)
		if m.Sum != "" {
			p.PackageComment = "go.sum: " + m.Sum
		}
		relate(root, common.TypeRelationshipContains, id)
	}
	return doc
}

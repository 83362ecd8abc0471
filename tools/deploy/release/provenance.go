package main

// Where the files come from: a statement of in-toto with SLSA's provenance, and the
// checksums, which are what a maintainer signs.

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
)

const (
	provenanceName = "provenance.intoto.json"
	sumsName       = "SHA256SUMS"
)

type (
	statement struct {
		Type          string    `json:"_type"`
		Subject       []subject `json:"subject"`
		PredicateType string    `json:"predicateType"`
		Predicate     predicate `json:"predicate"`
	}
	subject struct {
		Name   string            `json:"name"`
		Digest map[string]string `json:"digest"`
	}
	predicate struct {
		BuildDefinition buildDefinition `json:"buildDefinition"`
		RunDetails      runDetails      `json:"runDetails"`
	}
	buildDefinition struct {
		BuildType            string            `json:"buildType"`
		ExternalParameters   map[string]string `json:"externalParameters"`
		InternalParameters   map[string]string `json:"internalParameters"`
		ResolvedDependencies []dependency      `json:"resolvedDependencies"`
	}
	dependency struct {
		URI    string            `json:"uri"`
		Digest map[string]string `json:"digest,omitempty"`
	}
	runDetails struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
	}
)

// writeProvenance describes all files that dist has so far. It has no time and no builder's
// name: who repeats the build gets the same statement.
func (r *release) writeProvenance() error {
	sums, err := r.sums()
	if err != nil {
		return err
	}
	s := statement{Type: "https://in-toto.io/Statement/v1", PredicateType: "https://slsa.dev/provenance/v1"}
	for _, sum := range sums {
		s.Subject = append(s.Subject, subject{sum.name, map[string]string{"sha256": sum.sum}})
	}
	definition := buildDefinition{
		BuildType:          projectURL + "/blob/main/docs/release.md",
		ExternalParameters: map[string]string{"source": "git+" + projectURL, "version": r.version, "command": "make release"},
		InternalParameters: map[string]string{"go": r.binaries[0].info.GoVersion},
		ResolvedDependencies: []dependency{
			{"git+" + projectURL + "@" + r.version, map[string]string{"gitCommit": r.commit}},
		},
	}
	for _, m := range r.modules {
		d := dependency{URI: purl(m.Path, m.Version)}
		if m.Sum != "" {
			d.Digest = map[string]string{"dirHash": hexSum(m.Sum)}
		}
		definition.ResolvedDependencies = append(definition.ResolvedDependencies, d)
	}
	s.Predicate.BuildDefinition = definition
	s.Predicate.RunDetails.Builder.ID = projectURL + "/tree/main/tools/deploy/release"
	return r.writeJSON(provenanceName, s)
}

type fileSum struct{ name, sum string }

// sums reads all files of dist, sorted by name.
func (r *release) sums() ([]fileSum, error) { return sumsOf(r.dist) }

func sumsOf(dist string) ([]fileSum, error) {
	entries, err := os.ReadDir(dist)
	if err != nil {
		return nil, err
	}
	var sums []fileSum
	for _, e := range entries {
		data, err := os.ReadFile(dist + "/" + e.Name())
		if err != nil {
			return nil, err
		}
		sums = append(sums, fileSum{e.Name(), fmt.Sprintf("%x", sha256.Sum256(data))})
	}
	return sums, nil
}

// writeSums writes the list that `sha256sum -c` checks and that the signature covers.
func (r *release) writeSums() error {
	sums, err := r.sums()
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	for _, sum := range sums {
		fmt.Fprintf(&buf, "%s  %s\n", sum.sum, sum.name)
	}
	return r.write(sumsName, buf.Bytes())
}

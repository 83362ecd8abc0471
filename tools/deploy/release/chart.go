package main

// The Helm chart, with the version of the release.

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

const chartFolder = "deploy/helm/veeam-auth"

var chartVersions = regexp.MustCompile(`(?m)^(version|appVersion):.*$`)

func (r *release) writeChart() error {
	var entries []entry
	folder := filepath.Join(r.root, chartFolder)
	err := filepath.WalkDir(folder, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		relative, err := filepath.Rel(folder, file)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(file) //nolint:gosec // a file of the checkout
		if err != nil {
			return err
		}
		if relative == "Chart.yaml" {
			if data, err = r.withVersion(data); err != nil {
				return err
			}
		}
		entries = append(entries, entry{name: "veeam-auth/" + filepath.ToSlash(relative), mode: 0o644, data: data})
		return nil
	})
	if err != nil {
		return err
	}
	data, err := tarGz(r.time, entries)
	if err != nil {
		return err
	}
	return r.write(fmt.Sprintf("veeam-auth-chart-%s.tgz", r.number()), data)
}

func (r *release) withVersion(chart []byte) ([]byte, error) {
	if n := len(chartVersions.FindAll(chart, -1)); n != 2 {
		return nil, fmt.Errorf("%s/Chart.yaml: found %d lines of version and appVersion, want 2", chartFolder, n)
	}
	return chartVersions.ReplaceAll(chart, fmt.Appendf(nil, `${1}: "%s"`, r.number())), nil
}

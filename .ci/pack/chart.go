package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var chartVersion = regexp.MustCompile(`(?m)^(version|appVersion): .*$`)

// chart are the files of the Helm chart, with the version of the release, which names
// the image that the chart runs.
func (r *Release) chart(to string) (all []file, err error) {
	root := r.path("docs/packaging/chart")
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		f := file{to: to + strings.TrimPrefix(path, root+"/"), from: path}
		if e.Name() == "Chart.yaml" {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			f.from, f.text = "", chartVersion.ReplaceAllFunc(text, func(line []byte) []byte {
				if strings.HasPrefix(string(line), "version") {
					return []byte("version: " + r.Chart)
				}
				return []byte(`appVersion: "` + r.Git + `"`)
			})
		}
		all = append(all, f)
		return nil
	})
	return all, err
}

// helm packs the chart as helm package does.
func (r *Release) helm(*Build) ([]string, error) {
	files, err := r.chart("vnode/")
	if err != nil {
		return nil, err
	}
	packed, err := r.archive(files)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(r.Out, "vnode-chart-"+r.Chart+".tgz")
	return []string{path}, os.WriteFile(path, packed, 0o644)
}

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// sbom lists what the program is built of, in CycloneDX's format: the modules that
// are linked, with their licences, and the toolchain.
func (r *Release) sbom(b *Build) ([]string, error) {
	bom := cdx.NewBOM()
	root := cdx.Component{BOMRef: "vnode", Type: cdx.ComponentTypeApplication, Name: "vnode", Version: r.Git,
		PackageURL: "pkg:golang/vnode@" + r.Git, Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}}}
	bom.Metadata = &cdx.Metadata{Timestamp: r.Time.Format(time.RFC3339), Component: &root}
	components := []cdx.Component{{BOMRef: "go", Type: cdx.ComponentTypeLibrary, Name: "std", Version: strings.TrimPrefix(runtime.Version(), "go"),
		PackageURL: "pkg:golang/std@" + strings.TrimPrefix(runtime.Version(), "go"), Licenses: &cdx.Licenses{{License: &cdx.License{ID: "BSD-3-Clause"}}}}}
	needs := []string{"go"}
	for _, m := range b.Modules {
		ref := "pkg:golang/" + m.Path + "@" + m.Version
		components = append(components, cdx.Component{BOMRef: ref, Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: ref,
			Licenses:   &cdx.Licenses{{License: &cdx.License{ID: m.License}}},
			Properties: &[]cdx.Property{{Name: "go:sum", Value: m.Sum}}})
		needs = append(needs, ref)
	}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: "vnode", Dependencies: &needs}}
	// A number that names these contents, where others take one by chance.
	sum := sha256.Sum256([]byte(r.Git + strings.Join(needs, "\n")))
	sum[6], sum[8] = sum[6]&0x0f|0x50, sum[8]&0x3f|0x80
	bom.SerialNumber = fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
	var text bytes.Buffer
	if err := cdx.NewBOMEncoder(&text, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom); err != nil {
		return nil, err
	}
	path := filepath.Join(r.Out, "vnode-"+r.Git+".cdx.json")
	return []string{path}, os.WriteFile(path, text.Bytes(), 0o644)
}

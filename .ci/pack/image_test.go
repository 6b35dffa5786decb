package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"
)

// The image runs without root, shell and daemon: a user, certificates, the program,
// and one directory that the user may write, which is a volume.
func TestImage(t *testing.T) {
	r, b := sample(t)
	made, err := r.image(b)
	require.NoError(t, err)
	require.Len(t, made, 3)
	require.Equal(t, "vnode-v1.2.3-image-arm64.tar", filepath.Base(made[1]))
	img, err := tarball.ImageFromPath(made[1], nil) // as docker load reads it
	require.NoError(t, err)
	require.NoError(t, validate.Image(img))
	c, err := img.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, "arm64", c.Architecture)
	require.Equal(t, "65532:65532", c.Config.User)
	require.Equal(t, []string{"/usr/bin/vnode"}, c.Config.Entrypoint)
	require.Equal(t, []string{"CMD", "/usr/bin/vnode", "health"}, c.Config.Healthcheck.Test)
	require.Contains(t, c.Config.Volumes, "/var/lib/vnode")
	require.Equal(t, "v1.2.3", c.Config.Labels["org.opencontainers.image.version"])
	flat := mutate.Extract(img)
	defer flat.Close()
	all := unpacked(t, flat)
	require.Equal(t, "program for arm64", string(all["usr/bin/vnode"].text))
	require.Contains(t, string(all["etc/ssl/certs/ca-certificates.crt"].text), "BEGIN CERTIFICATE")
	require.Contains(t, string(all["etc/passwd"].text), "vnode:x:65532:")
	require.Contains(t, string(all["etc/vnode/vnode.toml"].text), `state-dir = "/var/lib/vnode"`)
	for name, h := range all {
		if h.Uid != 0 {
			require.Equal(t, "var/lib/vnode", name)
			require.EqualValues(t, 0o700, h.Mode)
		}
		require.Zero(t, h.Mode&0o22, "%s may be written by others", name)
	}
}

// The archive of all architectures is an OCI layout with one index.
func TestImageOfAllArchitectures(t *testing.T) {
	r, b := sample(t)
	made, err := r.image(b)
	require.NoError(t, err)
	f, err := os.Open(made[2])
	require.NoError(t, err)
	defer f.Close()
	all := unpacked(t, f)
	require.JSONEq(t, `{"imageLayoutVersion":"1.0.0"}`, string(all["oci-layout"].text))
	read := func(name string) (m v1.IndexManifest) {
		require.Contains(t, all, name)
		require.NoError(t, json.Unmarshal(all[name].text, &m))
		return m
	}
	top := read("index.json")
	require.Len(t, top.Manifests, 1)
	require.Equal(t, "v1.2.3", top.Manifests[0].Annotations["org.opencontainers.image.ref.name"])
	index := read("blobs/sha256/" + top.Manifests[0].Digest.Hex)
	require.Len(t, index.Manifests, 2)
	for i, arch := range r.Arches {
		require.Equal(t, arch, index.Manifests[i].Platform.Architecture)
		require.Contains(t, all, "blobs/sha256/"+index.Manifests[i].Digest.Hex)
	}
}

// The SBOM names every module with its licence.
func TestSBOM(t *testing.T) {
	r, b := sample(t)
	made, err := r.sbom(b)
	require.NoError(t, err)
	f, err := os.Open(made[0])
	require.NoError(t, err)
	defer f.Close()
	var bom cdx.BOM
	require.NoError(t, cdx.NewBOMDecoder(f, cdx.BOMFileFormatJSON).Decode(&bom))
	require.Equal(t, "v1.2.3", bom.Metadata.Component.Version)
	require.Regexp(t, `^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, bom.SerialNumber)
	licenses := map[string]string{}
	for _, c := range *bom.Components {
		licenses[c.PackageURL] = (*c.Licenses)[0].License.ID
	}
	require.Equal(t, "MIT", licenses["pkg:golang/example.org/mit@v1.0.0"])
	require.Equal(t, "Apache-2.0", licenses["pkg:golang/example.org/apache@v2.0.0"])
}

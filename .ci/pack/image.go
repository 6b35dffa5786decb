package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"encoding/pem"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// The user of the container, who has nothing but the state directory.
const (
	imageUser  = 65532
	imageState = "var/lib/vnode"
)

// image makes an archive of the image for each architecture, which docker load and
// podman load read, and one of all architectures for registries, an OCI layout.
func (r *Release) image(b *Build) (made []string, err error) {
	var index v1.ImageIndex = empty.Index
	for _, arch := range r.Arches {
		img, err := r.imageFor(b, arch)
		if err != nil {
			return nil, err
		}
		add := mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}}
		index = mutate.AppendManifests(index, add)
		path := filepath.Join(r.Out, "vnode-"+r.Git+"-image-"+arch+".tar")
		if err := r.imageArchive(path, mutate.AppendManifests(empty.Index, r.named(add)), img); err != nil {
			return nil, err
		}
		made = append(made, path)
	}
	path := filepath.Join(r.Out, "vnode-"+r.Git+"-image.tar")
	all := mutate.AppendManifests(empty.Index, r.named(mutate.IndexAddendum{Add: index}))
	if err := r.imageArchive(path, all, nil); err != nil {
		return nil, err
	}
	return append(made, path), nil
}

// named gives an entry of an archive's index the name that it is loaded under.
func (r *Release) named(add mutate.IndexAddendum) mutate.IndexAddendum {
	add.Annotations = map[string]string{
		"org.opencontainers.image.ref.name": r.Git,
		"io.containerd.image.name":          "docker.io/library/vnode:" + r.Git,
	}
	return add
}

func (r *Release) imageFor(b *Build, arch string) (v1.Image, error) {
	base, err := r.layer(r.baseFiles(b))
	if err != nil {
		return nil, err
	}
	program, err := r.layer([]file{{to: "usr/bin/vnode", from: b.Programs[arch], mode: 0o755}})
	if err != nil {
		return nil, err
	}
	created := v1.Time{Time: r.Time}
	img, err := mutate.Append(empty.Image,
		mutate.Addendum{Layer: base, History: v1.History{Created: created, CreatedBy: "pack: user, certificates, configuration"}},
		mutate.Addendum{Layer: program, History: v1.History{Created: created, CreatedBy: "pack: vnode " + r.Git}})
	if err != nil {
		return nil, err
	}
	c, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	c = c.DeepCopy()
	c.OS, c.Architecture, c.Created, c.Author = "linux", arch, created, r.Maintainer
	if arch == "arm64" {
		c.Variant = "v8"
	}
	c.Config = v1.Config{
		User:       "65532:65532",
		Entrypoint: []string{"/usr/bin/vnode"},
		Env:        []string{"PATH=/usr/bin", "VNODE_CONFIG=/etc/vnode/vnode.toml"},
		WorkingDir: "/",
		StopSignal: "SIGTERM",
		// A volume, so that the root can be read-only.
		Volumes:      map[string]struct{}{"/" + imageState: {}},
		ExposedPorts: map[string]struct{}{"5269/tcp": {}, "5222/tcp": {}, "5280/tcp": {}, "9280/tcp": {}},
		Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "/usr/bin/vnode", "health"},
			Interval: 15 * time.Second, Timeout: 7 * time.Second, StartPeriod: 10 * time.Second, Retries: 3},
		Labels: map[string]string{
			"org.opencontainers.image.title":       "vnode",
			"org.opencontainers.image.description": "visitor node for Jitsi Meet",
			"org.opencontainers.image.version":     r.Git,
			"org.opencontainers.image.created":     r.Time.Format(time.RFC3339),
			"org.opencontainers.image.licenses":    "Apache-2.0",
		},
	}
	return mutate.ConfigFile(img, c)
}

// baseFiles are those beside the program.
func (r *Release) baseFiles(b *Build) []file {
	var roots bytes.Buffer
	for root := range bundle.Roots() {
		// Writing into memory does not fail.
		_ = pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
	}
	return []file{
		{to: "etc/passwd", text: []byte("vnode:x:65532:65532:vnode:/:/sbin/nologin\n")},
		{to: "etc/group", text: []byte("vnode:x:65532:\n")},
		{to: "etc/ssl/certs/ca-certificates.crt", text: roots.Bytes()},
		{to: "etc/vnode/vnode.toml", from: r.path("docs/packaging/container/vnode.toml")},
		{to: "usr/share/doc/vnode/copyright", text: r.copyright(b.Modules)},
		{to: imageState + "/", mode: fs.ModeDir | 0o700},
	}
}

// layer packs files with the directories above them.
func (r *Release) layer(files []file) (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	have := map[string]bool{".": true}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.to, b.to) })
	for _, f := range files {
		for _, dir := range above(f.to) {
			if have[dir] {
				continue
			}
			have[dir] = true
			if err := w.WriteHeader(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: r.Time, Format: tar.FormatUSTAR}); err != nil {
				return nil, err
			}
		}
		if f.mode.IsDir() {
			err := w.WriteHeader(&tar.Header{Name: f.to, Typeflag: tar.TypeDir, Mode: int64(f.mode.Perm()), Uid: imageUser, Gid: imageUser, ModTime: r.Time, Format: tar.FormatUSTAR})
			if err != nil {
				return nil, err
			}
			continue
		}
		if err := r.write(w, f); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithCompressedCaching)
}

// above are the directories above a path, the highest first.
func above(path string) (all []string) {
	for dir := filepath.Dir(strings.TrimSuffix(path, "/")); dir != "."; dir = filepath.Dir(dir) {
		all = append([]string{dir}, all...)
	}
	return all
}

// imageArchive packs an OCI layout. single is the only image in it, or nil: then it
// can be loaded by a Docker that knows its own format alone, too.
func (r *Release) imageArchive(path string, index v1.ImageIndex, single v1.Image) error {
	dir, err := os.MkdirTemp("", "vnode-image-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if _, err := layout.Write(dir, index); err != nil {
		return err
	}
	if single != nil {
		text, err := r.dockerManifest(single)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "manifest.json"), text, 0o600)
		}
		if err != nil {
			return err
		}
	}
	var files []file
	err = filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, file{to: strings.TrimPrefix(p, dir+"/"), from: p})
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.plainArchive(path, files)
}

// dockerManifest is the list of images as docker save writes it.
func (r *Release) dockerManifest(img v1.Image) ([]byte, error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	blob := func(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }
	var layers []string
	for _, l := range m.Layers {
		layers = append(layers, blob(l.Digest))
	}
	return json.Marshal([]any{map[string]any{
		"Config": blob(m.Config.Digest), "RepoTags": []string{"vnode:" + r.Git}, "Layers": layers,
	}})
}

// plainArchive writes an archive that is not compressed: what is in it is.
func (r *Release) plainArchive(path string, files []file) error {
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.to, b.to) })
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	if err := r.writeAll(w, files); err != nil {
		return err
	}
	return os.WriteFile(path, packed.Bytes(), 0o644)
}

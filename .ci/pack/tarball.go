package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// tarball packs the files for `tar -C / -xzf`. They are files below usr alone:
// where a machine has a symbolic link, as Debian has /lib -> usr/lib, tar would put
// an archived directory in its place.
func (r *Release) tarball(b *Build) (made []string, err error) {
	for _, arch := range r.Arches {
		files, err := r.files(b, arch)
		if err != nil {
			return nil, err
		}
		packed, err := r.archive(files)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(r.Out, "vnode-"+r.Git+"-linux-"+arch+".tar.gz")
		if err := os.WriteFile(path, packed, 0o644); err != nil {
			return nil, err
		}
		made = append(made, path)
	}
	return made, nil
}

// archive is a compressed archive of files: names in order, one owner, the time of
// the commit.
func (r *Release) archive(files []file) ([]byte, error) {
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.to, b.to) })
	var packed bytes.Buffer
	zip, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if err := r.writeAll(tar.NewWriter(zip), files); err != nil {
		return nil, err
	}
	err = zip.Close()
	return packed.Bytes(), err
}

// writeAll writes files into an archive and ends it.
func (r *Release) writeAll(w *tar.Writer, files []file) error {
	for _, f := range files {
		if err := r.write(w, f); err != nil {
			return err
		}
	}
	return w.Close()
}

// write writes a file into an archive.
func (r *Release) write(w *tar.Writer, f file) error {
	text, err := f.content()
	if err != nil {
		return err
	}
	err = w.WriteHeader(&tar.Header{Name: f.to, Mode: int64(f.permissions()), Size: int64(len(text)), ModTime: r.Time, Format: tar.FormatUSTAR})
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

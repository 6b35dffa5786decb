// Package build tells which build of the project a program is.
package build

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"io"
	"os"
	"runtime/debug"
	"strings"
)

// stamped is set by the linker: -ldflags "-X vnode/cmd/internal/build.stamped=1.2.0".
// make build does, and what packs a release.
var stamped string

// archived is the commit of an archive that `git archive` made; in a checkout it
// is a placeholder that git replaces.
//
//go:embed revision.txt
var archived string

// Version names the build and the toolchain: "v1.2.0 0123456789ab go1.26.0". The
// first of these that the build knows names it: what the linker was told, the
// version or revision that the toolchain stamped, the commit of a source archive.
// A build that knows none, such as one of a copied directory, is named by the
// checksum of its program, as sha256sum prints it.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{GoVersion: "unknown toolchain"}
	}
	return version(stamped, info, archived, os.Executable)
}

func version(stamped string, info *debug.BuildInfo, archived string, program func() (string, error)) string {
	revision, dirty := revisionOf(info)
	v := info.Main.Version
	if v == "(devel)" {
		v = ""
	}
	switch {
	case stamped != "":
		v = stamped
	case v != "":
		v = joined(v, revision)
	case revision != "":
		v = "unreleased " + revision
		if dirty {
			v += "+dirty"
		}
	case !strings.Contains(archived, "$"):
		v = "unreleased " + strings.TrimSpace(archived)
	default:
		v = "unreleased sha256:" + checksum(program)
	}
	return v + " " + info.GoVersion
}

// joined adds the revision to a version that does not hold it yet.
func joined(version, revision string) string {
	if revision == "" || strings.Contains(version, revision) {
		return version
	}
	return version + " " + revision
}

// revisionOf returns the first twelve digits of the revision that the toolchain
// stamped, "" without one.
func revisionOf(info *debug.BuildInfo) (revision string, dirty bool) {
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	return revision, dirty
}

// checksum is the beginning of the program's own SHA-256.
func checksum(program func() (string, error)) string {
	path, err := program()
	if err != nil {
		return "unknown"
	}
	f, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "unknown"
	}
	return hex.EncodeToString(sum.Sum(nil)[:6])
}

// Command pack makes what a release consists of, from a checkout: Debian packages,
// archives, container images, the list of what is inside (SBOM), and checksums. It
// needs no root, no daemon and no other program than Go and git. The same commit
// gives the same bytes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Release is what is packed, and from where.
type Release struct {
	// Root is the checkout, Out the directory for what is made.
	Root, Out string
	// Version is git's name of the commit, Arches are those of Go.
	Version
	Arches     []string
	Maintainer string
}

// kind is something that can be made; make returns the files.
type kind struct {
	name string
	make func(r *Release, b *Build) ([]string, error)
}

// kinds are all, in the order in which a release makes them.
var kinds = []kind{
	{"tarball", (*Release).tarball},
	{"deb", (*Release).deb},
	{"image", (*Release).image},
	{"chart", (*Release).helm},
	{"sbom", (*Release).sbom},
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("pack", flag.ContinueOnError)
	r := &Release{}
	var arches string
	flags.StringVar(&r.Root, "root", "../..", "`directory` of the checkout")
	flags.StringVar(&r.Out, "out", "../../bin", "`directory` for what is made")
	flags.StringVar(&arches, "arch", "amd64,arm64", "`architectures`, as Go names them")
	flags.StringVar(&r.Maintainer, "maintainer", "vnode maintainers <vnode@packages.invalid>", "the packages' `maintainer`")
	release := flags.Bool("release", false, "refuse a tree with changes, and write SHA256SUMS of all")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r.Arches = strings.Split(arches, ",")
	var err error
	if r.Root, err = filepath.Abs(r.Root); err != nil {
		return err
	}
	if r.Out, err = filepath.Abs(r.Out); err != nil {
		return err
	}
	if r.Version, err = versionOf(r.Root); err != nil {
		return err
	}
	if *release && r.Dirty {
		return errors.New("the tree has changes: commit them, a release is made of what is committed")
	}
	return r.make(flags.Args(), *release)
}

// make makes the kinds that are named, all without any.
func (r *Release) make(names []string, sums bool) error {
	for _, name := range names {
		if !slices.ContainsFunc(kinds, func(k kind) bool { return k.name == name }) {
			return fmt.Errorf("%q is nothing that can be made", name)
		}
	}
	if err := os.MkdirAll(r.Out, 0o755); err != nil {
		return err
	}
	stage, err := os.MkdirTemp("", "vnode-pack-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(stage)
	b, err := r.build(stage)
	if err != nil {
		return err
	}
	var made []string
	for _, k := range kinds {
		if len(names) > 0 && !slices.Contains(names, k.name) {
			continue
		}
		files, err := k.make(r, b)
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		made = append(made, files...)
	}
	if sums {
		file, err := r.checksums(made)
		if err != nil {
			return err
		}
		made = append(made, file)
	}
	for _, file := range made {
		fmt.Println(file)
	}
	return nil
}

package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Version names a commit.
type Version struct {
	// Git is its name as git describe has it, which the program is stamped with;
	// Debian is the same as dpkg orders versions, Chart as Helm wants one: SemVer.
	Git, Debian, Chart string
	Time               time.Time
	Dirty              bool
}

func versionOf(root string) (Version, error) {
	v := Version{}
	name, err := git(root, "describe", "--tags", "--always", "--dirty")
	if err != nil {
		return v, err
	}
	stamp, err := git(root, "log", "-1", "--format=%ct")
	if err != nil {
		return v, err
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return v, err
	}
	v.Git, v.Time = name, time.Unix(seconds, 0).UTC()
	v.Chart = chartVersionOf(name)
	v.Debian, v.Dirty = debianVersion(name, v.Time), strings.HasSuffix(name, "-dirty")
	return v, nil
}

func git(root string, args ...string) (string, error) {
	var errs bytes.Buffer
	cmd := exec.Command("git", append([]string{"-C", root}, args...)...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// chartVersionOf is a version by the rules of SemVer.
func chartVersionOf(name string) string {
	m := described.FindStringSubmatch(name)
	if m == nil {
		return "0.0.0-git." + strings.ReplaceAll(name, "-", ".")
	}
	v := m[1]
	if m[2] != "" {
		v += "-" + m[2]
	}
	if build := strings.Trim(m[3]+"."+m[4]+strings.ReplaceAll(m[5], "-", "."), "."); build != "" {
		v += "+" + build
	}
	return v
}

var described = regexp.MustCompile(`^v([0-9][0-9A-Za-z.]*)(?:-((?:rc|beta|alpha)[0-9.]*))?(?:-([0-9]+)-g([0-9a-f]+))?(-dirty)?$`)

// debianVersion orders commits: before the first tag by their time, after a tag
// behind it, candidates before the release.
func debianVersion(name string, at time.Time) string {
	m := described.FindStringSubmatch(name)
	if m == nil {
		return "0~git" + at.Format("20060102.150405") + "." + strings.ReplaceAll(name, "-", ".")
	}
	v := m[1]
	if m[2] != "" {
		v += "~" + m[2]
	}
	if m[3] != "" {
		v += "+" + m[3] + "." + m[4]
	}
	if m[5] != "" {
		v += "+dirty"
	}
	return v
}

package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// The state directory of a node that systemd starts is a link: /var/lib/vnode/v3
// leads to /var/lib/private/vnode/v3, which belongs to the unit's dynamic user.
// That user must get through /var/lib/vnode, which belongs to root. A node that
// root runs by hand makes /var/lib/vnode too, and must leave it open for the unit.
const (
	parentMode = 0o755
	stateMode  = 0o700 // it holds keys and passwords
)

// makeDirectory makes the state directory, readable by its owner alone, and
// what is missing above it, which everybody may pass. The error says which
// directory is in the way and what to do.
func makeDirectory(dir string) error {
	err := makeParents(filepath.Dir(dir))
	if err == nil {
		err = os.Mkdir(dir, stateMode)
	}
	if errors.Is(err, fs.ErrExist) && isDirectory(dir) {
		err = nil
	}
	if err == nil {
		err = writable(dir)
	}
	if err == nil {
		return nil
	}
	if f := FaultOf("/", dir, os.Geteuid()); f != nil {
		return fmt.Errorf("state directory %s: %s; as root: %s", dir, f.What, f.Fix)
	}
	return fmt.Errorf("state directory: %w; choose another with -state-dir", err)
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// makeParents makes directories that everybody may pass, whatever root's umask.
func makeParents(dir string) error {
	if isDirectory(dir) {
		return nil
	}
	if err := makeParents(filepath.Dir(dir)); err != nil {
		return err
	}
	switch err := os.Mkdir(dir, parentMode); {
	case errors.Is(err, fs.ErrExist) && isDirectory(dir): // another node was faster
		return nil
	case err != nil:
		return err
	}
	if os.Geteuid() != 0 {
		return nil // a user's own, by the user's umask
	}
	return os.Chmod(dir, parentMode)
}

// writable reports whether files can be made in a directory.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".try-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Fault is what keeps a node from its state directory.
type Fault struct {
	// Path is the directory that is in the way, What is wrong with it, Fix the
	// command for root that mends it.
	Path, What, Fix string
}

// FaultOf finds what keeps the user with a number from the directory
// dir, or nil. A negative number stands for the user that systemd makes for the
// unit: one whom nothing belongs to beside what systemd gives it. Directories
// above root, which stands for /, are not looked at.
func FaultOf(root, dir string, uid int) *Fault {
	for _, parent := range parents(root, dir) {
		if f := passable(parent, uid); f != nil {
			return f
		}
	}
	return ownFault(dir, uid)
}

// parents are the directories between root and dir, the highest first.
func parents(root, dir string) (all []string) {
	root = filepath.Clean(root)
	for dir = filepath.Dir(dir); dir != root && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		all = append([]string{dir}, all...)
	}
	return all
}

// passable looks at a directory on the way.
func passable(dir string, uid int) *Fault {
	link, err := os.Lstat(dir)
	if err != nil {
		return nil // it is still to be made, or what is above it is at fault
	}
	info, err := os.Stat(dir)
	switch {
	case err != nil && link.Mode()&fs.ModeSymlink != 0:
		return danglingLink(dir)
	case err != nil:
		return nil
	case !info.IsDir():
		return &Fault{dir, dir + " is no directory", "mv " + dir + " " + dir + ".old"}
	case uid < 0 && link.Mode()&fs.ModeSymlink != 0 && leadsToPrivate(dir):
		return &Fault{dir, dir + " is a link to what systemd kept for another unit, one with StateDirectory=" + filepath.Base(dir) +
			"; the unit vnode@ cannot put its own directory there", "rm " + dir}
	}
	mode, owner := info.Mode().Perm(), ownerOf(info)
	switch {
	case uid == 0, mode&0o001 != 0, owner == uid && mode&0o100 != 0, inGroup(info, uid) && mode&0o010 != 0:
		return nil
	case filepath.Base(dir) == "private":
		return &Fault{dir, fmt.Sprintf("only root and the units of systemd may pass %s", dir), "systemctl start vnode@ID instead, or another -state-dir"}
	}
	return &Fault{dir, fmt.Sprintf("%s has mode %04o and belongs to %s: %s may not pass it. A node that root started by hand made it so",
		dir, mode, userName(owner), who(uid)), "chmod 755 " + dir}
}

func danglingLink(path string) *Fault {
	target, err := os.Readlink(path)
	if err != nil {
		return nil
	}
	return &Fault{path, fmt.Sprintf("%s is a link to %s, which does not exist", path, target), "rm " + path}
}

// leadsToPrivate reports whether a link was made by systemd for a dynamic user.
func leadsToPrivate(link string) bool {
	target, err := os.Readlink(link)
	return err == nil && (strings.HasPrefix(target, "private/") || strings.Contains(target, "/private/"))
}

// ownFault looks at the state directory itself. systemd takes over a directory
// that is there, whoever it belongs to.
func ownFault(dir string, uid int) *Fault {
	link, err := os.Lstat(dir)
	if err != nil {
		return nil
	}
	info, err := os.Stat(dir)
	switch {
	case err != nil && link.Mode()&fs.ModeSymlink != 0:
		return danglingLink(dir)
	case err != nil:
		return nil
	case !info.IsDir():
		return &Fault{dir, dir + " is no directory", "mv " + dir + " " + dir + ".old"}
	case uid <= 0:
		return nil
	}
	if owner := ownerOf(info); owner != uid && info.Mode().Perm()&0o002 == 0 {
		return &Fault{dir, fmt.Sprintf("%s belongs to %s, and %s may not write there", dir, userName(owner), who(uid)),
			fmt.Sprintf("chown -R %s %s/", userName(uid), dir)}
	}
	return nil
}

func ownerOf(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return -1
}

// inGroup reports whether this process, if it is the user's, is in the group of a
// file.
func inGroup(info fs.FileInfo, uid int) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || uid != os.Geteuid() {
		return false
	}
	if int(s.Gid) == os.Getegid() {
		return true
	}
	groups, err := os.Getgroups()
	if err != nil {
		return false
	}
	for _, g := range groups {
		if g == int(s.Gid) {
			return true
		}
	}
	return false
}

func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

func who(uid int) string {
	if uid < 0 {
		return "the user that systemd makes for the unit"
	}
	return userName(uid)
}

// own gives a file to the owner of its directory: what root makes in the
// directory of a unit's user must be readable for the unit.
func own(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return os.Chown(path, int(s.Uid), int(s.Gid))
}

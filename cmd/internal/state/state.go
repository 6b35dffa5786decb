// Package state keeps what a node makes for itself and must find again after a
// restart: its certificate, the passwords it made up, what it learned of the main
// Prosody, the names of its rooms.
package state

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Directory is the path of the directory a node keeps its own things in.
type Directory string

// Open makes the directory if it is missing, readable by its owner alone.
func Open(path string) (Directory, error) {
	if err := makeDirectory(path); err != nil {
		return "", err
	}
	d := Directory(path)
	// s2s appends to it. Made by root, it must be the unit's.
	if err := makeOnce(d.KnownCertificates()); err != nil {
		return "", fmt.Errorf("known certificates: %w", err)
	}
	return d, nil
}

func (d Directory) file(name string) string { return filepath.Join(string(d), name) }

// KnownCertificates is the file in which s2s remembers the certificates that the
// main Prosody has shown.
func (d Directory) KnownCertificates() string { return d.file("known-certificates") }

// Rooms is the file with the names of the rooms.
func (d Directory) Rooms() string { return d.file("rooms") }

// FocusPasswordFile is where a focus password is that the node made up.
func (d Directory) FocusPasswordFile() string { return d.file("focus-password") }

// FocusPassword returns the focus password that the node made up, once.
func (d Directory) FocusPassword() (string, error) { return madeUp(d.FocusPasswordFile()) }

// AdminToken returns the token for operators that the node made up, once.
func (d Directory) AdminToken() (string, error) { return madeUp(d.file("admin-token")) }

// madeUp returns the secret in a file, which is made up when there is no file.
func madeUp(path string) (string, error) {
	secret, err := Secret(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret = rand.Text()
		err = Write(path, []byte(secret+"\n"))
	}
	return secret, err
}

// Secret returns the text of a file without the end of its line, and without the
// byte order mark that some editors write.
func Secret(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(strings.TrimPrefix(string(b), "\ufeff"), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("%s is empty; put the secret on its first line", path)
	}
	return secret, nil
}

// makeOnce makes an empty file where there is none.
func makeOnce(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), own(path))
}

// Write replaces a file whole, or not at all, readable by its owner alone. A loss of
// power leaves it whole, too.
func Write(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close(), own(f.Name())); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

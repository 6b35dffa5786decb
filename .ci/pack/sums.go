package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// checksums writes SHA256SUMS, as sha256sum -c reads it.
func (r *Release) checksums(files []string) (string, error) {
	var b strings.Builder
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(text), filepath.Base(path))
	}
	path := filepath.Join(r.Out, "SHA256SUMS")
	return path, os.WriteFile(path, []byte(b.String()), 0o644)
}

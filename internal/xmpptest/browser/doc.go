// Package browser runs a real Chromium, without a window, for tests of what
// people see: pages of the node itself and web clients that log in to it.
//
// It needs Debian's chromium package and, for [Axe] and what else is loaded
// into pages, the modules that `npm ci` puts beside this file; `make test`
// installs both. Every browser is a process of its own with a profile of its
// own, ends with its test, and on Linux dies with the test binary.
package browser

// Package conformance holds no code: its test keeps docs/CONFORMANCE.md true
// to the tests it names.
package conformance

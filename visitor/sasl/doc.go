// Package sasl checks passwords: the mechanisms PLAIN (RFC 4616), SCRAM-SHA-1
// (RFC 5802) and SCRAM-SHA-256 (RFC 7677), the latter two also bound to the TLS
// connection they run over. Accounts hold salted keys, never passwords. Who
// guesses learns neither which users there are nor, for long, anything at all.
package sasl

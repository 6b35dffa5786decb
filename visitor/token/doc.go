// Package token reads and verifies the JSON Web Tokens (RFC 7519) of Jitsi's
// clients: who the user is and which rooms it may enter. The keys come from a
// file, a JWK set (RFC 7517) or a key server that has one file for each key.
//
// A token's text is written by whoever connects; nothing of it counts before its
// signature does, except the key id, and that only chooses among keys that are
// trusted anyway.
package token

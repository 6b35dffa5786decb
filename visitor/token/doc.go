// Package token reads and verifies the JSON Web Tokens (RFC 7519) of Jitsi's
// clients: who the user is and which rooms it may enter.
package token

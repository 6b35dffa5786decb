// Package trust decides which server a certificate or an address speaks for:
// by certification authorities, pins, what was seen before (trust on first
// use), or the address alone. It opens no connections.
package trust

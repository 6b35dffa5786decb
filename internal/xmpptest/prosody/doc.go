// Package prosody runs a real Prosody as the main side of the visitors
// protocol (Jitsi's part of a main server, see modules/), for tests and the
// demo. It needs Debian's prosody package, 0.12 or later.
//
// Every server is a child process of its own: configuration, certificates,
// data and modules in a directory of its own, loopback ports that nobody else
// can take, no pid file, no daemon. It neither reads /etc/prosody nor minds a
// Prosody that runs already, works as root or not, several at a time, and on
// Linux dies with its parent (which leaves its directory).
package prosody

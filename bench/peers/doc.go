// Package peers runs other servers on the work of a visitor node, so that one
// load test can measure them side by side: Prosody and ejabberd as plain MUC
// servers, a node of ours, and a floor that does nothing but send.
//
// Each is a child process in a directory of its own, on loopback ports that
// were free, without anything that outlives it: no daemon, no cluster, no port
// mapper. It can be pinned to processor cores, and it ends with [Server.Stop]
// or with this process, whichever is first.
//
// All serve the same room to the same clients: anonymous WebSocket (RFC 7395)
// sessions, a moderated room whose visitors' presence is told to nobody, no
// history, nothing logged, no shaping.
//
// It needs Linux.
package peers

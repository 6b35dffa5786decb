// Package visitor is the clients' side of the node: it accepts streams over
// WebSocket (RFC 7395), BOSH (XEP-0206) and TCP (RFC 6120), logs clients in, binds their
// addresses and reads their stanzas under limits. Visitors log in anonymously
// at the node's domain; the focus is a client too, with a password and an
// admin role, at the auth domain.
//
// One goroutine at a time reads a connection from accept to close, and none while
// it has nothing to read and can be polled. Until bind it writes
// too; at bind the write side goes to fanout. What a client sends is checked
// completely before anybody else sees it; what it says about itself is not
// believed. Stanzas for the node's own domains and the client's own account
// are answered here, everything else goes to the [Handler].
//
// A session can outlive its connection (XEP-0198 §5): its goroutine waits, and
// a connection that resumes it is handed over to that. The rooms notice
// nothing; they are told when the session ends.
//
// A stream ends for one typed reason, the same in the stream error, the log
// and the metric.
package visitor

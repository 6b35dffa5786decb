// Package polls keeps the polls of one room of a visitor node: what main's
// polls component tells about them, and the votes of the node's own visitors.
//
// A [Board] is a pure state machine without time, addresses of people or XML.
// Main tells the whole of its polls each time; the board finds out what is new
// in it. Votes cast here are kept until main shows them, so that main's news of
// other votes, which may be older, do not take them back.
//
// News come out one by one ([Board.Next]), so that the caller sets the pace. A
// voter who changes its mind faster than that is news only once.
package polls

// Package compare gives several servers the same work, one after the other and
// again, and reports what each of them needed for it.
//
// The servers take turns within every repeat, so that what the machine does
// besides falls on all of them; figures are compared within a repeat only, and
// what is reported is the spread over repeats. A server that could not keep up
// is reported as saturated, never as cheap or dear; and when the load test
// itself had no CPU left the server is not blamed.
//
// It needs Linux.
package compare

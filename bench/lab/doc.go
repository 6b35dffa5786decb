// Package lab measures a visitor node: it starts one, or takes one that runs,
// plays main and the focus, fills a room with a crowd, and makes of each
// [Experiment] a run of the report.
//
// Arrivals are random and keep their schedule whatever the node does (an open
// loop), every stanza is stamped with the time it was due, and a window of
// measurement ends only when all queues have drained. Whatever makes a figure
// unfit to be called the node's, above all a load test that had no processor
// left, is said with the figure.
//
// It needs Linux.
package lab

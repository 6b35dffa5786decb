// Command bench is a load test for visitor nodes: it starts one or takes one
// that runs, plays main and the focus, and measures with up to 20,000 visitors
// what a stanza costs, how long it takes, and whether any is lost.
//
//	bench              the standard suite against a node of its own
//	bench run          one scenario, also against a node that runs
//	bench growth       cost against visitors and rate
//	bench table        the numbers this project has promised, with verdicts
//	bench profile      where the node's CPU goes
//	bench compare      other servers on the same work
//
// It needs Linux.
package main

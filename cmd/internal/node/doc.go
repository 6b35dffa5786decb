// Package node puts a whole node together: it makes every part, ties the
// handlers of one to the others, and runs and ends them in order. It knows no
// protocol. Both commands and the end-to-end tests run it in-process.
package node

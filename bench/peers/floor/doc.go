// Package floor is the least a server can do for a room of visitors: it hands
// what a speaker says to everybody, from one ready buffer, with one system call
// for each receiver, and keeps nothing. No server that sends over sockets can be
// cheaper, so what one costs beside it is what it does beside sending.
//
// It answers a client's login, stream management and join with canned words,
// enough for the clients that load real servers. All visitors are told the same
// address, so that one buffer is good for all. It waits for a receiver that
// does not read: it is a yardstick, not a server.
package floor

// Package admission decides who may connect, and when. Connections are counted
// in all and by address. Logins are let in at the rate that the node can serve,
// which it learns from how late the node is with what it does anyway: a
// thousand browsers that arrive at once wait a little, or are told when to come
// again, and those who are inside notice nothing. Clients that come back to a
// session are let in before those that want a new one, and addresses take turns.
package admission

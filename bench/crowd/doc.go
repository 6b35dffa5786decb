// Package crowd is many visitors in one process, cheap enough to load a server
// without being the limit itself.
//
// Where [vnode/bench.Swarm] has a goroutine and a full parser for each visitor,
// here one goroutine a core waits in epoll for all of them and reads with raw
// system calls into one shared buffer. On the way to the room a visitor parses
// what it gets; inside, a stanza costs a look at its frame's header, a search
// for its stamp and a comparison of sequence numbers. Every client still counts
// for itself what was lost, came twice or out of order, and answers stream
// management as lib-jitsi-meet does.
//
// It needs Linux.
package crowd

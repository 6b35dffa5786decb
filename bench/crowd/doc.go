// Package crowd is many visitors in one process, cheap enough to load a server
// without being the limit itself.
//
// Where [vnode/bench.Swarm] has a goroutine and a full parser for each visitor,
// here one goroutine a core waits in epoll for all of them and reads with raw
// system calls into one shared buffer. On the way to the room a visitor parses
// what it gets; inside, the first visitor that gets a stanza has its stamp
// looked for, and of all the others what they get is compared with that, byte
// for byte but for the address: a different stanza under the same stamp is
// unexpected. Every client still counts for itself what was lost, came twice or
// out of order, and answers stream management as lib-jitsi-meet does.
//
// It needs Linux.
package crowd

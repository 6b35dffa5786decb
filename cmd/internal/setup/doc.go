// Package setup configures visitor nodes and the programs around them: it
// writes a configuration per node and a systemd unit, gives the focus its
// password, and gives Prosody, jicofo and nginx, where it finds them, exactly
// what they need to know, else it leaves the pieces to put in by hand.
//
// Everything is planned before anything is written: a [Plan] is a list of files
// with what they hold and what they would hold, so that a dry run shows what a
// real one does. Which nodes there are follows from the files
// /etc/vnode/v*.toml; all else follows from the nodes. So a second run changes
// nothing, and taking a node away is planning without it.
//
// Own files begin with a line that carries a checksum. One that was changed by
// hand is left alone. In files of others only blocks between two marks are
// written, after a copy of the file was put into /etc/vnode/backup.
package setup

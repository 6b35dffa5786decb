package muc

// nodeState is what a room is told of its node with each event. What a room
// decides follows from its own state, the event and this alone.
type nodeState struct {
	limits   *Limits // never changed
	visitors int     // in all rooms
	held     int     // visitors that wait to come back, in all rooms

	requestsFull bool // maxNodeRequestBytes of IQs wait for the focus
	mainFull     bool // the main server is told as much as Limits.Main allows
}

// who is what the node knows of a session when it says something.
type who struct {
	identity *Identity
	region   string
	banned   bool // from this room
}

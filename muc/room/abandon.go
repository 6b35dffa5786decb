package room

// Abandon is the end of a room that met a panic, and handles nothing any more. The
// main server is told that its participants are out, so that it sends them again to
// the next room of that name, and the metrics forget the room. Whom else the end
// concerns must be told without the room.
func (h *Room) Abandon() {
	r := h.life
	h.life = nil
	for range h.waiting.take() {
		h.metrics.joinsWaited(waitedInVain).Inc()
	}
	if r == nil || r.ended != "" {
		return
	}
	r.ended = endPanic
	h.metrics.ended(endPanic).Inc()
	h.metrics.queued.Sub(float64(r.queue.joins()))
	for o := range r.nicks.All() {
		h.metrics.occupants(o.role).Dec()
	}
	s := status{gone: true, self: true, destroy: endPanic.text()}
	for _, o := range r.participants {
		r.out.Send(r.addr.Domain, o.jid().Domain, r.leaveOnMain(o, s))
	}
}

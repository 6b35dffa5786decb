package visitor

import (
	"net/netip"

	"vnode/visitor/admission"
)

// remedies say what raises each limit.
var remedies = map[admission.Limit]string{
	admission.Connections: "raise max-connections, or have jicofo use more nodes",
	admission.PerAddress:  "raise max-connections-per-address; if the address is that of a proxy, name it in trusted-proxies",
	admission.Rate:        "raise max-joins-per-second if the node is not late; they try again by themselves",
}

// refused counts a client that is not let in, and says so, not too often.
func (s *Server) refused(r *admission.Refusal, peer netip.Addr) {
	s.metrics.refused[r.Limit].Inc()
	if s.noise.Allow() {
		s.log.Warn("client refused", "limit", string(r.Limit), "addr", peer, "help", remedies[r.Limit])
	}
}

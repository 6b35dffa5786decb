package s2s

import (
	"fmt"

	"vnode/internal/wire"
	"vnode/s2s/trust"
)

// The options named here are those of the node's configuration, and on the
// other side those of Prosody with Jitsi's modules.

// advice says what the operator can do about a stream that could not be
// opened; it is the end of a log message.
func advice(e *ending, c *settings, d domainPair) string {
	switch e.reason {
	case Unresolved:
		return ": its address does not resolve; check main-s2s"
	case Unreachable:
		return ": nothing answers there; is it running, does it listen for servers, is main-s2s right?"
	case TLSFailed:
		return ": no TLS; enable the module tls there and give " + d.remote + " a certificate"
	case BadCertificate:
		return ": its certificate is not believed; add the new one to s2s-pins, or remove the line of " + d.remote + " from " + knownFile(c)
	case NoMethod:
		return ": there is no way to authenticate; load certs_s2soutinjection there and add " + d.local +
			" to s2sout_override, or load the module dialback"
	case AuthFailed:
		return ": it does not believe that we are " + d.local + "; it must reach this node for that domain: add " + d.local +
			" to s2sout_override or s2s_connect_overrides there"
	case PeerError:
		return refusalAdvice(e.condition(), d)
	}
	return ""
}

func knownFile(c *settings) string {
	if c.Trust.KnownCerts == "" {
		return "memory by a restart"
	}
	return c.Trust.KnownCerts
}

// refusalAdvice is advice about a stream error the peer sent.
func refusalAdvice(s wire.StreamError, d domainPair) string {
	switch s.Condition {
	case wire.PolicyViolation:
		return ": it refused; add " + d.local + " to s2s_whitelist there"
	case wire.HostUnknown:
		return ": it does not serve " + d.remote + "; check main-domain and that the component is enabled there"
	case wire.NotAuthorized:
		return ": it does not accept our certificate; load certs_s2soutinjection there and add " + d.local +
			" to s2sout_override, or add it to s2s_insecure_domains"
	}
	return ": it refused"
}

// refused tells the operator about an incoming stream that did not get through.
// Anybody can cause these lines, so their rate is limited.
func (st *stream) refused(e *ending) {
	harmless := e.reason == Shutdown || e.reason == Closed && st.verified > 0 || e.reason == Lost && st.local == ""
	if harmless || !st.srv.noise.Allow() {
		return
	}
	st.log.Warn(fmt.Sprintf("refused a stream that says it is from %q%s", st.remote, st.inboundAdvice(e)),
		"reason", e.reason, "error", e)
}

func (st *stream) inboundAdvice(e *ending) string {
	switch e.reason {
	case NotAllowed:
		return ": if it is a domain of main's participants, add it to extra-domains"
	case HostUnknown:
		return fmt.Sprintf(": this node does not serve %q; check id and main-domain here, s2sout_override there", st.local)
	case OwnHost:
		return ": that is this node itself; check main-s2s and s2sout_override for a loop"
	case TLSFailed:
		return ": no TLS; enable the module tls there"
	}
	if !st.secure || st.voucher == nil || *st.voucher != "" {
		return ""
	}
	// It was offered dialback at most, and that was not enough.
	certs := st.peerCertificates()
	if len(certs) == 0 {
		return ": it showed no certificate and did not prove itself by dialback; if it is main, add its address to s2s-trusted-addresses"
	}
	return fmt.Sprintf(": its certificate is not known and it did not prove itself by dialback; if it is main, "+
		"add %v to s2s-pins or its address to s2s-trusted-addresses", trust.Of(certs[0]))
}

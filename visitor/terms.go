package visitor

import "vnode/fanout"

// terms are what fanout is told of sessions, by their transport and by whether
// they are the focus': a few, for thousands of sessions.
type terms map[termsOf]*fanout.Terms

type termsOf struct {
	by    *output
	admin bool
}

func newTerms(l *Limits, fan *fanout.Broadcaster) terms {
	all := make(terms)
	for _, by := range []*output{&tcpOutput, &wsOutput, &boshOutput} {
		visitor := fanout.Terms{
			AckRequest: ackRequest, AckEvery: l.AckEvery, MaxPrivate: l.PrivateBytes, MaxUnacked: l.Unacked, Overflow: by.overflow,
		}
		focus := visitor
		focus.MaxPrivate, focus.MaxUnacked = l.AdminPrivateBytes, l.AdminUnacked
		all[termsOf{by, false}], all[termsOf{by, true}] = fan.Terms(visitor), fan.Terms(focus)
	}
	return all
}

func (t terms) of(by *output, admin bool) *fanout.Terms { return t[termsOf{by, admin}] }

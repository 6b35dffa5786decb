package address

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
)

func domains(main string, participants ...string) *Domains {
	return NewDomains("conference.v3.meet.jitsi", "conference", main, participants)
}

func TestTenantAddresses(t *testing.T) {
	d := domains("meet.jitsi")
	for _, c := range []struct{ local, domain, real, public, room, tenant string }{
		{"room", "conference.v3.meet.jitsi", "room", "room@conference.v3.meet.jitsi", "room", ""},
		{"room", "conference.acme.v3.meet.jitsi", "[acme]room", "room@conference.acme.v3.meet.jitsi", "room", "acme"},
		{"room", "conference.my_tenant.v3.meet.jitsi", "[my_tenant]room", "room@conference.my_tenant.v3.meet.jitsi", "room", "my_tenant"},
		{"room", "conference.a.b.v3.meet.jitsi", "[a.b]room", "room@conference.a.b.v3.meet.jitsi", "room", "a.b"},
		{"[acme]room", "conference.v3.meet.jitsi", "[acme]room", "room@conference.acme.v3.meet.jitsi", "room", "acme"},
		{"[]room", "conference.v3.meet.jitsi", "[]room", "[]room@conference.v3.meet.jitsi", "[]room", ""},
	} {
		real, ok := d.Real(c.local, c.domain)
		require.True(t, ok, c.domain)
		require.Equal(t, c.real, real)
		require.Equal(t, c.public, d.Public(real).String())
		room, tenant, ok := d.Room(wire.JID{Local: c.local, Domain: c.domain})
		require.True(t, ok)
		require.Equal(t, c.room, room)
		require.Equal(t, c.tenant, tenant)
	}
	for _, domain := range []string{"v3.meet.jitsi", "conference.meet.jitsi", "meet.jitsi", "conference.v4.meet.jitsi", "conference..v3.meet.jitsi", "polls.v3.meet.jitsi"} {
		_, ok := d.Real("room", domain)
		require.False(t, ok, domain)
		_, _, ok = d.Room(wire.JID{Local: "room", Domain: domain})
		require.False(t, ok, domain)
	}
	local, ok := d.Real("", "conference.acme.v3.meet.jitsi")
	require.True(t, ok)
	require.Empty(t, local)
}

func TestParticipantDomains(t *testing.T) {
	d := domains("meet.jitsi", "Jigasi.example")
	for domain, want := range map[string]bool{
		"meet.jitsi": true, "guest.meet.jitsi": true, "jigasi.example": true,
		"v3.meet.jitsi": false, "conference.v3.meet.jitsi": false, "conference.meet.jitsi": false,
		"visitors.meet.jitsi": false, "xmeet.jitsi": false, "example.org": false,
	} {
		require.Equal(t, want, d.OfParticipants(domain), domain)
	}
}

func TestComponentsOnTheNode(t *testing.T) {
	for _, c := range []struct{ main, domain, want string }{
		{"meet.jitsi", "meet.jitsi", "v3.meet.jitsi"},
		{"meet.jitsi", "polls.meet.jitsi", "polls.v3.meet.jitsi"},
		{"meet.jitsi", "conference.meet.jitsi", ""},
		{"meet.jitsi", "v3.meet.jitsi", ""},
		{"meet.jitsi", "polls.v3.meet.jitsi", ""},
		{"meet.jitsi", "polls.v1.meet.jitsi", ""},
		{"meet.jitsi", ".meet.jitsi", ""},
		{"meet.jitsi", "xmeet.jitsi", ""},
		{"jitmeet.example.com", "jitmeet.example.com", "v3.meet.jitsi"},
		{"jitmeet.example.com", "metadata.jitmeet.example.com", "metadata.v3.meet.jitsi"},
		{"jitmeet.example.com", "meet.jitsi", ""},
		{"v3.meet.jitsi.example", "polls.v3.meet.jitsi.example", "polls.v3.meet.jitsi"},
		{"jitsi", "meet.jitsi", "meet.v3.meet.jitsi"},
	} {
		d := domains(c.main)
		got, ok := d.Component(c.domain)
		require.Equal(t, c.want != "", ok, c.domain)
		require.Equal(t, c.want, got, c.domain)
	}
}

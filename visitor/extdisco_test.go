package visitor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
)

const turnSecret = "keepthissecret"

func withServices(c *Config) {
	c.Services = []Service{
		{Type: "stun", Host: "jitmeet.example.com", Port: 3478},
		{Type: "turn", Host: "jitmeet.example.com", Port: 3478, Transport: "udp", Secret: turnSecret},
		{Type: "turns", Host: "jitmeet.example.com", Port: 5349, Transport: "tcp", Secret: turnSecret, TTL: time.Hour},
		{Type: "turn", Host: "old.example.com", Transport: "tcp", Username: "a'b", Password: "fixed", Restricted: true},
	}
}

// extdisco, with the time and the secret of the test: the passwords are
// OpenSSL's.
func TestServicesAreTold(t *testing.T) {
	const (
		stun   = "<service type='stun' host='jitmeet.example.com' port='3478'/>"
		turn   = "<service type='turn' host='jitmeet.example.com' port='3478' transport='udp' username='946771200' password='BePRtgWmcSAw2S4bUIJZEA2QQQE=' expires='2000-01-02T00:00:00Z' restricted='1'/>"
		turns  = "<service type='turns' host='jitmeet.example.com' port='5349' transport='tcp' username='946688400' password='ilaYZnmjWyB9uEsnCDoe3kUfqY8=' expires='2000-01-01T01:00:00Z' restricted='1'/>"
		static = "<service type='turn' host='old.example.com' transport='tcp' username='a&apos;b' password='fixed' restricted='1'/>"
	)
	result := func(jid, payload string) string {
		return "<iq xmlns='jabber:client' to='" + jid + "' from='v3.meet.jitsi' id='1' type='result'>" + payload + "</iq>"
	}
	for _, space := range []string{nsExtdisco1, nsExtdisco2} {
		inBubble(t, withServices, func(t *testing.T, h *house) {
			p := h.websocket().visitor()
			ask := func(payload string) string {
				p.send("<iq xmlns='jabber:client' type='get' id='1' to='v3.meet.jitsi'>" + strings.ReplaceAll(payload, "XMLNS", "xmlns='"+space+"'") + "</iq>")
				return p.next()
			}
			services := func(all string) string {
				return result(p.jid, "<services xmlns='"+space+"'>"+all+"</services>")
			}
			require.Equal(t, services(stun+turn+turns+static), ask("<services XMLNS/>"))
			require.Equal(t, services(stun+turn+turns+static), ask("<services XMLNS/>"), "from the cache")
			require.Equal(t, services(turns), ask("<services XMLNS type='turns'/>"))
			require.Equal(t, result(p.jid, "<services xmlns='"+space+"'/>"), ask("<services XMLNS type='ftp'/>"))
			require.Equal(t, result(p.jid, "<credentials xmlns='"+space+"'>"+turn+"</credentials>"),
				ask("<credentials XMLNS><service type='turn' host='jitmeet.example.com'/></credentials>"))
			require.Equal(t, result(p.jid, "<credentials xmlns='"+space+"'>"+turns+"</credentials>"),
				ask("<credentials XMLNS><service type='turns' host='jitmeet.example.com' port='5349'/></credentials>"))
			for _, unknown := range []string{
				"<credentials XMLNS/>",
				"<credentials XMLNS><service/></credentials>",
				"<credentials XMLNS><service type='turns' host='jitmeet.example.com' port='1'/></credentials>",
				"<credentials XMLNS><service type='turn' host='elsewhere.example'/></credentials>",
			} {
				require.Contains(t, ask(unknown), "<item-not-found ")
			}
			require.Contains(t, ask("<other XMLNS/>"), "<service-unavailable ")
			p.send("<iq xmlns='jabber:client' type='set' id='1' to='v3.meet.jitsi'><services xmlns='" + space + "'/></iq>")
			require.Contains(t, p.next(), "<service-unavailable ")
			p.leave()
		})
	}
}

// Everybody who joins within a few seconds is told the same, and nobody
// anything that has nearly ended.
func TestServiceCredentialsAreRenewed(t *testing.T) {
	cfg := testConfig()
	withServices(&cfg)
	s := newServices(cfg.Services)
	req := &wire.Child{Space: nsExtdisco2}
	now := time.Date(2026, 11, 22, 8, 20, 14, 0, time.UTC)
	first := s.list(req, now)
	require.Contains(t, string(first), "username='1795422014' password='EPxheT6l4+qfj4xYdfg67rq4hXQ=' expires='2026-11-23T08:20:14Z'", "as on the wire")
	require.Same(t, &first[0], &s.list(req, now.Add(freshness-1))[0])
	later := s.list(req, now.Add(freshness))
	require.Contains(t, string(later), "username='1795422020'")
	require.LessOrEqual(t, 10*freshness, time.Minute, "the shortest TTL")
}

func TestServicesAreValidated(t *testing.T) {
	for want, s := range map[string]Service{
		"type and host":       {Type: "turn"},
		"no such port":        {Type: "turn", Host: "x", Port: 65536},
		"neither udp nor tcp": {Type: "turn", Host: "x", Transport: "sctp"},
		"a minute at least":   {Type: "turn", Host: "x", Secret: "s", TTL: time.Second},
		"in whole seconds":    {Type: "turn", Host: "x", Secret: "s", TTL: time.Minute + 1},
		"not both":            {Type: "turn", Host: "x", Secret: "s", Username: "u", Password: "p"},
		"go together":         {Type: "turn", Host: "x", Username: "u"},
	} {
		c := testConfig()
		c.Services = []Service{s}
		require.ErrorContains(t, c.Validate(), want)
	}
}

func TestServiceSecretsAreNotLogged(t *testing.T) {
	c := testConfig()
	withServices(&c)
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "services", c.Services, "one", c.Services[1].Secret)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "services", c.Services, "one", c.Services[1].Secret)
	fmt.Fprintf(&out, "%v %+v %#v %s", c.Services, c.Services, c.Services, c.Services[1].Secret)
	require.NoError(t, json.NewEncoder(&out).Encode(c.Services))
	require.Contains(t, out.String(), "[secret]")
	require.NotContains(t, out.String(), turnSecret)
	require.NotContains(t, out.String(), "fixed")
}

package sasl

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/xdg-go/scram"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	domain   = "auth.meet.jitsi"
	password = "correct horse"
)

// account is derived once: it takes milliseconds.
var account = sync.OnceValue(func() Account {
	a, err := NewAccount("focus", password, true)
	if err != nil {
		panic(err)
	}
	return a
})

func authenticator(burst int) *Authenticator {
	return NewAuthenticator(domain, Directory{"focus": account()}, NewGuesses(burst, time.Minute, func() {}))
}

func TestAccounts(t *testing.T) {
	_, err := NewAccount("focus", "a\x07b", true)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "a\x07b", "errors do not quote passwords")
	a := authenticator(1)
	for authzid, want := range map[string]bool{
		"": true, "focus@auth.meet.jitsi": true, "focus@v3.meet.jitsi": false, "focus@auth.meet.jitsi/x": false, "focus": false, "@": false,
	} {
		require.Equal(t, want, a.mayAct("focus", authzid), authzid)
	}
}

// Unknown users look like known ones.
func TestDecoys(t *testing.T) {
	d := newDecoy()
	require.Equal(t, d.account("a"), d.account("a"))
	require.NotEqual(t, d.account("a").SHA1.Salt, d.account("b").SHA1.Salt)
	known := account()
	for _, k := range []struct{ known, made Keys }{{known.SHA1, d.account("a").SHA1}, {known.SHA256, d.account("a").SHA256}} {
		require.Len(t, k.made.Salt, len(k.known.Salt))
		require.Len(t, k.made.StoredKey, len(k.known.StoredKey))
		require.Equal(t, k.known.Iterations, k.made.Iterations)
	}
}

// login runs a SCRAM exchange and says how it ended.
func login(t *testing.T, x Exchange, hash scram.HashGeneratorFcn, user, password string, cb *scram.ChannelBinding, lied bool) (*User, error) {
	t.Helper()
	c, err := hash.NewClient(user, password, "")
	require.NoError(t, err)
	conv := c.NewConversation()
	if cb != nil {
		conv = c.NewConversationWithChannelBinding(*cb)
	}
	if lied {
		conv = c.NewConversationAdvertisingChannelBinding()
	}
	msg, err := conv.Step("")
	require.NoError(t, err)
	for {
		out, who, err := x.Step([]byte(msg))
		if err != nil {
			return nil, err
		}
		msg, err = conv.Step(string(out))
		require.NoError(t, err)
		if who != nil {
			require.True(t, conv.Valid(), "the server knows the password too")
			return who, nil
		}
	}
}

func TestSCRAMBoundToTLS(t *testing.T) {
	exporter := Binding{TLSExporter, []byte("what only this connection has.....")}
	endpoint := Binding{TLSServerEndPoint, []byte("hash of the certificate.........")}
	both := []Binding{exporter, endpoint}
	other := scram.ChannelBinding{Type: TLSExporter, Data: []byte("what another connection has.......")}
	unique := scram.NewTLSUniqueBinding([]byte("x"))
	cb := func(b Binding) *scram.ChannelBinding { c := b.scram(); return &c }
	for _, c := range []struct {
		name      string
		mechanism string
		offered   []Binding
		client    *scram.ChannelBinding
		lied      bool
		want      error
	}{
		{"exporter, SHA-256", SCRAMSHA256Plus, both, cb(exporter), false, nil},
		{"exporter, SHA-1", SCRAMSHA1Plus, both, cb(exporter), false, nil},
		{"end point", SCRAMSHA256Plus, both, cb(endpoint), false, nil},
		{"somebody in the middle", SCRAMSHA256Plus, both, &other, false, NotAuthorized},
		{"a type that is not offered", SCRAMSHA256Plus, both, &unique, false, NotAuthorized},
		{"no binding with the name for it", SCRAMSHA256Plus, both, nil, false, NotAuthorized},
		{"binding without the name for it", SCRAMSHA256, both, cb(exporter), false, NotAuthorized},
		{"binding where none is offered", SCRAMSHA256, nil, cb(exporter), false, NotAuthorized},
		{"a client that knows none", SCRAMSHA256, both, nil, false, nil},
		{"a client that was shown none", SCRAMSHA256, both, nil, true, NotAuthorized},
		{"a client that is offered none", SCRAMSHA256, nil, nil, true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			hash := scram.SHA256
			if strings.HasPrefix(c.mechanism, SCRAMSHA1) {
				hash = scram.SHA1
			}
			x := authenticator(10).Start(c.mechanism, Client{Bindings: c.offered})
			who, err := login(t, x, hash, "focus", password, c.client, c.lied)
			require.Equal(t, c.want, err)
			if c.want == nil {
				require.Equal(t, &User{"focus", true}, who)
			}
		})
	}
}

func TestGuesses(t *testing.T) {
	account()
	synctest.Test(t, func(t *testing.T) {
		a := authenticator(3)
		guess := func(addr, word string) error {
			c := Client{}
			if addr != "" {
				c.Address = netip.MustParseAddr(addr)
			}
			_, _, err := a.Start(Plain, c).Step([]byte("\x00focus\x00" + word))
			return err
		}
		require.NoError(t, guess("192.0.2.1", password))
		for range 3 {
			require.Equal(t, NotAuthorized, guess("192.0.2.1", "wrong"))
		}
		require.Equal(t, TemporaryAuthFailure, guess("192.0.2.1", "wrong"))
		require.Equal(t, TemporaryAuthFailure, guess("192.0.2.1", password), "not even the right one: else it could be told")
		_, err := login(t, a.Start(SCRAMSHA256, Client{Address: netip.MustParseAddr("192.0.2.1")}), scram.SHA256, "focus", password, nil, false)
		require.Equal(t, TemporaryAuthFailure, err)
		require.NoError(t, guess("192.0.2.2", password), "others are not held back")
		for range 10 {
			require.Equal(t, NotAuthorized, guess("", "wrong"), "nor is this machine")
		}
		time.Sleep(time.Minute)
		_, err = login(t, a.Start(SCRAMSHA1, Client{Address: netip.MustParseAddr("192.0.2.1")}), scram.SHA1, "focus", "wrong", nil, false)
		require.Equal(t, NotAuthorized, err, "one more each minute")
		require.Equal(t, TemporaryAuthFailure, guess("192.0.2.1", "wrong"))
		time.Sleep(time.Minute)
		require.NoError(t, guess("192.0.2.1", password))
	})
}

// Guesses on many connections at once are no more than one after the other.
func TestGuessesAtOnce(t *testing.T) {
	account()
	c := Client{Address: netip.MustParseAddr("192.0.2.1")}
	for _, mechanism := range []string{SCRAMSHA256, Plain} {
		a := authenticator(3)
		var tried, held atomic.Int32
		var all sync.WaitGroup
		begun := make(chan struct{})
		var begin sync.WaitGroup
		for range 30 {
			begin.Add(1)
			all.Go(func() {
				x := a.Start(mechanism, c)
				msg := []byte("\x00focus\x00wrong")
				if mechanism == SCRAMSHA256 {
					conv := newClient(t, scram.SHA256, "focus", "wrong").NewConversation()
					first, err := conv.Step("")
					require.NoError(t, err)
					out, _, err := x.Step([]byte(first))
					require.NoError(t, err)
					final, err := conv.Step(string(out))
					require.NoError(t, err)
					msg = []byte(final)
				}
				begin.Done()
				<-begun
				switch _, _, err := x.Step(msg); err {
				case NotAuthorized:
					tried.Add(1)
				case TemporaryAuthFailure:
					held.Add(1)
				}
			})
		}
		begin.Wait()
		close(begun)
		all.Wait()
		require.EqualValues(t, 3, tried.Load(), mechanism)
		require.EqualValues(t, 27, held.Load(), mechanism)
	}
	a := authenticator(1)
	for range 3 {
		_, err := login(t, a.Start(SCRAMSHA256, c), scram.SHA256, "focus", password, nil, false)
		require.NoError(t, err)
		require.Empty(t, a.guesses.byAddr, "who is right leaves no trace")
	}
}

func newClient(t *testing.T, hash scram.HashGeneratorFcn, user, password string) *scram.Client {
	c, err := hash.NewClient(user, password, "")
	require.NoError(t, err)
	return c
}

func TestGuessersAreBounded(t *testing.T) {
	g := NewGuesses(1, time.Hour, func() {})
	addr := netip.MustParseAddr("10.0.0.0")
	first := addr
	for range maxGuessers + 10 {
		require.True(t, g.try(addr))
		addr = addr.Next()
	}
	require.Len(t, g.byAddr, maxGuessers)
	require.Equal(t, maxGuessers, g.order.Len())
	require.True(t, g.allowed(first), "forgotten")
	require.False(t, g.allowed(addr.Prev()))
}

func TestAccountsFile(t *testing.T) {
	focus := account()
	shared, err := NewAccount(Everybody, "shared secret", false)
	require.NoError(t, err)
	file := "# keys\n\n" + focus.Line("jigasi@a.example") + "\n" + shared.Line("*@b.example") + "\n"
	domains, err := ReadAccounts(strings.NewReader(file))
	require.NoError(t, err)
	require.Len(t, domains, 2)
	got, ok := domains["a.example"].Account("jigasi")
	require.True(t, ok)
	want := focus
	want.Admin = false
	require.Equal(t, want, got, "nobody in a file is an admin")
	_, ok = domains["a.example"].Account("other")
	require.False(t, ok)
	require.NotContains(t, file, password)

	b := NewAuthenticator("b.example", domains["b.example"], NewGuesses(1, time.Hour, func() {}))
	for _, user := range []string{"jigasi-1", "jigasi-2"} {
		_, who, err := b.Start(Plain, Client{}).Step([]byte("\x00" + user + "\x00shared secret"))
		require.NoError(t, err)
		require.Equal(t, &User{user, false}, who)
		who, err = login(t, b.Start(SCRAMSHA256, Client{}), scram.SHA256, user, "shared secret", nil, false)
		require.NoError(t, err)
		require.Equal(t, user, who.Name)
	}

	one := focus.SHA256.text(SCRAMSHA256)
	for want, line := range map[string]string{
		"not an address and two keys":  "a@b.example " + one,
		"is not user@domain":           focus.Line("b.example"),
		"are neither for":              "a@b.example MD5$1:a$b:c " + one,
		"keys for both":                "a@b.example " + one + " " + one,
		"line 2: a@b.example is there": focus.Line("a@b.example") + "\n" + focus.Line("a@b.example"),
		"are not ITERATIONS":           strings.Replace(focus.Line("a@b.example"), "$", "$x", 1),
		"9 iterations, not 10000":      strings.Replace(focus.Line("a@b.example"), "10000", "9", 1),
	} {
		_, err := ReadAccounts(strings.NewReader(line))
		require.ErrorContains(t, err, want)
	}
	for _, keys := range []string{"", "10000", "10000:AAAA", "10000:AAAA$b", "10000:!$b:c", "10000:AAAA$AAAA:AAAA"} {
		_, err := ReadAccounts(strings.NewReader(fmt.Sprintf("a@b.example %s SCRAM-SHA-1$%s", one, keys)))
		require.ErrorIs(t, err, errKeys, keys)
	}
}

// FuzzExchange throws messages at each mechanism: none may panic, accept a guess
// or answer with anything but a failure or a challenge.
func FuzzExchange(f *testing.F) {
	for _, s := range []string{
		"", "\x00focus\x00pw", "a\x00b\x00c", "n,,n=focus,r=abc", "n,a=focus@auth.meet.jitsi,n=focus,r=abc", "y,,n=f=2Cx,r=z",
		"p=tls-exporter,,n=focus,r=x", "p=tls-server-end-point,,n=focus,r=x", "p=", "c=biws,r=abc,p=AAAA", "n,,n=,r=", "n,,m=1,n=a,r=b", ",,,,", "n,,n=focus,r=abc,ext=1",
	} {
		f.Add(s, "c=biws,r=abc,p=AAAA")
	}
	cheap := Keys{Salt: make([]byte, saltSize), Iterations: 1, StoredKey: make([]byte, 32), ServerKey: make([]byte, 32)}
	a := NewAuthenticator(domain, Directory{"focus": {Admin: true, SHA1: cheap, SHA256: cheap}}, NewGuesses(5, time.Hour, func() {}))
	c := Client{Bindings: []Binding{{TLSExporter, []byte("x")}}}
	f.Fuzz(func(t *testing.T, first, second string) {
		for _, name := range Mechanisms {
			if name == Plain && !strings.Contains(first, "\x00focus\x00") {
				continue // 10,000 rounds for each unknown user are too slow here
			}
			x := a.Start(name, c)
			for _, msg := range []string{first, second} {
				out, who, err := x.Step([]byte(msg))
				require.Nil(t, who, "%s let %q in", name, msg)
				if err != nil {
					require.IsType(t, Failure(""), err)
					break
				}
				require.True(t, utf8.Valid(out))
			}
		}
		if msg, err := Decode(first, true); err == nil {
			require.LessOrEqual(t, len(msg), len(first))
		}
	})
}

// FuzzAccountsFile reads what it has read again.
func FuzzAccountsFile(f *testing.F) {
	a := account()
	f.Add(a.Line("a@b.example"))
	f.Add("# x\n*@b SCRAM-SHA-1$1:$: SCRAM-SHA-256$")
	f.Fuzz(func(t *testing.T, file string) {
		domains, err := ReadAccounts(strings.NewReader(file))
		if err != nil {
			return
		}
		for d, users := range domains {
			for user, acc := range users {
				_, _, err := parseAccount(acc.Line(user + "@" + d))
				require.NoError(t, err)
			}
		}
	})
}

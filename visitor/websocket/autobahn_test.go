package websocket

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// The cases of the Autobahn test suite, by its numbers: what a server's reader
// makes of them. Where the suite has a server echo, the message is what counts
// here. Three things differ by design: binary messages are refused with 1003
// (RFC 7395 §3.2), messages have a limit, and no extension is negotiated, so that
// the cases of compression (12, 13) do not apply. What follows a close frame is
// never read.
type conformance struct {
	id   string
	in   []byte
	want []string
}

// Results.
var (
	protocolError = []string{"close 1002"}
	notUTF8       = []string{"close 1007"}
	notText       = []string{"close 1003"}
)

func message(s string) []string {
	if len(s) > 40 {
		s = fmt.Sprintf("%d bytes", len(s))
	}
	return []string{"text " + s, "EOF"}
}

func autobahn() []conformance {
	all := [][]conformance{framing(), pings(), reserved(), fragmentation(), utf8Cases(), closing(), limits()}
	var list []conformance
	for _, l := range all {
		list = append(list, l...)
	}
	return list
}

// one is a frame that is a whole message.
func one(op byte, payload string) []byte { return frame(fin|op, payload) }

// framing is 1.1.1 to 1.2.8.
func framing() (list []conformance) {
	for i, n := range []int{0, 125, 126, 127, 128, 65535, 65536, 65536} {
		s := strings.Repeat("*", n)
		list = append(list,
			conformance{fmt.Sprintf("1.1.%d", i+1), one(text, s), message(s)},
			conformance{fmt.Sprintf("1.2.%d", i+1), one(bin, s), notText})
	}
	return list
}

// pings is 2.1 to 2.11.
func pings() []conformance {
	long := strings.Repeat("\xfe", 125)
	ten, got := []byte(nil), []string(nil)
	for i := range 10 {
		payload := fmt.Sprintf("payload-%d", i)
		ten = append(ten, one(ping, payload)...)
		got = append(got, "ping "+payload)
	}
	got = append(got, "EOF")
	return []conformance{
		{"2.1", one(ping, ""), []string{"ping ", "EOF"}},
		{"2.2", one(ping, "Hello, world!"), []string{"ping Hello, world!", "EOF"}},
		{"2.3", one(ping, "\x00\xff\xfe\xfd\xfc\xfb\x00\xff"), []string{"ping \x00\xff\xfe\xfd\xfc\xfb\x00\xff", "EOF"}},
		{"2.4", one(ping, long), []string{"ping 125 bytes", "EOF"}},
		{"2.5", one(ping, long+"\xfe"), protocolError},
		{"2.6", one(ping, long), []string{"ping 125 bytes", "EOF"}},
		{"2.7", one(pong, ""), []string{"pong ", "EOF"}},
		{"2.8", one(pong, "unsolicited"), []string{"pong unsolicited", "EOF"}},
		{"2.9", join(one(pong, "unsolicited"), one(ping, "p")), []string{"pong unsolicited", "ping p", "EOF"}},
		{"2.10", ten, got},
		{"2.11", ten, got},
	}
}

// reserved is 3.1 to 4.2.5.
func reserved() []conformance {
	hello := one(text, "Hello")
	list := []conformance{
		{"3.1", frame(fin|0x10|text, "Hello"), protocolError},
		{"3.2", join(hello, frame(fin|0x20|text, "Hello"), one(ping, "")), []string{"text Hello", "close 1002"}},
		{"3.3", join(hello, frame(fin|0x30|text, "Hello"), one(ping, "")), []string{"text Hello", "close 1002"}},
		{"3.4", join(hello, frame(fin|0x40|text, "Hello"), one(ping, "")), []string{"text Hello", "close 1002"}},
		{"3.5", frame(fin|0x50|bin, "\x00\xff"), protocolError},
		{"3.6", frame(fin|0x60|ping, "Hello"), protocolError},
		{"3.7", frame(fin|0x70|cls, closePayload(1000, "")), protocolError},
	}
	for i, base := range []byte{3, 11} {
		for n := range byte(5) {
			id, op := fmt.Sprintf("4.%d.%d", i+1, n+1), base+n
			switch n {
			case 0:
				list = append(list, conformance{id, one(op, ""), protocolError})
			case 1:
				list = append(list, conformance{id, one(op, "payload"), protocolError})
			case 2, 3:
				list = append(list, conformance{id, join(hello, one(op, strings.Repeat("x", int(n-2)*7)), one(ping, "")), []string{"text Hello", "close 1002"}})
			case 4:
				list = append(list, conformance{id, join(hello, one(op, "payload"), one(ping, "")), []string{"text Hello", "close 1002"}})
			}
		}
	}
	return list
}

// fragmentation is 5.1 to 5.20.
func fragmentation() (list []conformance) {
	halves := join(frame(text, "fragment1"), frame(fin|cont, "fragment2"))
	withPing := join(frame(text, "fragment1"), one(ping, "p"), frame(fin|cont, "fragment2"))
	five := join(frame(text, "1"), frame(cont, "2"), one(ping, "p1"), frame(cont, "3"), frame(cont, "4"), one(ping, "p2"), frame(fin|cont, "5"))
	add := func(in []byte, want []string, ids ...string) {
		for _, id := range ids {
			list = append(list, conformance{id, in, want})
		}
	}
	add(join(frame(ping, "a"), frame(fin|cont, "b")), protocolError, "5.1")
	add(join(frame(pong, "a"), frame(fin|cont, "b")), protocolError, "5.2")
	add(halves, message("fragment1fragment2"), "5.3", "5.4", "5.5")
	add(withPing, append([]string{"ping p"}, message("fragment1fragment2")...), "5.6", "5.7", "5.8")
	add(join(frame(fin|cont, "x"), one(text, "Hello")), protocolError, "5.9", "5.10", "5.11")
	add(join(frame(cont, "x"), one(text, "Hello")), protocolError, "5.12", "5.13", "5.14")
	add(join(halves, frame(cont, "x"), one(text, "Hello")), []string{"text fragment1fragment2", "close 1002"}, "5.15")
	add(bytes.Repeat(join(frame(cont, "x"), halves), 2), protocolError, "5.16")
	add(bytes.Repeat(join(frame(fin|cont, "x"), halves), 2), protocolError, "5.17")
	add(join(frame(text, "fragment1"), frame(fin|text, "fragment2")), protocolError, "5.18")
	add(five, append([]string{"ping p1", "ping p2"}, message("12345")...), "5.19", "5.20")
	return list
}

// utf8Cases is 6.1.1 to 6.23.7.
func utf8Cases() (list []conformance) {
	const kosme = "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
	const mixed = "Hello-µ@ßöäüàá-UTF-8!!"
	const bad = kosme + "\xed\xa0\x80edited"
	list = []conformance{
		{"6.1.1", one(text, ""), message("")},
		{"6.1.2", join(frame(text, ""), frame(cont, ""), frame(fin|cont, "")), message("")},
		{"6.1.3", join(frame(text, ""), frame(cont, "middle"), frame(fin|cont, "")), message("middle")},
		{"6.2.1", one(text, mixed), message(mixed)},
		{"6.2.2", join(frame(text, "Hello-µ@ß"), frame(fin|cont, "öäüàá-UTF-8!!")), message(mixed)},
		{"6.2.3", fragments(mixed, 1), message(mixed)},
		{"6.2.4", fragments(kosme, 1), message(kosme)},
		{"6.3.1", one(text, bad), notUTF8},
		{"6.3.2", fragments(bad, 1), notUTF8},
		{"6.4.1", join(frame(text, kosme), frame(cont, "\xf4\x90\x80\x80"), frame(fin|cont, "edited")), notUTF8},
		{"6.4.2", join(frame(text, kosme+"\xf4"), frame(cont, "\x90"), frame(fin|cont, "\x80\x80edited")), notUTF8},
		{"6.4.3", one(text, kosme+"\xf4\x90\x80\x80edited"), notUTF8},
		{"6.4.4", one(text, kosme+"\xf4\x90\x80\x80edited"), notUTF8},
	}
	for i := range kosme { // 6.5: its prefixes that are whole, and 6.6: all
		if n := i; n > 0 {
			list = append(list, conformance{fmt.Sprintf("6.5 (%d bytes)", n), one(text, kosme[:n]), message(kosme[:n])})
		}
	}
	for n := range len(kosme) {
		want := notUTF8
		if utf8.ValidString(kosme[:n+1]) {
			want = message(kosme[:n+1])
		}
		list = append(list, conformance{fmt.Sprintf("6.6.%d", n+1), one(text, kosme[:n+1]), want})
	}
	group := func(id string, valid bool, texts ...string) {
		for i, s := range texts {
			want := notUTF8
			if valid {
				want = message(s)
			}
			list = append(list, conformance{fmt.Sprintf("%s.%d", id, i+1), one(text, s), want})
		}
	}
	group("6.7", true, "\x00", "\xc2\x80", "\xe0\xa0\x80", "\xf0\x90\x80\x80")
	group("6.8", false, "\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80")
	group("6.9", true, "\x7f", "\xdf\xbf", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf")
	group("6.10", false, "\xf7\xbf\xbf\xbf", "\xfb\xbf\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf\xbf")
	group("6.11", true, "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbd", "\xf4\x8f\xbf\xbf")
	list = append(list, conformance{"6.11.5", one(text, "\xf4\x90\x80\x80"), notUTF8})
	var continuations, starts []string
	for n := 1; n <= 6; n++ {
		continuations = append(continuations, strings.Repeat("\x80\xbf", n)[:n])
	}
	lone := ""
	for c := 0x80; c <= 0xbf; c++ {
		lone += string([]byte{byte(c)})
	}
	group("6.12", false, append([]string{"\x80", "\xbf"}, append(continuations[1:], lone)...)...)
	for _, span := range [][2]int{{0xc0, 0xdf}, {0xe0, 0xef}, {0xf0, 0xf7}, {0xf8, 0xfb}, {0xfc, 0xfd}} {
		s := ""
		for c := span[0]; c <= span[1]; c++ {
			s += string([]byte{byte(c), ' '})
		}
		starts = append(starts, s)
	}
	group("6.13", false, starts...)
	cut := []string{"\xc0", "\xe0\x80", "\xf0\x80\x80", "\xf8\x80\x80\x80", "\xfc\x80\x80\x80\x80",
		"\xdf", "\xef\xbf", "\xf7\xbf\xbf", "\xfb\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf"}
	group("6.14", false, cut...)
	group("6.15", false, strings.Join(cut, ""))
	group("6.16", false, "\xfe", "\xff", "\xfe\xfe\xff\xff")
	group("6.17", false, "\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf8\x80\x80\x80\xaf", "\xfc\x80\x80\x80\x80\xaf")
	group("6.18", false, "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf8\x87\xbf\xbf\xbf", "\xfc\x83\xbf\xbf\xbf\xbf")
	group("6.19", false, "\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xf8\x80\x80\x80\x80", "\xfc\x80\x80\x80\x80\x80")
	surrogates := []string{"\xed\xa0\x80", "\xed\xad\xbf", "\xed\xae\x80", "\xed\xaf\xbf", "\xed\xb0\x80", "\xed\xbe\x80", "\xed\xbf\xbf"}
	group("6.20", false, surrogates...)
	var pairs []string
	for _, high := range surrogates[:4] {
		pairs = append(pairs, high+surrogates[4], high+surrogates[6])
	}
	group("6.21", false, pairs...)
	var none []string // non-characters are characters to UTF-8
	for plane := rune(0); plane <= 0x10; plane++ {
		none = append(none, string(plane<<16|0xFFFE), string(plane<<16|0xFFFF))
	}
	group("6.22", true, none...)
	var specials []string
	for r := rune(0xFFF9); r <= 0xFFFF; r++ {
		specials = append(specials, string(r))
	}
	group("6.23", true, specials...)
	return list
}

// closing is 7.1.1 to 7.13.2.
func closing() []conformance {
	bye := one(cls, closePayload(1000, ""))
	big := strings.Repeat("*", 256<<10)
	list := []conformance{
		{"7.1.1", join(one(text, "Hello"), bye), []string{"text Hello", "closed 1000 "}},
		{"7.1.2", join(bye, bye), []string{"closed 1000 "}},
		{"7.1.3", join(bye, one(ping, "p")), []string{"closed 1000 "}},
		{"7.1.4", join(bye, one(text, "Hello")), []string{"closed 1000 "}},
		{"7.1.5", join(frame(text, "fragment1"), bye, frame(fin|cont, "fragment2")), []string{"closed 1000 "}},
		{"7.1.6", join(one(text, big), one(text, "Hello"), bye, one(ping, "p")), []string{"text 262144 bytes", "text Hello", "closed 1000 "}},
		{"7.3.1", one(cls, ""), []string{"closed 1005 "}},
		{"7.3.2", one(cls, "a"), protocolError},
		{"7.3.3", bye, []string{"closed 1000 "}},
		{"7.3.4", one(cls, closePayload(1000, "Hello World!")), []string{"closed 1000 Hello World!"}},
		{"7.3.5", one(cls, closePayload(1000, strings.Repeat("*", 123))), []string{"closed 1000 123 bytes"}},
		{"7.3.6", one(cls, closePayload(1000, strings.Repeat("*", 124))), protocolError},
		{"7.5.1", one(cls, closePayload(1000, "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited")), notUTF8},
	}
	for i, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		list = append(list, conformance{fmt.Sprintf("7.7.%d", i+1), one(cls, closePayload(code, "")), []string{fmt.Sprintf("closed %d ", code)}})
	}
	for i, code := range []uint16{0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999} {
		list = append(list, conformance{fmt.Sprintf("7.9.%d", i+1), one(cls, closePayload(code, "")), protocolError})
	}
	return append(list,
		conformance{"7.13.1", one(cls, closePayload(5000, "")), protocolError},
		conformance{"7.13.2", one(cls, closePayload(65535, "")), protocolError})
}

const conformanceMax = 16 << 20

// limits is 9.1.1 to 9.6.6, with whole sizes, and 10.1.1.
func limits() (list []conformance) {
	for i, n := range []int{64 << 10, 256 << 10, 1 << 20, 4 << 20, 8 << 20, 16 << 20} {
		s := strings.Repeat("*", n)
		list = append(list,
			conformance{fmt.Sprintf("9.1.%d", i+1), one(text, s), message(s)},
			conformance{fmt.Sprintf("9.2.%d", i+1), one(bin, s), notText})
	}
	big := strings.Repeat("*", 4<<20)
	for i, n := range []int{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20} {
		list = append(list, conformance{fmt.Sprintf("9.3.%d", i+1), fragments(big, n), message(big)})
	}
	list = append(list, conformance{"9.4.1", join(frame(bin, "x"), frame(fin|cont, "y")), notText})
	s := strings.Repeat("*", 1<<20)
	for i := range 6 { // in writes of 64 bytes to 2 KiB: see TestConformanceInPieces
		list = append(list, conformance{fmt.Sprintf("9.5.%d", i+1), one(text, s), message(s)})
	}
	auto := strings.Repeat("*", 65536)
	return append(list,
		conformance{"10.1.1", fragments(auto, 1300), message(auto)},
		conformance{"9 beyond the limit", one(text, strings.Repeat("*", conformanceMax+1)), []string{ErrTooLarge.Error()}})
}

// upToClose leaves out what comes behind the client's close frame: nobody reads
// on.
func upToClose(got []string) []string {
	for i, s := range got {
		if strings.HasPrefix(s, "closed ") {
			return got[:i+1]
		}
	}
	return got
}

func TestConformance(t *testing.T) {
	for _, c := range autobahn() {
		require.Equal(t, c.want, upToClose(readAll(bytes.NewReader(c.in), conformanceMax)), c.id)
	}
}

// The same in small pieces, as the suite sends some: by octets, or by a few.
func TestConformanceInPieces(t *testing.T) {
	for _, c := range autobahn() {
		if len(c.in) <= 4<<10 {
			require.Equal(t, c.want, upToClose(readAll(iotest.OneByteReader(bytes.NewReader(c.in)), conformanceMax)), c.id)
		}
		if len(c.in) <= 4<<10 || c.id == "1.1.8" || c.id == "9.5.1" {
			require.Equal(t, c.want, upToClose(readAllRetrying(&stutter{src: bytes.NewReader(c.in)}, conformanceMax)), c.id)
		}
	}
}

// Package cast names the people of the tests: who they are, and at which server.
package cast

import "fmt"

// Address maps the names used in tests to addresses: focus, focus2 (another
// session of it), visN, jigN (a gateway that watches), mainN, guestN and recN
// (participants of main's other domains).
func Address(name string) string {
	var n int
	switch {
	case name == "focus":
		return "focus@auth.meet.jitsi/focus"
	case name == "focus3":
		return "focus@auth.meet.jitsi/check"
	case name == "focus2":
		return "focus@auth.meet.jitsi/other"
	case scan(name, "vis%d", &n):
		return fmt.Sprintf("aaaaaaa%d-1111-4111-8111-111111111111@v3.meet.jitsi/v%d", n, n)
	case scan(name, "jig%d", &n):
		return fmt.Sprintf("ccccccc%d@jigasia.v3.meet.jitsi/j%d", n, n)
	case scan(name, "guest%d", &n):
		return fmt.Sprintf("ddddddd%d-2222-4222-8222-222222222222@guest.meet.jitsi/g%d", n, n)
	case scan(name, "rec%d", &n):
		return fmt.Sprintf("eeeeeee%d@recorder.example/r%d", n, n)
	case scan(name, "main%d", &n):
		return fmt.Sprintf("bbbbbbb%d-2222-4222-8222-222222222222@meet.jitsi/m%d", n, n)
	}
	panic("nobody is called " + name)
}

func scan(s, format string, n *int) bool {
	_, err := fmt.Sscanf(s, format, n)
	return err == nil
}

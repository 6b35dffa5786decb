package room

import (
	"strings"
	"unicode"
)

// services are what clients call the programs that take part in a conference: they
// believe a message of the nick "transcriber" to be subtitles, and show a line of
// one called so as a service's.
var services = map[string]bool{
	"focus": true, "jicofo": true, "jibri": true, "jigasi": true, "recorder": true, "transcriber": true, "jvb": true,
}

// ofService reports whether a nick or a display name is one of a service, or looks
// so: letter case, spaces, signs and what cannot be seen make no difference.
func ofService(name string) bool {
	return services[strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)]
}

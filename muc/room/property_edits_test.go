package room

import (
	"fmt"
	"strings"

	"vnode/internal/xmpptest/cast"
)

// The model's history: what was said, and what was done to it.

// history is what those who join are told of what was said.
func (w *world) history() []string {
	var lines []string
	for _, l := range w.said {
		if l.text != "" {
			lines = append(lines, l.text)
		}
	}
	return lines
}

func (w *world) says(id, speaker string) {
	w.said = append(w.said, &simLine{id, speaker, id})
}

// edits corrects or retracts a line: its own, or what somebody else said.
func (w *world) edits(v *simVisitor, main string) {
	if len(w.said) == 0 || w.room.ended != "" {
		return
	}
	l := w.said[w.rnd.IntN(len(w.said))]
	by, mayBe := v.jid.String(), v.state == "in"
	if w.rnd.IntN(2) == 0 {
		_, here := w.mains[cast.Address(main)[:8]]
		by, mayBe = cast.Address(main), here
	}
	fromMain := strings.Contains(by, "@meet.jitsi/")
	line := fmt.Sprintf("e%d", w.mark)
	what, text := "<retract xmlns='"+nsRetract+"' id='"+l.id+"'/>", ""
	if w.rnd.IntN(2) == 0 {
		what, text = "<replace xmlns='"+nsCorrect+"' id='"+l.id+"'/>", line
	}
	w.note("%s edits %s of %s: %s", by, l.id, l.speaker, what)
	author := by == l.speaker && mayBe // also of a line that the history has lost
	own := author && l.text != ""
	if author {
		w.expect(line)
		if !fromMain {
			w.lines++
		}
	}
	if own {
		l.text = text
	}
	if fromMain {
		w.remote(by, "<message type='groupchat' id='%s' from='%s' to='%s'><body>%s</body>%s</message>", line, by, simRoom, line, what)
		return
	}
	w.client(v.simSession, "<message type='groupchat' id='%s' to='%s'><body>%s</body>%s</message>", line, simRoom, line, what)
}

// tombstone is whose a moderated line is in the model: nobody's.
const tombstone = " "

// moderates: main's room moderates a line.
func (w *world) moderates() {
	if len(w.said) == 0 {
		return
	}
	l := w.said[w.rnd.IntN(len(w.said))]
	w.note("main moderates %s", l.id)
	if w.room.ended == "" && l.text != "" {
		l.text, l.speaker = "", tombstone
	}
	w.remote(simMain, "<message type='groupchat' from='%s' to='%s'><apply-to xmlns='%s' id='%s'><moderated xmlns='%s'><retract xmlns='%s'/></moderated></apply-to></message>",
		simMain, simRoom, nsFasten, l.id, nsModerate, nsRetract)
}

package room

import "time"

// Alarm is one of a room's timers.
type Alarm uint8

const (
	alarmEmpty     Alarm = iota // the last visitor left
	alarmMain                   // main, or its room, was lost
	alarmQueue                  // who waits may go on
	alarmHeld                   // presences that wait may be shown
	alarmConnect                // main has sent participants and no connect
	alarmVotes                  // more votes may be told
	alarmParted                 // main has said nothing since the focus left
	alarmRoom                   // the room looks at what it waits for, whether or not a conference lives
	alarmHands                  // main may be told of more hands
	alarmLanguages              // main may be told of the languages again
	Alarms
)

// arm lets the Alarm go off in d, in place of an earlier one.
func (r *conference) arm(a Alarm, d time.Duration) {
	r.turns[a]++
	r.armed[a] = true
	r.out.After(a, d, r.turns[a])
}

func (r *conference) disarm(a Alarm) { r.armed[a] = false }

// timeout handles an Alarm that went off; turn tells whether it is the one
// armed last.
func (r *conference) timeout(now time.Time, a Alarm, turn uint64) {
	if r.ended != "" || !r.armed[a] || turn != r.turns[a] {
		return
	}
	r.now = now
	r.armed[a] = false
	switch a {
	case alarmEmpty:
		if r.queue.joins() > 0 { // behind others, or behind leaves the focus is told of first
			r.arm(alarmEmpty, r.cfg.EmptyTimeout)
			return
		}
		r.end(endEmpty, "")
	case alarmMain:
		r.end(endMainLost, "")
	case alarmQueue:
		r.advance()
	case alarmHeld:
		r.showHeld()
	case alarmConnect:
		r.log.Warn("main has sent participants and no connect: visitors wait; a main of 2022 needs main-without-connect", "visitors", r.queue.joins())
	case alarmParted:
		r.end(endFocusLeft, "")
	case alarmHands:
		r.hands.told = 0
		r.tellHands()
	case alarmLanguages:
		r.tellLanguages()
	case alarmVotes:
		r.told = 0
		r.tellVotes()
	}
}

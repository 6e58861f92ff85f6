package server

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// brakeOf is the brake of a system, if there is one.
func brakeOf(s *fsm.State, id fsm.SystemID) (fsm.Brake, bool) {
	brakes := s.Brakes()
	i := slices.IndexFunc(brakes, func(b fsm.Brake) bool { return b.System == id })
	if i < 0 {
		return fsm.Brake{}, false
	}
	return brakes[i], true
}

func brakesOf(s *fsm.State) []api.Brake {
	var out []api.Brake
	for _, b := range s.Brakes() {
		out = append(out, api.Brake{System: b.System, AtMS: b.At, Lost: append([]fsm.MemberID{}, b.Lost...), Words: brakeWords(b)})
	}
	return out
}

func brakeWords(b fsm.Brake) string {
	names := make([]string, len(b.Lost))
	for i, m := range b.Lost {
		names[i] = string(m)
	}
	return fmt.Sprintf("system %s is braked: %s were lost at once, more than half of its servers, so nothing of it is moved", b.System, strings.Join(names, ", "))
}

// easeSystem is what ends a brake.
func easeSystem(id fsm.SystemID) string {
	return "once the servers that are left can bear it all: `flip cleanup " + word(string(id)) + "`"
}

// brakedWords says why a slot is not moved whatever happens, or nothing.
func brakedWords(s *fsm.State, slot fsm.Slot) string {
	if slot.Braked {
		return fmt.Sprintf("it failed on %s too, where it had just been moved since it failed elsewhere: it stays there until somebody cleans up", slot.Owner)
	}
	if b, braked := brakeOf(s, slot.System); braked && configured(s.Spec(), slot.Key) {
		return brakeWords(b)
	}
	return ""
}

// brakeAlarms say which systems are left as they are.
func brakeAlarms(brakes []api.Brake) []api.Alarm {
	var out []api.Alarm
	for _, b := range brakes {
		out = append(out, api.Alarm{
			Severity: api.Warning, What: b.Words,
			Do: "bring them back: what they had is theirs still; or, " + easeSystem(b.System),
		})
	}
	return out
}

// restlessAlarms are the items that are moved no more for now, or until somebody does
// something: they failed wherever they went, or went to and fro.
func restlessAlarms(s *fsm.State, unix int64) []api.Alarm {
	g := groups{}
	for _, slot := range s.BrakedSlots() {
		g.add(slot.System, slot.Item, api.Alarm{
			Severity: api.Warning, What: " is braked: " + brakedWords(s, slot),
			Do: "mend what fails, then: `flip cleanup " + someItem + "`",
		})
	}
	for slot := range s.Slots() {
		if restless(slot, unix) && !slot.Braked && configured(s.Spec(), slot.Key) {
			g.add(slot.System, slot.Item, api.Alarm{
				Severity: api.Warning, What: fmt.Sprintf(" has moved %d times within %v and stays where it is for now, while its owner is up", fsm.MaxRecent, fsm.RecentFor),
				Do: "see why it moves: `flip why " + someItem + "`",
			})
		}
	}
	return g.alarms()
}

// restless reports whether a slot has made all the moves that it may make in a while.
func restless(slot fsm.Slot, unix int64) bool {
	n := 0
	for _, at := range slot.Moved {
		if ago := unix - at; ago < fsm.RecentFor.Milliseconds() && ago > -fsm.RecentFor.Milliseconds() {
			n++
		}
	}
	return n >= fsm.MaxRecent
}

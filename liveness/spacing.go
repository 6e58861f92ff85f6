package liveness

import (
	"maps"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// spacing keeps two changes of voters apart (L7): it follows which voters have
// reported applying the present list.
type spacing struct {
	*view
	applied  map[fsm.VoterID]fsm.Index
	list     fsm.Index // the one that spread is about
	spread   bool      // a majority has reported applying it
	spreadAt time.Duration
	assigned bool // the log has had an assignment: founding is over
}

func newSpacing(v *view) spacing { return spacing{view: v, applied: map[fsm.VoterID]fsm.Index{}} }

// reported notes what a voter says it has applied.
func (s *spacing) reported(by fsm.VoterID, index fsm.Index) {
	if s.list != 0 && s.view.list.Has(by) {
		s.applied[by] = max(s.applied[by], index)
	}
}

// advance notes when the present list has spread.
func (s *spacing) advance(now time.Duration) {
	if s.list != s.view.list.Index {
		s.list, s.spread = s.view.list.Index, false
		maps.DeleteFunc(s.applied, func(id fsm.VoterID, _ fsm.Index) bool { return !s.view.list.Has(id) })
	}
	if s.spread || len(s.view.list.IDs) == 0 {
		return
	}
	n := 0
	for _, id := range s.view.list.IDs {
		if s.applied[id] >= s.list || (id == s.self() && s.at >= s.list) {
			n++
		}
	}
	if n >= s.view.list.Majority() {
		s.spread, s.spreadAt = true, now
	}
}

// opensAt is when the leader may change the voters (next); false: not known yet.
func (s *spacing) opensAt() (time.Duration, bool) {
	list, logged := s.loggedList()
	if !s.leading || !logged {
		return 0, false
	}
	if !s.founded() {
		return s.ledFrom, true
	}
	if s.without.has(RuleSpacing) {
		return s.listSince + s.slack(), true
	}
	if !s.spread || s.list != list.Index {
		return 0, false
	}
	return max(s.ledFrom, s.spreadAt) + s.slack(), true
}

// founded reports whether the log has had an assignment. Until then nobody holds
// anything, and voters may change at once.
func (s *spacing) founded() bool {
	if s.assigned {
		return true
	}
	for slot := range s.state.Slots() {
		if slot.Token != 0 {
			s.assigned = true
			break
		}
	}
	return s.assigned
}

package raftnode

import (
	"fmt"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/placement"
)

// waiting is a system's planned moves that its delay holds back.
type waiting struct {
	since time.Duration
	moves []fsm.Move
}

// round is one of those in which a system's moves are made that are not urgent.
type round struct {
	began time.Duration
	made  int
}

// stay is why something is not moved yet. The zero value: it may be.
type stay struct {
	why   string
	until time.Duration // by the leader's clock; 0: until something else changes
}

// due are the planned moves that may be proposed now, in the order of the plan, and what
// holds the others back. What is tied together is held back together, and nothing of it
// if one of its slots has nobody who serves it. New homes wait for the moves of their
// system: they were found together with these, and alone would be found anew.
func (a *Agenda) due(l Look, planned []fsm.Move) (moves []fsm.Move, held []placement.Held, again time.Duration) {
	stays := a.stays(l, planned)
	waits := make(map[fsm.SystemID]bool)
	for _, m := range planned {
		waits[m.System] = waits[m.System] || stays[a.ties.of(m.Key)].why != ""
	}
	for _, m := range planned {
		s := stays[a.ties.of(m.Key)]
		slot, _ := l.State.Slot(m.Key)
		if stands := m.To == slot.Owner; !stands && s.why == "" || stands && !waits[m.System] {
			moves = append(moves, m)
			continue
		} else if stands {
			continue
		}
		h := placement.Held{Move: m, Why: s.why}
		if s.until > 0 {
			h.For = s.until - l.Now
			again = sooner(again, s.until)
		}
		held = append(held, h)
	}
	return moves, held, again
}

// sooner is the earlier of two times, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// stays says what is to be held back, and why.
func (a *Agenda) stays(l Look, planned []fsm.Move) map[tie]stay {
	urgent := make(map[tie]bool)
	for _, m := range planned {
		if slot, _ := l.State.Slot(m.Key); m.To != slot.Owner && !inService(l.State, slot.Owner) {
			urgent[a.ties.of(m.Key)] = true
		}
	}
	out := make(map[tie]stay)
	var calm []fsm.Move // with an owner that serves them
	for _, m := range planned {
		t := a.ties.of(m.Key)
		if slot, _ := l.State.Slot(m.Key); urgent[t] || m.To == slot.Owner {
			continue
		}
		calm = append(calm, m)
		if unready(l, m) {
			// The next State may show it settled, the next heartbeat its lease.
			out[t] = stay{why: fmt.Sprintf("%s may hold nothing yet: it has just come", m.To)}
		}
	}
	a.delay(l, calm, out)
	a.pace(l, calm, out)
	return out
}

// delay holds back what a system's delay does. It begins anew whenever the system's
// planned moves change.
func (a *Agenda) delay(l Look, calm []fsm.Move, out map[tie]stay) {
	of := make(map[fsm.SystemID][]fsm.Move)
	for _, m := range calm {
		if l.State.Spec().Systems[m.System].Delay > 0 && !unready(l, m) {
			of[m.System] = append(of[m.System], m)
		}
	}
	for id := range a.waiting {
		if len(of[id]) == 0 {
			delete(a.waiting, id)
		}
	}
	for id, now := range of {
		w := a.waiting[id]
		if w == nil || !slices.Equal(w.moves, now) {
			w = &waiting{since: l.Now, moves: now}
			if a.waiting == nil {
				a.waiting = make(map[fsm.SystemID]*waiting)
			}
			a.waiting[id] = w
		}
		wait := l.State.Spec().Systems[id].Delay
		until := w.since + wait
		if l.Now >= until {
			continue
		}
		for _, m := range now {
			if t := a.ties.of(m.Key); out[t].why == "" {
				out[t] = stay{fmt.Sprintf("the delay of %s is %v", id, wait), until}
			}
		}
	}
}

// paced reports whether a system's rounds limit a move: it is made for its own sake, and
// not since its owner cannot keep the item.
func paced(sys fsm.System, m fsm.Move) bool {
	return sys.RoundMoves > 0 && (m.Cause == fsm.CauseHome || m.Cause == fsm.CauseBalance)
}

// pace holds back what is more than the present round of its system takes. What is tied
// together counts in each system that it belongs to, and goes when there is room in all.
func (a *Agenda) pace(l Look, calm []fsm.Move, out map[tie]stay) {
	wants := make(map[tie][]fsm.SystemID)
	var order []tie
	for _, m := range calm {
		t := a.ties.of(m.Key)
		if out[t].why != "" || !paced(l.State.Spec().Systems[m.System], m) {
			continue
		}
		if wants[t] == nil {
			order = append(order, t)
		}
		wants[t] = append(wants[t], m.System)
	}
	left := make(map[fsm.SystemID]int)
	for _, t := range order {
		full := fsm.SystemID("")
		for _, id := range wants[t] {
			if _, asked := left[id]; !asked {
				left[id] = a.room(l, id)
			}
			if left[id] <= 0 {
				full = id
			}
		}
		if full != "" {
			out[t] = a.nextRound(l, full)
			continue
		}
		for _, id := range wants[t] {
			left[id]--
		}
	}
}

// room is how many moves the present round of a system has left.
func (a *Agenda) room(l Look, id fsm.SystemID) int {
	sys := l.State.Spec().Systems[id]
	r := a.rounds[id]
	if r == nil || l.Now >= r.began+sys.RoundEvery {
		return sys.RoundMoves
	}
	return sys.RoundMoves - r.made
}

// nextRound is the wait for it.
func (a *Agenda) nextRound(l Look, id fsm.SystemID) stay {
	sys, began := l.State.Spec().Systems[id], l.Now
	if r := a.rounds[id]; r != nil && l.Now < r.began+sys.RoundEvery {
		began = r.began
	}
	return stay{
		fmt.Sprintf("%s moves %d at one time, the next ones after %v", id, sys.RoundMoves, sys.RoundEvery),
		max(began+sys.RoundEvery, l.Now+1),
	}
}

// made counts what is about to be proposed.
func (a *Agenda) made(l Look, moves []fsm.Move) {
	for _, m := range moves {
		sys := l.State.Spec().Systems[m.System]
		slot, _ := l.State.Slot(m.Key)
		if !paced(sys, m) || m.To == slot.Owner || !inService(l.State, slot.Owner) {
			continue
		}
		r := a.rounds[m.System]
		if r == nil {
			r = &round{began: l.Now}
			if a.rounds == nil {
				a.rounds = make(map[fsm.SystemID]*round)
			}
			a.rounds[m.System] = r
		}
		if l.Now >= r.began+sys.RoundEvery {
			*r = round{began: l.Now}
		}
		r.made++
	}
}

// inService reports whether a member holds what it owns and goes on to.
func inService(s *fsm.State, id fsm.MemberID) bool {
	m, ok := s.Member(id)
	return ok && m.Up && !m.Leaving
}

// unready reports whether a move would take an at-most-one item from an owner
// in service and give it to a member that may hold nothing yet: it is not settled
// (L6), or has just registered and waits for its first lease.
func unready(l Look, m fsm.Move) bool {
	to, ok := l.State.Member(m.To)
	if !ok || l.State.Spec().Systems[m.System].Guarantee != fsm.AtMostOne {
		return false
	}
	return !to.Settled || l.Leased != nil && !l.Leased(m.To, to.Epoch)
}

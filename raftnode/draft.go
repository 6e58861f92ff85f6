package raftnode

import (
	"maps"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/placement"
)

const (
	// planMoves is how many moves a plan may have: those of several commands, so that the
	// next one is not waited for while the urgent ones of this one are made.
	planMoves = 16 * fsm.MaxMoves
	// downPatience is how long a Down waits for the plan of its moves. If there are so
	// many items that it takes longer the moves follow as soon as they are known: they
	// would not come sooner if the Down waited for them.
	downPatience = 150 * time.Millisecond
	// planPatience is how long anything else may keep the leader's loop from looking at
	// Downs.
	planPatience = 20 * time.Millisecond
)

// basis is what a plan was made of.
type basis struct {
	state  *fsm.State
	sights int // Sightings.Changes
}

// draft is one plan.
type draft struct {
	basis
	at     time.Duration
	view   placement.View
	result placement.Result
}

// drafts are the plans of one leader, by one Planner, one after the other. The zero
// value makes each on the spot.
type drafts struct {
	planner placement.Planner
	last    *draft // the newest that is ready
	// begin has a plan made elsewhere while its caller goes on, and tells on what is
	// returned; nil: each is made on the spot.
	begin func(*placement.Planner, *draft) <-chan struct{}
	after func(time.Duration) <-chan time.Time // with begin
	next  *draft                               // that is being made; nil: none
	ready <-chan struct{}
}

// has reports whether the newest plan is of this very basis, and not yet out of date.
func (d *drafts) has(b basis, unusable map[fsm.MemberID]string, now time.Duration) bool {
	p := d.last
	return p != nil && p.basis == b && maps.Equal(p.view.Unusable, unusable) &&
		(p.result.Again == 0 || now < p.at+p.result.Again)
}

// make gives the plan that is wanted if it is ready in time, else the newest there is.
// Only one is made at a time, and none is broken off: what it has found out makes the
// next one cheap.
func (d *drafts) make(want *draft, patience time.Duration) (newest *draft, fresh bool) {
	if d.begin == nil {
		want.result = d.planner.Plan(want.view)
		d.last = want
		return want, true
	}
	over := d.after(patience)
	for {
		if d.next == nil {
			d.next, d.ready = want, d.begin(&d.planner, want)
		}
		if !d.await(over) {
			return d.last, false
		}
		made := d.next
		d.last, d.next = made, nil
		if made == want || made.basis == want.basis && maps.Equal(made.view.Unusable, want.view.Unusable) {
			return made, true
		}
	}
}

// await reports whether the plan that is being made is ready in time.
func (d *drafts) await(over <-chan time.Time) bool {
	select {
	case <-d.ready:
		return true
	default:
	}
	select {
	case <-d.ready:
		return true
	case <-over:
		return false
	}
}

// stillUrgent are the moves of a plan of an earlier State that can be made now and leave
// nobody worse off: they give somebody what nobody usable has. The others wait for the
// next plan.
func (p *draft) stillUrgent(l Look, t *ties) []fsm.Move {
	if p.view.State.Spec() != l.State.Spec() {
		return nil
	}
	type fate struct{ urgent, void bool }
	fates := make(map[tie]fate)
	given := make(map[fsm.Key]fsm.MemberID) // by the moves so far
	for _, m := range p.result.Moves {
		slot, _ := l.State.Slot(m.Key)
		f := fates[t.of(m.Key)]
		f.urgent = f.urgent || !inService(l.State, slot.Owner)
		f.void = f.void || slot.Token != m.Was || m.To != "" && (!takes(l.State, m) || hasAnother(l.State, given, m))
		given[m.Key] = m.To
		fates[t.of(m.Key)] = f
	}
	var out []fsm.Move
	for _, m := range p.result.Moves {
		if f := fates[t.of(m.Key)]; f.urgent && !f.void {
			out = append(out, m)
		}
	}
	return out
}

// hasAnother reports whether a member will have another rank of the item by then.
func hasAnother(s *fsm.State, given map[fsm.Key]fsm.MemberID, m fsm.Move) bool {
	sys := s.Spec().Systems[m.System]
	for k := (fsm.Key{System: m.System, Item: m.Item}); k.Rank < sys.Ranks(); k.Rank++ {
		owner, moved := given[k]
		if !moved {
			slot, _ := s.Slot(k)
			owner = slot.Owner
		}
		if k.Rank != m.Rank && owner == m.To {
			return true
		}
	}
	return false
}

// takes reports whether nothing has come up since that keeps a member from having a slot.
func takes(s *fsm.State, m fsm.Move) bool {
	_, failed := s.FailureOf(m.To, m.Key)
	return inService(s, m.To) && !failed && !s.Maintained(m.System) && !s.Braked(m.Key)
}

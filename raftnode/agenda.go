package raftnode

import (
	"maps"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/placement"
)

// Agenda is what one leader remembers from one Look to the next. The zero value
// is that of a leader that has just passed its Barrier; a new leader begins
// with a new one.
type Agenda struct {
	begun    bool
	released bool          // planned moves are not held back (any more)
	ready    time.Duration // since when a majority of the voters-to-be have their vote; -1: not yet
	clock    clock
	seen     Sightings // where the Look brings none
	drafts   drafts
	waiting  map[fsm.SystemID]*waiting
	rounds   map[fsm.SystemID]*round
	ties     ties
	outlook  Outlook
}

// Outlook is what stands against moving more at present, and what cannot be placed.
type Outlook struct {
	Held     []placement.Held
	Unplaced []placement.Unplaced
}

// Outlook is that of the last Look.
func (a *Agenda) Outlook() Outlook { return a.outlook }

// sightings are those that the Look brings, or the Agenda's own, which begin with it.
func (a *Agenda) sightings(l Look) *Sightings {
	if l.Seen != nil {
		return l.Seen
	}
	a.seen.Look(l.State, l.Now, l.Leased)
	return &a.seen
}

// plan is the newest plan there is: of this Look, or of an earlier one while the plan of
// this one is being made. nil: there is none yet. unusable is what the plan is to take
// for unusable besides what the State shows.
func (a *Agenda) plan(l Look, unusable map[fsm.MemberID]string, patience time.Duration) (d *draft, fresh bool) {
	seen := a.sightings(l)
	basis := basis{state: l.State, sights: seen.Changes()}
	if a.drafts.has(basis, unusable, l.Now) {
		return a.drafts.last, true
	}
	return a.drafts.make(&draft{
		basis: basis, at: l.Now,
		view: placement.View{State: l.State, Unusable: maps.Clone(unusable), Well: seen.Well(l.Now), Now: l.Unix, Budget: planMoves},
	}, patience)
}

// clock keeps a leader's times from going back behind those of the leader before it.
type clock struct {
	read  fsm.Index // of the journal
	ahead int64     // how far the log is ahead of this leader's clock, in milliseconds
}

// now is this leader's time, or so much later that it is not behind what leaders before
// it put into the log. By more than the time for which moves are counted only a wrong
// clock is ahead: it is left to itself.
func (c *clock) now(l Look) int64 {
	for _, e := range l.State.JournalSince(c.read) {
		c.read = e.Index
		if e.Kind != fsm.KindMoved && e.Kind != fsm.KindDown { // members' clocks count for nothing
			continue
		}
		if ahead := e.At - l.Unix; ahead > c.ahead && ahead <= fsm.RecentFor.Milliseconds() {
			c.ahead = ahead
		}
	}
	return l.Unix + c.ahead
}

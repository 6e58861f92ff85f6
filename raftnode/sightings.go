package raftnode

import (
	"sync"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Sightings is since when each member has been up and well in its present epoch, as far
// as this node has seen it: up and settled in the log, staying, and with a lease of its
// own. Each server keeps them, so that a new leader need not begin anew: the time is
// this node's own, and is not compared with anybody else's. The zero value has seen
// nothing.
type Sightings struct {
	mu      sync.Mutex
	state   *fsm.State                 // the last one looked at
	pending map[fsm.MemberID]fsm.Epoch // up, without a lease so far
	well    map[fsm.MemberID]sighting  // the others
	changes int
}

type sighting struct {
	epoch fsm.Epoch
	since time.Duration
}

// Look takes in a State that is not older than the last one.
func (s *Sightings) Look(state *fsm.State, now time.Duration, leased func(fsm.MemberID, fsm.Epoch) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == nil:
		s.pending, s.well = make(map[fsm.MemberID]fsm.Epoch), make(map[fsm.MemberID]sighting)
		for id := range state.Members() {
			s.member(state, id)
		}
	case s.state != state:
		for id := range state.ChangedMembers(s.state) {
			s.member(state, id)
		}
	}
	s.state = state
	s.leases(now, leased)
}

// Leases looks once more whose lease has begun.
func (s *Sightings) Leases(now time.Duration, leased func(fsm.MemberID, fsm.Epoch) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases(now, leased)
}

func (s *Sightings) leases(now time.Duration, leased func(fsm.MemberID, fsm.Epoch) bool) {
	for id, epoch := range s.pending {
		if leased == nil || leased(id, epoch) {
			delete(s.pending, id)
			s.well[id] = sighting{epoch, now}
			s.changes++
		}
	}
}

// member takes in what the State says of one member.
func (s *Sightings) member(state *fsm.State, id fsm.MemberID) {
	m, known := state.Member(id)
	fit := known && m.Up && m.Settled && !m.Leaving
	was, seen := s.well[id]
	if fit && seen && was.epoch == m.Epoch {
		return
	}
	delete(s.pending, id)
	if seen {
		delete(s.well, id)
		s.changes++
	}
	if fit {
		s.pending[id] = m.Epoch
	}
}

// Well is for how long each has been well.
func (s *Sightings) Well(now time.Duration) map[fsm.MemberID]time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[fsm.MemberID]time.Duration, len(s.well))
	for id, w := range s.well {
		out[id] = now - w.since
	}
	return out
}

// Changes grows whenever a member becomes well, or is not any more.
func (s *Sightings) Changes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

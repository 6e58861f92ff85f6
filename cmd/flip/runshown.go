package main

import (
	"sync"

	"github.com/flip-ha/flip/fsm"
)

// stage lets one reader of the log at a time show the heartbeats what is agreed.
// While the role of a node changes there are two, one of them behind the other, and
// what the heartbeats are shown must not go back.
type stage struct {
	self fsm.MemberID
	to   func(s *fsm.State, at fsm.Index, leading bool, leader fsm.VoterID)

	mu  sync.Mutex
	now *reader
	at  fsm.Index // shown last
}

// reader is the heartbeats as one reader of the log has them: that of Raft, or that
// of an agent.
type reader struct {
	*heartbeat
	stage *stage
	news  <-chan struct{}
	last  *shown // what it read last; under the stage's lock
}

type shown struct {
	state   *fsm.State
	at      fsm.Index
	leading bool
	leader  fsm.VoterID
}

func newStage(self fsm.MemberID, h *heartbeat) *stage { return &stage{self: self, to: h.Read} }

// reader makes one, before the heartbeats run.
func (s *stage) reader(h *heartbeat) *reader {
	return &reader{heartbeat: h, stage: s, news: h.news()}
}

// turn has r on the stage from now on; what it read last is shown at once.
func (s *stage) turn(r *reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = r
	s.show(r)
}

// show is called under the lock.
func (s *stage) show(r *reader) {
	if r != s.now || r.last == nil || r.last.at < s.at {
		return
	}
	s.at = r.last.at
	s.to(r.last.state, r.last.at, r.last.leading, r.last.leader)
}

// registers reports whether a reader is the one that has this process registered: the
// one on the stage, and only if the configuration, as it reads it, names this member.
// Each attempt is an entry of the log, refused or not.
func (s *stage) registers(r *reader) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != r || r.last == nil {
		return false
	}
	_, named := r.last.state.Spec().Servers[s.self]
	return named
}

// forget drops what was read: it begins anew.
func (r *reader) forget() {
	r.stage.mu.Lock()
	defer r.stage.mu.Unlock()
	r.last = nil
}

// Read shows what the log says, unless another reader is on the stage.
func (r *reader) Read(s *fsm.State, at fsm.Index, leading bool, leader fsm.VoterID) {
	r.stage.mu.Lock()
	defer r.stage.mu.Unlock()
	r.last = &shown{s, at, leading, leader}
	r.stage.show(r)
}

// Changed is this reader's own channel.
func (r *reader) Changed() <-chan struct{} { return r.news }

// Register asks for a registration: one reader's business at a time.
func (r *reader) Register() (fsm.Register, bool) {
	if !r.stage.registers(r) {
		return fsm.Register{}, false
	}
	return r.heartbeat.Register()
}

// Settled is like Register.
func (r *reader) Settled() (fsm.Settle, bool) {
	if !r.stage.registers(r) {
		return fsm.Settle{}, false
	}
	return r.heartbeat.Settled()
}

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/flip-ha/flip/client/agent"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/raftnode"
)

// agreement is where a node reads what the cluster has agreed on, and has more agreed
// on: its own log, or what a voter sends an agent.
type agreement interface {
	View() (*fsm.State, fsm.Index)
	// Changed is closed once View's index may be above after.
	Changed(after fsm.Index) <-chan struct{}
	// Leader is "" when none is known.
	Leader() (name fsm.MemberID, addr string)
	Propose(context.Context, fsm.Command) (fsm.Result, error)
}

var (
	_ agreement = (*raftnode.Node)(nil)
	_ agreement = (*agent.Node)(nil)
	_ agreement = (*seat)(nil)
)

// seat is this node's place among the members, as a server or as an agent; which of
// the two may change while it runs. All else in this process reads through it and
// need not know: its View never goes back, and Changed tells of a new seat too.
type seat struct {
	self fsm.MemberID

	mu    sync.Mutex
	raft  *raftnode.Node // nil: Raft is not open
	agent *agent.Node    // nil: nobody sends this node anything
	now   agreement      // whose View counts; nil: before the daemon is open
	news  chan struct{}  // closed and replaced when View may have changed
	moved chan struct{}  // closed and replaced when another one counts
}

func newSeat(self fsm.MemberID) *seat {
	return &seat{self: self, news: make(chan struct{}), moved: make(chan struct{})}
}

// Run passes on what changes until ctx ends.
func (s *seat) Run(ctx context.Context) error {
	for {
		s.mu.Lock()
		now, moved := s.now, s.moved
		s.mu.Unlock()
		_, at := now.View()
		s.tell()
		select {
		case <-ctx.Done():
			return nil
		case <-moved:
		case <-now.Changed(at):
		}
	}
}

func (s *seat) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.news)
	s.news = make(chan struct{})
}

// turn makes another one count.
func (s *seat) turn(now agreement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
	close(s.moved)
	s.moved = make(chan struct{})
}

func (s *seat) sit(f func(s *seat)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *seat) counts() agreement {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// server is this node's part in Raft while that counts.
func (s *seat) server() (*raftnode.Node, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.raft, s.raft != nil && s.now == agreement(s.raft)
}

// informed is what keeps this node informed while it is an agent.
func (s *seat) informed() (*agent.Node, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.agent, s.agent != nil && s.now == agreement(s.agent)
}

// both are the two as far as they run, whichever counts.
func (s *seat) both() (*raftnode.Node, *agent.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.raft, s.agent
}

// open is Raft if it is open, whether it counts or not: others greet and feed a
// server that has yet to catch up.
func (s *seat) open() (*raftnode.Node, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.raft, s.raft != nil
}

// View is the newest agreed State that this node has read and its index.
func (s *seat) View() (*fsm.State, fsm.Index) {
	now := s.counts()
	if now == nil {
		return fsm.New(), 0
	}
	return now.View()
}

// Changed is closed if View's index is above after, else it is with the next State.
func (s *seat) Changed(after fsm.Index) <-chan struct{} {
	s.mu.Lock()
	news, now := s.news, s.now
	s.mu.Unlock()
	// News first: what comes after this look at the index closes them.
	if now != nil {
		if _, at := now.View(); at > after {
			over := make(chan struct{})
			close(over)
			return over
		}
	}
	return news
}

// Leader is the present leader; "" when none is known.
func (s *seat) Leader() (fsm.MemberID, string) {
	now := s.counts()
	if now == nil {
		return "", ""
	}
	return now.Leader()
}

// Propose has a command agreed on.
func (s *seat) Propose(ctx context.Context, c fsm.Command) (fsm.Result, error) {
	now := s.counts()
	if now == nil {
		return fsm.Result{}, raftnode.ErrNoLeader
	}
	return now.Propose(ctx, c)
}

// Age is for how long this node has not known itself up to date; negative: it never
// did.
func (s *seat) Age() time.Duration {
	if a, ok := s.counts().(interface{ Age() time.Duration }); ok {
		return a.Age()
	}
	return -time.Millisecond
}

// StepDown hands leadership over, if this node has it.
func (s *seat) StepDown(ctx context.Context) error {
	if n, ok := s.server(); ok {
		return n.StepDown(ctx)
	}
	return nil
}

// Phase says in words where this node stands.
func (s *seat) Phase() raftnode.Phase {
	if a, ok := s.informed(); ok {
		return agentPhase(a, s.self)
	}
	if n, ok := s.server(); ok {
		return n.Phase()
	}
	return raftnode.Phase{Stage: raftnode.StageStarting, Words: "starting"}
}

// reachVoters is what to do where an agent is on its own.
const reachVoters = "see that the voters run and can be reached from here: flip needs TCP and UDP on their ports, and the same key"

// agentPhase is that of an agent.
func agentPhase(a *agent.Node, self fsm.MemberID) raftnode.Phase {
	leader, _ := a.Leader()
	state, at := a.View()
	_, named := state.Spec().Servers[self]
	source := a.Source()
	p := raftnode.Phase{Stage: raftnode.StageNoLeader, Hint: reachVoters}
	switch {
	case source == "" && at == 0:
		p.Stage = raftnode.StageJoining
		p.Words = "an agent that waits for a voter to inform it"
	case source == "":
		p.Words = "an agent that no voter informs"
	case !named:
		p.Stage = raftnode.StageJoining
		p.Words = fmt.Sprintf("an agent that the cluster does not name: it waits for `flip member add %s HOST:PORT --role agent` on any member", self)
		p.Hint = "a file counts at founding only"
	case leader == "":
		p.Words = fmt.Sprintf("an agent, informed by %s; there is no leader", source)
	default:
		p.Stage, p.Hint = raftnode.StageRunning, ""
		p.Words = fmt.Sprintf("an agent, informed by %s; %s leads", source, leader)
	}
	return p
}

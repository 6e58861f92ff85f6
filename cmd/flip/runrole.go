package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/flip-ha/flip/api/server"
	"github.com/flip-ha/flip/client/agent"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/raftnode"
)

// roleEvery is how often a node looks whether it has the role that is agreed on, in
// case nothing else makes it look.
const roleEvery = 250 * time.Millisecond

// sides are the two ways in which a node takes part, as far as they run: one, or
// both while its role changes. What it holds, its lease and its epoch have nothing to
// do with that.
type sides struct {
	d           *daemon
	raft, agent *side  // nil: it does not run
	cut         func() // ends what a server answers and an agent does not
	said        string // the last failure to begin
}

// side is one of them.
type side struct {
	end  context.CancelFunc
	done chan error // capacity 1
}

func begin(ctx context.Context, run func(context.Context) error) *side {
	ctx, cancel := context.WithCancel(ctx)
	s := &side{end: cancel, done: make(chan error, 1)}
	go func() { s.done <- run(ctx) }()
	return s
}

// over receives when a side has ended by itself; nil: it does not run.
func (s *side) over() <-chan error {
	if s == nil {
		return nil
	}
	return s.done
}

// stop ends a side and waits until it has.
func (s *side) stop() error {
	if s == nil {
		return nil
	}
	s.end()
	return <-s.done
}

// takePart has this node take part in the cluster, in the role that is agreed on,
// until ctx ends or a side fails.
func (d *daemon) takePart(ctx context.Context) error {
	s := &sides{d: d, cut: func() {}}
	if n, ok := d.node.server(); ok {
		s.raft = begin(ctx, n.Run)
		s.serve(ctx)
	} else if a, ok := d.node.informed(); ok {
		s.agent = begin(ctx, a.Run)
		s.handOn(ctx)
	}
	err := s.follow(ctx)
	s.cut()
	return errors.Join(err, s.raft.stop(), s.agent.stop())
}

func (s *sides) follow(ctx context.Context) error {
	tick := time.NewTicker(roleEvery)
	defer tick.Stop()
	for {
		_, at := s.d.node.View()
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.raft.over():
			s.raft = nil
			return ended(ctx, "Raft", err)
		case err := <-s.agent.over():
			s.agent = nil
			return ended(ctx, "what keeps this agent informed", err)
		case <-s.d.node.Changed(at):
		case <-s.next():
		case <-tick.C:
		}
		if err := s.look(ctx); err != nil {
			return err
		}
	}
}

func ended(ctx context.Context, what string, err error) error {
	if err == nil && ctx.Err() == nil {
		return fmt.Errorf("%s has ended", what)
	}
	return err
}

// next fires when the side that does not count yet has read more.
func (s *sides) next() <-chan struct{} {
	if s.raft == nil || s.agent == nil {
		return nil
	}
	raft, agent := s.d.node.both()
	_, at := agent.View()
	if _, counts := s.d.node.server(); counts {
		return agent.Changed(at)
	}
	_, at = raft.View()
	return raft.Changed(at)
}

// look compares this node's role with the one agreed on, and goes a step.
func (s *sides) look(ctx context.Context) error {
	node := s.d.node
	if raft, ok := node.server(); ok {
		_, informed := node.both()
		switch asAgent := roleIn(raft, s.d.self.Name, true) || raft.Phase().Stage == raftnode.StageAgent; {
		case s.agent == nil && asAgent:
			s.beginAgent(ctx, raft)
		case s.agent == nil:
		case !asAgent && !roleIn(informed, s.d.self.Name, true):
			s.d.log.Info().Msg("this server stays one after all")
			return s.dropAgent()
		case toldAll(informed, raft) && roleIn(informed, s.d.self.Name, true) && !hasVote(informed, s.d.self.Name):
			return s.becomeAgent(ctx, informed)
		}
		return nil
	}
	informed, _ := node.informed()
	raft, _ := node.both()
	switch asServer := roleIn(informed, s.d.self.Name, false); {
	case s.raft == nil && asServer:
		s.beginRaft(ctx)
	case s.raft == nil:
	case !asServer:
		s.d.log.Info().Msg("this agent stays one after all")
		return s.dropRaft()
	case caughtUp(raft, informed) && roleIn(raft, s.d.self.Name, false):
		return s.becomeServer(ctx, raft)
	}
	return nil
}

// caughtUp reports whether one has read the log as far as another.
func caughtUp(one, other agreement) bool {
	_, at := one.View()
	_, there := other.View()
	return at >= there && at > 0
}

// toldAll reports whether an agent to be was told of all that its own log has. Less is
// not enough: after a stop of all, this node and the voter that informs it may both have
// read no further than where it had no vote yet. If it gave the vote up that it has by
// now, too few might be left to elect a leader.
func toldAll(informed agreement, raft *raftnode.Node) bool {
	_, at := informed.View()
	return caughtUp(informed, raft) && at >= raft.LastIndex()
}

// roleIn reports whether the configuration, as it was read, has a member as an agent,
// or as a server.
func roleIn(from agreement, m fsm.MemberID, asAgent bool) bool {
	s, _ := from.View()
	server, listed := s.Spec().Servers[m]
	return listed && (server.Role == fsm.RoleAgent) == asAgent
}

func hasVote(from agreement, m fsm.MemberID) bool {
	s, _ := from.View()
	return s.HasVote(m)
}

// beginAgent has voters keep this server informed beside its own log. It votes and
// reads that as before until they have told that the committed list is without it.
func (s *sides) beginAgent(ctx context.Context, raft *raftnode.Node) {
	s.d.log.Info().Msg("this server is to be an agent: a voter keeps it informed from now on")
	_, have := raft.View()
	a := s.d.newAgent(have)
	s.d.node.sit(func(n *seat) { n.agent = a })
	s.agent = begin(ctx, a.Run)
}

func (s *sides) dropAgent() error {
	err := s.agent.stop()
	s.agent = nil
	s.d.readers.agent.forget()
	s.d.node.sit(func(n *seat) { n.agent = nil })
	return err
}

// becomeAgent is the moment from which what a voter tells counts. All that needs the
// whole log ends before: what is served of it, and the voter's side of the heartbeats.
func (s *sides) becomeAgent(ctx context.Context, a *agent.Node) error {
	d := s.d
	s.handOn(ctx)
	d.parts.Serve(false)
	d.beat.SetVoter(false)
	d.votes.end()
	d.node.turn(a)
	d.stage.turn(d.readers.agent)
	err := s.raft.stop()
	s.raft = nil
	d.readers.raft.forget()
	d.node.sit(func(n *seat) { n.raft = nil })
	d.log.Info().Str("informed_by", string(a.Source())).Msg("this node is an agent now: it keeps what it has, and has no vote")
	return err
}

// beginRaft opens Raft beside what keeps this agent informed.
func (s *sides) beginRaft(ctx context.Context) {
	n, err := s.d.newRaft()
	if err != nil {
		if words := err.Error(); words != s.said {
			s.said = words
			s.d.log.Error().Err(err).Msg("this agent is to have a vote, but Raft cannot be opened here: it is tried again")
		}
		return
	}
	s.d.log.Info().Msg("this agent is to have a vote: it reads the log first")
	s.said = ""
	s.d.node.sit(func(seat *seat) { seat.raft = n })
	s.raft = begin(ctx, n.Run)
}

func (s *sides) dropRaft() error {
	err := s.raft.stop()
	s.raft = nil
	s.d.readers.raft.forget()
	s.d.node.sit(func(n *seat) { n.raft = nil })
	return err
}

// becomeServer is the moment from which this node's own log counts. Only then the
// voter's side of the heartbeats begins, as if the process had just started.
func (s *sides) becomeServer(ctx context.Context, n *raftnode.Node) error {
	d := s.d
	d.node.turn(n)
	d.stage.turn(d.readers.raft)
	d.beat.SetVoter(true)
	d.votes.begin()
	d.parts.Serve(true)
	s.serve(ctx)
	err := s.agent.stop()
	s.agent = nil
	d.readers.agent.forget()
	d.node.sit(func(n *seat) { n.agent = nil })
	d.log.Info().Msg("this node has the log now, and waits for its vote")
	return err
}

// serve has the control API answer from this node's own log.
func (s *sides) serve(ctx context.Context) {
	s.cut()
	ctx, cut := context.WithCancel(ctx)
	hub := server.NewHub(s.d.node)
	follows := begin(ctx, hub.Run)
	s.cut = func() {
		cut()
		_ = follows.stop() // it ends with no error
	}
	s.d.local.Turn(ctx, server.NewLocal(s.d.localConfig(hub, nil, false)))
	s.d.remote.Turn(ctx, server.NewLocal(s.d.localConfig(hub, nil, true)))
}

// handOn has it hand on to a voter what an agent cannot answer.
func (s *sides) handOn(ctx context.Context) {
	s.cut()
	ctx, cut := context.WithCancel(ctx)
	s.cut = cut
	s.d.local.Turn(ctx, server.NewLocal(s.d.localConfig(nil, s.d.away, false)))
	s.d.remote.Turn(ctx, server.NewLocal(s.d.localConfig(nil, s.d.away, true)))
}

// votingTime is since when the voter's side of the heartbeats runs.
type votingTime struct{ since atomic.Pointer[time.Time] }

func (v *votingTime) begin() {
	now := time.Now()
	v.since.Store(&now)
}

func (v *votingTime) end() { v.since.Store(nil) }

// running is for how long it does; 0: it does not.
func (v *votingTime) running() time.Duration {
	if since := v.since.Load(); since != nil {
		return time.Since(*since)
	}
	return 0
}

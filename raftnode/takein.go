package raftnode

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/wake"
)

// How often the leader looks after servers that have no vote yet.
const (
	takeInEager = 50 * time.Millisecond // one is catching up
	takeInCalm  = 500 * time.Millisecond
	takeInIdle  = 5 * time.Second // all have their vote; a greeting wakes it sooner
)

// caughtUp is how many entries behind the leader a server may be when it gets
// its vote: what is on its way at one moment, not a log to be replayed.
const caughtUp = 64

// takeIn brings the servers of the configuration into Raft, one change at a
// time, for as long as this node leads.
func (n *Node) takeIn(ctx context.Context, r *raft.Raft) {
	for {
		v := n.machine.view()
		wait := takeInIdle
		if v.state.Spec().Version != 0 {
			wait = n.takeInStep(ctx, r)
		}
		if wait == 0 {
			continue
		}
		if !wake.Pause(ctx, wait, n.wakeTakeIn, n.specSet(v), nil) {
			return
		}
	}
}

// specSet fires with the next State while there is no Spec yet.
func (n *Node) specSet(v view) <-chan struct{} {
	if v.state.Spec().Version != 0 {
		return nil
	}
	return n.machine.after(v.index)
}

// takeInStep makes at most one change; it answers with how long to wait, 0 for
// not at all.
func (n *Node) takeInStep(ctx context.Context, r *raft.Raft) time.Duration {
	latest := r.GetConfiguration()
	w := n.newcomers(latest.Configuration())
	ask := missing(*w.state.Spec(), w.conf, n.self, n.met.instances())
	leaving, waiting := w.leaving()
	switch {
	case len(leaving) > 0:
		ask = union(ask, w.concerned())
	case len(ask) == 0 && waiting:
		return takeInEager
	case len(ask) == 0:
		return takeInIdle
	}
	met := n.greetAll(ctx, ask)
	if ctx.Err() != nil {
		return takeInIdle
	}
	w = n.newcomers(w.conf)
	w.met = met
	c, ok := nextChange(w)
	if !ok {
		if c.catchingUp {
			return takeInEager
		}
		return takeInCalm
	}
	if err := n.change(ctx, r, c, latest.Index()); err != nil {
		if ctx.Err() == nil {
			n.log.Warn().Err(err).Str("server", string(c.id)).Msg("cannot change the voters")
		}
		return takeInCalm
	}
	if c.kind == handOver {
		return takeInCalm // by then another one leads
	}
	return 0
}

// newcomers is all that is known of the servers that come and go but what they answer.
func (n *Node) newcomers(conf raft.Configuration) newcomers {
	v := n.machine.view()
	return newcomers{state: v.state, index: v.index, conf: conf, self: n.self, mayChange: n.deps.Detector.MayChangeVoters()}
}

// union is two lists of servers without repetition.
func union(a, b []fsm.Server) []fsm.Server {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.ContainsFunc(a, func(o fsm.Server) bool { return o.Name == s.Name }) {
			out = append(out, s)
		}
	}
	return out
}

// change carries one change out and waits until it is committed. It is refused
// if the configuration is no longer the one at index, on which it was decided.
func (n *Node) change(ctx context.Context, r *raft.Raft, c confChange, index uint64) error {
	e := n.log.Info()
	if c.kind == removeOld {
		e = n.log.Warn()
	}
	e.Str("server", string(c.id)).Str("addr", string(c.addr)).Msg(c.words)
	_, err := await(ctx, n, func() (struct{}, error) {
		var f raft.IndexFuture
		switch c.kind {
		case removeOld:
			f = r.RemoveServer(c.id, index, enqueueWait)
		case addLearner:
			f = r.AddNonvoter(c.id, c.addr, index, enqueueWait)
		case giveVote:
			f = r.AddVoter(c.id, c.addr, index, enqueueWait)
		case letGo:
			f = r.RemoveServer(c.id, index, enqueueWait)
		case handOver: // Raft bounds it by its election timeout
			return struct{}{}, r.LeadershipTransferToServer(c.id, c.addr).Error()
		}
		return struct{}{}, f.Error()
	})
	if err == nil {
		n.committed()
		wake.Signal(n.nudges)
		n.read()
	}
	if c.kind == letGo {
		wake.Signal(n.wakeGreeter) // which forgets it
	}
	return err
}

// changeKind is one of the steps of taking a server in or out.
type changeKind int

const (
	removeOld changeKind = iota + 1
	addLearner
	giveVote
	letGo    // of a server that is to leave
	handOver // to another leader: this one is to leave
)

// confChange is one change of Raft's configuration.
type confChange struct {
	kind       changeKind
	id         raft.ServerID
	addr       raft.ServerAddress
	words      string
	first      bool // of a leaving: it comes before all that join
	catchingUp bool // no change: somebody needs a moment only
	soon       bool // no change: a newcomer gets its vote soon
}

// missing are the servers without a vote under the instance they last said
// they were; all others are left alone, and so is who is to leave, unless it is there
// as another instance than Raft has.
func missing(spec fsm.Spec, conf raft.Configuration, self fsm.VoterID, said map[fsm.MemberID]string) []fsm.Server {
	var out []fsm.Server
	for _, name := range votersIn(spec) {
		have := serverOf(conf, name)
		known := said[name]
		if name == self.Member() || spec.Servers[name].Removing && (known == "" || have != nil && have.ID == raft.ServerID(fsm.NewVoterID(name, known))) {
			continue
		}
		if have != nil && have.Suffrage == raft.Voter && (known == "" || have.ID == raft.ServerID(fsm.NewVoterID(name, known))) {
			continue
		}
		s := spec.Servers[name]
		s.Name = name
		out = append(out, s)
	}
	return out
}

// serverOf is a member's entry in Raft's configuration, under any instance.
func serverOf(conf raft.Configuration, name fsm.MemberID) *raft.Server {
	i := slices.IndexFunc(conf.Servers, func(s raft.Server) bool { return fsm.VoterID(s.ID).Member() == name })
	if i < 0 {
		return nil
	}
	return &conf.Servers[i]
}

// newcomers is what nextChange decides from.
type newcomers struct {
	state     *fsm.State
	index     fsm.Index
	conf      raft.Configuration
	self      fsm.VoterID
	met       map[fsm.MemberID]Finding // one round of greetings
	mayChange bool
}

// nextChange is the one change of Raft's configuration to be made now, if any. Who is
// down and to leave goes before another comes (L7); who is up goes after that.
func nextChange(w newcomers) (confChange, bool) {
	leave, leaves := w.nextLeaving()
	if leaves && leave.first {
		return leave, true
	}
	join, joins := w.nextJoining()
	switch {
	case joins:
		return join, true
	case leaves && !w.hasty(leave, join):
		return leave, true
	default:
		return confChange{catchingUp: join.catchingUp || leave.catchingUp}, false
	}
}

// nextJoining is the next step of taking a server in, if any. Votes come first: who
// has caught up must not wait for who has not.
func (w newcomers) nextJoining() (confChange, bool) {
	free := !dealt(w.state) // founding: nothing is held yet, so no spacing (L7)
	pace := confChange{}
	var later *confChange
	for _, name := range slices.Concat(w.state.Spec().Staying(), w.returning()) {
		f, ok := w.met[name]
		if !ok || f.Hello == nil || f.Trouble != TroubleNone {
			continue
		}
		id := raft.ServerID(fsm.NewVoterID(name, f.Hello.Instance))
		addr := Address(w.state.Spec().Servers[name].Addr, fsm.VoterID(id))
		have := serverOf(w.conf, name)
		switch {
		case have == nil:
			if later == nil && w.welcome(*f.Hello) {
				later = &confChange{kind: addLearner, id: id, addr: addr, words: "taking a server in: its log comes first"}
			}
		case have.ID != id:
			if (later == nil || later.kind != removeOld) && f.Hello.Empty && (have.Suffrage != raft.Voter || free || w.mayChange) {
				later = &confChange{
					kind: removeOld, id: have.ID, addr: have.Address,
					words: fmt.Sprintf("%s has come back as another instance (%s) with an empty data directory: "+
						"removing the old one, whose votes and log are lost, and taking the new one in", name, f.Hello.Instance),
				}
			}
		case have.Suffrage != raft.Voter && !w.state.Spec().Servers[name].Removing:
			if w.ready(*f.Hello, free) {
				return confChange{kind: giveVote, id: id, addr: addr, words: "this server has caught up: giving it its vote"}, true
			}
			pace.catchingUp = true
			pace.soon = pace.soon || f.Hello.Running < newcomerFor
		}
	}
	if later != nil {
		return *later, true
	}
	return pace, false
}

// returning are the servers with a vote that are to leave and may still hold something, by
// name. One that comes back with an empty data directory is sent the log, or nobody would
// ever learn that it has let go; it gets no vote any more.
func (w newcomers) returning() []fsm.MemberID {
	var out []fsm.MemberID
	for _, name := range votersIn(*w.state.Spec()) {
		if w.state.Spec().Servers[name].Removing && !w.state.Drained(name) {
			out = append(out, name)
		}
	}
	return out
}

// welcome reports whether a server that Raft does not know may be taken in: it
// knows nothing, or this cluster's log, or only what a lost leader sent it.
func (w newcomers) welcome(h Hello) bool {
	switch h.Cluster {
	case w.state.Cluster():
		return true
	case "":
		return h.Empty || h.Applied == 0
	default:
		return false
	}
}

// ready reports whether a server may get its vote (L7).
func (w newcomers) ready(h Hello, free bool) bool {
	if h.Applied+caughtUp < w.index || h.Cluster != w.state.Cluster() {
		return false
	}
	if free {
		return true
	}
	return w.mayChange && h.Hears && h.Running >= fsm.Slack(w.state.MaxTTL())
}

package raftnode

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/wake"
)

// helloWait bounds one greeting: a host that does not answer within it is
// called silent.
const helloWait = time.Second

// Hello is this node's answer to another node's greeting. What the other one
// says of itself is kept, as if this node had asked.
func (n *Node) Hello(from Hello) Hello {
	mine := n.helloTo(from.Name)
	if s, ok := n.spec().Servers[from.Name]; ok && s.Votes() && from.Name != n.cfg.Self {
		s.Name = from.Name
		if f := judge(mine, from, s); n.met.came(f) {
			if f.Trouble != TroubleNone {
				n.say(f)
			}
			wake.Signal(n.wakeTakeIn)
			wake.Signal(n.wakeGreeter)
		}
	}
	return mine
}

// helloTo is what this node says of itself, and of the one it says it to.
func (n *Node) helloTo(name fsm.MemberID) Hello {
	h := n.hello()
	h.Yours = Standing{Agent: n.spec().Servers[name].Role == fsm.RoleAgent, Vote: n.machine.view().state.HasVote(name)}
	return h
}

// hello is what this node says of itself.
func (n *Node) hello() Hello {
	v := n.machine.view()
	spec := n.spec()
	h := Hello{
		Wire: n.cfg.Wire, Name: n.cfg.Self, Instance: n.cfg.Instance,
		Cluster: v.state.Cluster(), Version: n.cfg.Version,
		Empty:  n.empty(),
		Voters: n.cfg.Digest(spec), VoterList: voterList(spec),
		Applied: v.index, Running: time.Since(n.started),
		Hears: n.hears(v.state),
	}
	if h.Cluster == "" {
		h.Cluster = n.cfg.Cluster
	}
	return h
}

// hears reports whether this node may have a vote as far as it can tell itself (L7).
func (n *Node) hears(s *fsm.State) bool {
	if n.cfg.Running != nil && n.cfg.Running() < fsm.Slack(s.MaxTTL()) {
		return false
	}
	return n.cfg.Hears == nil || n.cfg.Hears()
}

// spec is the agreed one, before founding the file's.
func (n *Node) spec() fsm.Spec {
	if s := n.machine.view().state.Spec(); s.Version != 0 {
		return *s
	}
	return n.cfg.Seed
}

// empty reports whether this node has neither voted nor been told anything.
func (n *Node) empty() bool {
	r := n.raft.Load()
	if r == nil {
		return !n.hadData
	}
	return r.LastIndex() == 0 && r.CurrentTerm() == 0
}

// votersIn are the names of a configuration's voters, sorted.
func votersIn(spec fsm.Spec) []fsm.MemberID {
	var names []fsm.MemberID
	for name, s := range spec.Servers {
		if s.Votes() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// voterList is votersIn for people.
func voterList(spec fsm.Spec) []string {
	var out []string
	for _, name := range votersIn(spec) {
		out = append(out, string(name)+" "+spec.Servers[name].Addr)
	}
	return out
}

// others are the servers with a vote but this one, by name. Agents greet nobody and
// nobody greets them: there may be a thousand.
func (n *Node) others(spec fsm.Spec) []fsm.Server {
	var out []fsm.Server
	for name, s := range spec.Servers {
		if name != n.cfg.Self && s.Votes() {
			s.Name = name
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b fsm.Server) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

// greet asks one server who it is, and keeps the answer.
func (n *Node) greet(ctx context.Context, s fsm.Server) Finding {
	one, cancel := context.WithTimeout(ctx, helloWait)
	defer cancel()
	mine := n.helloTo(s.Name)
	theirs, err := n.deps.Peers.Hello(one, s.Addr, s.Name, mine)
	f := judge(mine, theirs, s)
	if err != nil {
		f = unreached(s, err)
	}
	if ctx.Err() == nil && n.met.asked(f) {
		n.say(f)
	}
	return f
}

// say logs a finding that is news.
func (n *Node) say(f Finding) {
	e := n.log.Info()
	if f.Trouble != TroubleNone {
		e = n.log.Warn()
	}
	e.Str("peer", string(f.Name)).Str("addr", f.Addr).Str("trouble", string(f.Trouble)).
		Str("hint", f.Hint).Msg(f.Words)
}

// greetAll greets several servers at once and waits for all.
func (n *Node) greetAll(ctx context.Context, servers []fsm.Server) map[fsm.MemberID]Finding {
	found := make([]Finding, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() { found[i] = n.greet(ctx, s) })
	}
	wg.Wait()
	out := make(map[fsm.MemberID]Finding, len(servers))
	for _, f := range found {
		out[f.Name] = f
	}
	return out
}

// How often a node greets the others: while it waits to be founded or taken in
// (a newcomer announces itself by that), and afterwards for `status`.
const (
	greetEager = 250 * time.Millisecond
	greetCalm  = 5 * time.Second
)

// greeter greets for ever, and founds the cluster when that falls to this node.
func (n *Node) greeter(ctx context.Context) {
	for {
		others := n.others(n.spec())
		found := n.greetAll(ctx, others)
		if ctx.Err() != nil {
			return
		}
		n.met.keep(others)
		wait := greetCalm
		if !n.takenIn() {
			wait = greetEager
			n.found(ctx, found)
		}
		if !wake.Pause(ctx, wait, n.wakeGreeter, nil, nil) {
			return
		}
	}
}

// takenIn reports whether this node has its vote, as far as its log says. One that is
// to leave, or to be an agent, asks often: others may know before its log does that it
// has lost it.
func (n *Node) takenIn() bool {
	v := n.machine.view()
	spec := v.state.Spec()
	me := spec.Servers[n.cfg.Self]
	return spec.Version != 0 && v.state.Voters().Has(n.self) && me.Votes() && !me.Removing
}

// found bootstraps the cluster if this node is the one to do it and may.
func (n *Node) found(ctx context.Context, met map[fsm.MemberID]Finding) {
	r := n.raft.Load()
	if r == nil || !mayFound(n.hello(), n.cfg.Seed, met) {
		return
	}
	me := raft.Server{
		Suffrage: raft.Voter, ID: raft.ServerID(n.self),
		Address: Address(n.cfg.Seed.Servers[n.cfg.Self].Addr, n.self),
	}
	n.log.Info().Strs("voters", voterList(n.cfg.Seed)).Msg("founding the cluster")
	_, err := await(ctx, n, func() (struct{}, error) {
		return struct{}{}, r.BootstrapCluster(raft.Configuration{Servers: []raft.Server{me}}).Error()
	})
	if err != nil && ctx.Err() == nil {
		n.log.Warn().Err(err).Msg("cannot found the cluster")
	}
}

// mayFound is the rule of founding: the first voter of the file by name, alone,
// once a majority of the file's voters, itself included, report an empty data
// directory and the same list of voters, and none a full one. met is one round
// of greetings.
func mayFound(mine Hello, seed fsm.Spec, met map[fsm.MemberID]Finding) bool {
	voters := votersIn(seed)
	if len(voters) == 0 || voters[0] != mine.Name || !mine.Empty || mine.Cluster != "" {
		return false
	}
	ready := 1
	for _, name := range voters[1:] {
		f, ok := met[name]
		if !ok || f.Hello == nil {
			continue
		}
		if !f.Hello.Empty || f.Hello.Cluster != "" {
			return false
		}
		if f.Trouble == TroubleNone {
			ready++
		}
	}
	return ready >= len(voters)/2+1
}

package raftnode

import (
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// testAgent is a member without a log: it registers by way of whoever runs, and reports
// what the test lets it report. It runs as long as its name is among world.agents.
type testAgent struct {
	name  fsm.MemberID
	nonce fsm.Nonce
}

// withAgents is a configuration with some agents more.
func withAgents(s fsm.Spec, names ...fsm.MemberID) fsm.Spec {
	for _, n := range names {
		s = s.WithServer(fsm.Server{Name: n, Addr: string(n) + ":1", Role: fsm.RoleAgent, Systems: []fsm.SystemID{"ip"}})
	}
	return s
}

// agent begins to run one, or goes on with the process that a demoted node was.
func (w *world) agent(name fsm.MemberID, was *testNode) {
	a := testAgent{name: name, nonce: fsm.Nonce{byte(len(name)), name[len(name)-1], 9}}
	if was != nil {
		a.nonce = was.live.nonce
	}
	w.mu.Lock()
	w.agents[name] = a
	w.mu.Unlock()
}

// unagent ends an agent and returns the nonce of its process.
func (w *world) unagent(name fsm.MemberID) fsm.Nonce {
	w.mu.Lock()
	defer w.mu.Unlock()
	nonce := w.agents[name].nonce
	delete(w.agents, name)
	return nonce
}

// register has the agents registered that the log does not show.
func (w *world) register() {
	l := w.leader()
	if l == nil {
		return
	}
	w.mu.Lock()
	var all []testAgent
	for _, a := range w.agents {
		all = append(all, a)
	}
	w.mu.Unlock()
	s, _ := l.View()
	for _, a := range all {
		m, _ := s.Member(a.name)
		if m.Up && m.Nonce == a.nonce || s.Spec().Version == 0 {
			continue
		}
		_, _ = l.Propose(w.t.Context(), fsm.Register{
			Member: a.name, Nonce: a.nonce, Process: a.nonce, Replaces: m.Epoch,
			Host: fsm.Host{Machine: "m-" + string(a.name), Boot: "b", Instance: "i"}, Wire: [2]uint16{1, 1},
		})
	}
}

// demoted waits until a node knows that it is an agent, and lets it go on as one.
func (w *world) demoted(n *testNode, d time.Duration) {
	w.t.Helper()
	w.until(d, string(n.cfg.Self)+" knows that it is an agent", func() bool {
		w.sweep()
		return n.Phase().Stage == StageAgent
	})
	if p := n.Phase(); p.Removed != 0 || !strings.Contains(p.Words, "agent") {
		w.t.Errorf("%+v", p)
	}
	if err := w.halt(n); err != nil {
		w.t.Fatal(err)
	}
	w.agent(n.cfg.Self, n)
}

// promoted opens Raft for an agent whose configuration gives it a vote, with the same
// process and the disk that it had.
func (w *world) promoted(name fsm.MemberID, d *disk) *testNode {
	w.t.Helper()
	nonce := w.unagent(name)
	s, _ := w.leader().View()
	d.cluster = s.Cluster()
	return w.start(name, *s.Spec(), d, func(_ *Config, deps *Deps) {
		deps.Registrar.(*fakeLive).nonce = nonce
	})
}

// epoch is a member's newest as the leader sees it.
func (w *world) epoch(name fsm.MemberID) fsm.Epoch {
	s, _ := w.leader().View()
	m, _ := s.Member(name)
	return m.Epoch
}

// unmoved fails the test if anything has another owner, or a member has gone down.
func (w *world) unmoved(owners string) {
	w.t.Helper()
	l := w.leader()
	if l == nil {
		return
	}
	if got := l.owners(); got != owners {
		w.t.Fatalf("%s became %s", owners, got)
	}
	s, _ := l.View()
	for name, m := range s.Members() {
		if !m.Up {
			w.t.Fatalf("%s is down", name)
		}
	}
}

package raftnode

import (
	"fmt"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// respec proposes a change of the agreed Spec and must get it.
func (w *world) respec(change func(fsm.Spec) fsm.Spec) {
	w.t.Helper()
	l := w.leader()
	s, _ := l.View()
	res, err := l.Propose(w.t.Context(), fsm.SetSpec{Was: s.Spec().Version, Spec: change(*s.Spec())})
	if err != nil || !res.Applied {
		w.t.Fatalf("the configuration was not changed: %v %+v", err, res)
	}
}

func removing(names ...fsm.MemberID) func(fsm.Spec) fsm.Spec {
	return func(s fsm.Spec) fsm.Spec {
		for _, n := range names {
			s = s.WithRemoving(n, true)
		}
		return s
	}
}

func inRole(r fsm.Role, names ...fsm.MemberID) func(fsm.Spec) fsm.Spec {
	return func(s fsm.Spec) fsm.Spec {
		for _, n := range names {
			s = s.WithRole(n, r)
		}
		return s
	}
}

func adding(names ...fsm.MemberID) func(fsm.Spec) fsm.Spec {
	return func(s fsm.Spec) fsm.Spec {
		for _, n := range names {
			s = s.WithServer(fsm.Server{Name: n, Addr: string(n) + ":1", Role: fsm.RoleVoter, Systems: []fsm.SystemID{"ip"}})
		}
		return s
	}
}

// join starts a server as `flip run --join` does: with what the cluster has agreed.
func (w *world) join(name fsm.MemberID, d *disk) *testNode {
	w.t.Helper()
	s, _ := w.leader().View()
	d.cluster = s.Cluster()
	return w.start(name, *s.Spec(), d)
}

// sweep reports released what members that run may still hold, as their hooks would.
func (w *world) sweep() {
	l := w.leader()
	if l == nil {
		return
	}
	s, _ := l.View()
	for id, m := range s.Members() {
		w.mu.Lock()
		_, runs := w.agents[id]
		runs = runs || w.nodes[id] != nil
		w.mu.Unlock()
		r := fsm.Report{Member: id, Epoch: m.Epoch}
		for slot := range s.Slots() {
			for _, e := range slot.Outstanding {
				if e.Member == id && m.Up && runs {
					r.Released = append(r.Released, fsm.Claim{Key: slot.Key, Member: id, Epoch: e.Epoch, Token: e.Token})
				}
			}
		}
		if len(r.Released) > 0 {
			_, _ = l.Propose(w.t.Context(), r)
		}
	}
}

// swept is until, while whoever runs lets go of what it has to; those named must keep
// their votes all the time.
func (w *world) swept(d time.Duration, what string, keep []fsm.MemberID, cond func() bool) time.Duration {
	w.t.Helper()
	began := time.Now()
	w.until(d, what, func() bool {
		w.sweep()
		w.keep(keep)
		return cond()
	})
	return time.Since(began)
}

// keep fails the test if a voter has lost its vote.
func (w *world) keep(names []fsm.MemberID) {
	w.t.Helper()
	if l := w.leader(); l != nil {
		s, _ := l.View()
		for _, name := range names {
			if !s.HasVote(name) {
				w.t.Fatalf("%s has lost its vote: %v", name, s.Voters())
			}
		}
	}
}

// gone reports whether nothing in the log names a server any more.
func (w *world) gone(names ...fsm.MemberID) bool {
	l := w.leader()
	if l == nil {
		return false
	}
	s, _ := l.View()
	for _, name := range names {
		_, in := s.Spec().Servers[name]
		if _, known := s.Member(name); in || known || s.HasVote(name) {
			return false
		}
	}
	return true
}

// removed reports whether a server knows for sure that it was taken out.
func removed(n *testNode) bool {
	p := n.Phase()
	return p.Stage == StageRemoved && p.Removed != 0 && strings.Contains(p.Words, fmt.Sprint("index ", p.Removed))
}

// peersOf are the names that a node's status lists.
func peersOf(n *testNode) string {
	var out []string
	for _, f := range n.Phase().Peers {
		out = append(out, string(f.Name)+string(f.Trouble))
	}
	return strings.Join(out, " ")
}

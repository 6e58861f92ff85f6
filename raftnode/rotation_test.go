package raftnode

import (
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// followKey does for a node what its daemon would: it acknowledges a phase.
func (n *testNode) followKey(t *testing.T, phase fsm.KeyPhase) {
	s, _ := n.View()
	k := s.Keys()
	if k.Phase != phase || k.Has(n.cfg.Self) {
		return
	}
	if _, err := n.Propose(t.Context(), fsm.KeyAck{Member: n.cfg.Self, Round: k.Round, Phase: k.Phase}); err != nil {
		t.Logf("%s: %v", n.cfg.Self, err) // it asks again
	}
}

// keyPhase is that of the newest State of any node that runs.
func (w *world) keyPhase() fsm.KeyPhase {
	w.mu.Lock()
	defer w.mu.Unlock()
	var newest fsm.Index
	var k fsm.Keys
	for _, n := range w.nodes {
		if s, at := n.View(); at > newest {
			newest, k = at, s.Keys()
		}
	}
	return k.Phase
}

// A rotation goes on under whoever leads: in each phase the leader is killed once some
// have acknowledged it, a new one is elected, and the old one comes back. No phase is left
// out, none begins before all have done what the one before asked, and none comes twice.
func TestRotationOutlivesLeaders(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, spec := w.three()
		l := w.leader()
		if res, err := l.Propose(t.Context(), fsm.Rotate{Old: "a", New: "b", Sealed: []byte{1}, Back: []byte{2}}); err != nil || !res.Applied {
			t.Fatal(res.Why, err)
		}
		for _, phase := range []fsm.KeyPhase{fsm.KeyBoth, fsm.KeyNew, fsm.KeyOnly} {
			w.until(10*time.Second, "the phase has begun", func() bool { return w.keyPhase() == phase && w.leader() != nil })
			l = w.leader()
			var others []*testNode
			for _, n := range nodes {
				if n != l {
					others = append(others, n)
				}
			}
			w.until(5*time.Second, "all have read of it", func() bool {
				for _, n := range others {
					if s, _ := n.View(); s.Keys().Phase != phase {
						return false
					}
				}
				return true
			})
			others[0].followKey(t, phase)
			l.followKey(t, phase)
			name, disk := l.cfg.Self, l.disk
			if err := w.halt(l); err != nil {
				t.Fatal(err)
			}
			w.until(20*time.Second, "another leader", func() bool { return w.leader() != nil })
			w.never(2*time.Second, "the next phase without the third", func() bool { return w.keyPhase() != phase })
			nodes[name] = w.start(name, spec, disk)
			w.until(20*time.Second, "the third follows", func() bool {
				others[1].followKey(t, phase)
				return w.keyPhase() != phase
			})
		}
		w.until(10*time.Second, "all know that it is over", func() bool {
			for _, n := range nodes {
				if s, _ := n.View(); s.Keys().Phase != fsm.KeySettled || s.Keys().New != "b" {
					return false
				}
			}
			return true
		})
		s, _ := nodes["n1"].View()
		var told []string
		for _, e := range s.Journal() {
			if e.Kind == fsm.KindKey {
				told = append(told, e.Reason)
			}
		}
		if len(told) != 4 {
			t.Errorf("the journal has %q", told)
		}
	})
}

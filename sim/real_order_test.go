package sim_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// stopOne stops one member in order, the leader or another, and answers with how
// long it took. The checks along the way see a gap and two holders.
func (w *world) stopOne(leads bool) time.Duration {
	w.boot()
	var p *node
	for _, r := range w.running() {
		if (r == w.leader()) == leads {
			p = r
		}
	}
	w.mu.Lock()
	w.tight = true
	w.mu.Unlock()
	began := time.Now()
	w.terminate(p)
	<-p.ended
	took := time.Since(began)
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(p.machine.up); n != 0 {
		w.violated("%d items are left up by %s", n, p.id())
	}
	for id, sys := range w.spec.Systems {
		for _, item := range sys.Items {
			if k := (fsm.Key{System: id, Item: item.ID}); !w.somewhere(k) {
				w.violated("nobody has %s/%s when %s has ended", id, item.ID, p.id())
			}
		}
	}
	return took
}

// A stop hands everything over before the process ends: at-least-one items
// without a gap, the others released before anybody acquires them.
func TestRealStopInOrder(t *testing.T) {
	for _, leads := range []bool{false, true} {
		bubble(t, 21, 3, rules{}, func(t *testing.T, w *world) {
			took := w.stopOne(leads)
			if took > ttl {
				t.Errorf("a stop took %v", took)
			}
			t.Logf("leader %v: %v", leads, took)
			time.Sleep(ttl)
			if w.leader() == nil {
				t.Error("no leader after the stop")
			}
		})
	}
	bubble(t, 21, 3, rules{abrupt: true}, func(t *testing.T, w *world) {
		w.stopOne(false)
		if w.violation() == "" {
			t.Error("nothing was handed over, and nothing shows it")
		}
	})
}

// Founding works in each order of starts, and only the first voter by name
// founds: until it starts the others wait.
func TestRealFounding(t *testing.T) {
	for i, order := range orders("n1", "n2", "n3") {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			bubble(t, uint64(i), 3, rules{}, func(t *testing.T, w *world) {
				if wrong := w.foundIn(order); wrong != "" {
					t.Error(wrong)
				}
			})
		})
	}
	for i, order := range [][]fsm.MemberID{{"n5", "n4", "n3", "n2", "n1"}, {"n1", "n5", "n2", "n4", "n3"}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			bubble(t, uint64(i), 5, rules{}, func(t *testing.T, w *world) {
				if wrong := w.foundIn(order); wrong != "" {
					t.Error(wrong)
				}
			})
		})
	}
	bubble(t, 0, 3, rules{strangers: true}, func(t *testing.T, w *world) {
		if w.foundIn(w.names()) == "" {
			t.Error("founded by servers whose files name different voters")
		}
	})
}

// foundIn starts the members one by one, with time in between, and says what is
// wrong; "": nothing.
func (w *world) foundIn(order []fsm.MemberID) string {
	first := false
	for i, m := range order {
		w.start(m)
		first = first || m == "n1"
		may := first && 2*(i+1) > len(order)
		founded := w.within(3*time.Second, func() bool { s, _ := w.newest(); return s.Cluster() != "" })
		if founded != may {
			return fmt.Sprintf("%v run: founded: %v", order[:i+1], founded)
		}
	}
	if !w.within(rest, w.settled) {
		return w.unfinished()
	}
	for _, p := range w.running() {
		if s, _ := p.raft.View(); s.Cluster() != p.disk.id() || len(s.Voters().IDs) != len(order) {
			return fmt.Sprintf("%s: cluster %q, noted %q, voters %v", p.id(), s.Cluster(), p.disk.id(), s.Voters().IDs)
		}
	}
	return ""
}

// orders are all orders of some members.
func orders(ms ...fsm.MemberID) (out [][]fsm.MemberID) {
	if len(ms) < 2 {
		return [][]fsm.MemberID{ms}
	}
	for i, first := range ms {
		rest := append(append([]fsm.MemberID(nil), ms[:i]...), ms[i+1:]...)
		for _, o := range orders(rest...) {
			out = append(out, append([]fsm.MemberID{first}, o...))
		}
	}
	return out
}

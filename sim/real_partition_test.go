package sim_test

import (
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// apart are the links between some members and all others, both ways.
func (w *world) apart(some ...fsm.MemberID) []link {
	in := map[fsm.MemberID]bool{}
	for _, m := range some {
		in[m] = true
	}
	var out []link
	for _, a := range w.names() {
		for _, b := range w.names() {
			if in[a] != in[b] {
				out = append(out, link{a, b})
			}
		}
	}
	return out
}

// all are all links.
func (w *world) all() []link {
	var out []link
	for _, a := range w.names() {
		for _, b := range w.names() {
			if a != b {
				out = append(out, link{a, b})
			}
		}
	}
	return out
}

// hookCalls counts the hook calls so far.
func (w *world) hookCalls() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

// onlyLeast leaves the at-least-one systems: an isolated at-most-one holder lets
// go, as it must.
func (w *world) onlyLeast() {
	delete(w.spec.Systems, sysMost)
	delete(w.spec.Systems, sysGated)
	for name, s := range w.spec.Servers {
		s.Systems = []fsm.SystemID{sysEach, sysLeast}
		w.spec.Servers[name] = s
	}
}

// A total partition moves nothing: neither while it lasts nor after it.
func TestRealTotalPartition(t *testing.T) {
	for _, n := range []int{3, 5} {
		bubble(t, 1, n, rules{}, func(t *testing.T, w *world) {
			w.onlyLeast()
			w.boot()
			before := w.hookCalls()
			w.net.set(true, w.all()...)
			w.until(rest, "no lease and no leader anywhere", func() bool {
				for _, p := range w.running() {
					leader, _ := p.raft.Leader()
					if _, ok := p.beat.Lease(); ok || leader != "" {
						return false
					}
				}
				return true
			})
			time.Sleep(3 * slack)
			w.net.heal()
			w.until(rest, "all have applied the same and rest", w.settled)
			time.Sleep(rest)
			if !w.settled() {
				t.Errorf("not at rest: %s", w.unfinished())
			}
			if calls := w.hookCalls() - before; calls != 0 {
				t.Errorf("%d hook calls since the cut", calls)
			}
		})
	}
}

// Control of the test above: what a single member owns moves when it is cut off.
func TestRealOneMemberCutOff(t *testing.T) {
	bubble(t, 2, 3, rules{}, func(t *testing.T, w *world) {
		w.onlyLeast()
		w.boot()
		before := w.hookCalls()
		w.net.set(true, w.apart("n3")...)
		w.until(rest, "n3's items have moved", func() bool { return w.ownedBy("n3") == 0 && w.acquired() })
		if w.hookCalls() == before {
			t.Error("items moved without a hook call")
		}
		w.net.heal()
		w.until(rest, "n3 has its items back", func() bool { return w.ownedBy("n3") > 0 && w.settled() })
	})
}

// ownedBy counts the slots of a member in the newest State.
func (w *world) ownedBy(m fsm.MemberID) int {
	s, _ := w.newest()
	n := 0
	for slot := range s.Slots() {
		if slot.Owner == m {
			n++
		}
	}
	return n
}

// acquired reports whether every slot has its owner and that one has it.
func (w *world) acquired() bool {
	s, _ := w.newest()
	for slot := range s.Slots() {
		if slot.Owner == "" || slot.Acquired == 0 {
			return false
		}
	}
	return s.Len() > 0
}

// lapse cuts the holder of at-most-one items off and says how many of them are
// still up on it when its lease has ended for all clocks and hooks.
func (w *world) lapse(m fsm.MemberID) (up int) {
	w.boot()
	w.net.set(true, w.apart(m)...)
	time.Sleep(slack + ttl) // the hooks are far quicker than ttl
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, h := range w.machines[m].up {
		if h.job.AtMostOne && (k.System == sysMost || w.machines[m].holds(k)) {
			up++
		}
	}
	return up
}

// An isolated holder lets go of what at most one may hold when its lease ends;
// control: without the lease it does not.
func TestRealLeaseEnds(t *testing.T) {
	bubble(t, 3, 3, rules{}, func(t *testing.T, w *world) {
		if up := w.lapse("n2"); up != 0 {
			t.Errorf("%d items at most one may hold are up on a member without a lease", up)
		}
		w.net.heal()
		w.until(rest, "rest", w.settled)
	})
	bubble(t, 3, 3, rules{leaseless: true}, func(t *testing.T, w *world) {
		if up := w.lapse("n2"); up == 0 {
			t.Error("the lease is left out and nothing shows it")
		}
		if !w.within(rest, func() bool { return w.violation() != "" }) {
			t.Error("no two holders of a gated item without the lease")
		}
	})
}

package liveness

import (
	"fmt"
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// check is the promise of the whole package: an epoch that may be called down has
// no lease, and never will have.
func (w *world) check() {
	for c := range w.counted {
		n := w.nodes[c.member]
		if n == nil || n.p == nil || n.p.Epoch() != c.epoch {
			continue
		}
		if _, ok := n.p.Lease(n.local(w.now)); ok {
			if w.seen[c] {
				continue
			}
			w.seen[c] = true
			what := fmt.Sprintf("TWO HOLDERS: %s has a lease in epoch %d, which was called down", c.member, c.epoch)
			w.broken = append(w.broken, what)
			w.printf("%s", what)
		}
	}
	w.checkHolders()
}

// checkHolders is the promise for what agents read: no item that two may hold, each by
// its lease and by what it has read of the log (L3).
func (w *world) checkHolders() {
	if !slices.ContainsFunc(w.running(), func(n *node) bool { return n.agent }) {
		return
	}
	holders := map[fsm.Key]fsm.MemberID{}
	for _, n := range w.running() {
		if _, ok := n.p.Lease(n.local(w.now)); !ok {
			continue
		}
		for _, job := range n.p.view.state.Slice(n.name, n.p.Epoch(), n.host.Machine, n.p.view.at).Want {
			if job.Barred || len(job.Blocked) > 0 {
				continue
			}
			other, twice := holders[job.Key]
			holders[job.Key] = n.name
			if twice && !w.twice {
				w.twice = true
				what := fmt.Sprintf("TWO HOLDERS: %s and %s may hold %s", other, n.name, job.Item)
				w.broken = append(w.broken, what)
				w.printf("%s", what)
			}
		}
	}
}

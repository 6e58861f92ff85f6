package liveness

import "fmt"

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
}

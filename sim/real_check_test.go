package sim_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// watch looks at the exclusive items all the time: a gate opens and shuts
// without a hook call.
func (w *world) watch(stop <-chan struct{}) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		w.mu.Lock()
		for _, m := range w.machines {
			for k := range m.up {
				w.exclusive(m, k)
			}
		}
		w.tightly()
		w.mu.Unlock()
	}
}

// tightly looks for at-least-one items that nobody has, where that may not be.
func (w *world) tightly() {
	if !w.tight {
		return
	}
	for _, item := range w.spec.Systems[sysLeast].Items {
		if k := (fsm.Key{System: sysLeast, Item: item.ID}); !w.somewhere(k) {
			w.violated("gap: nobody has %s/%s", k.System, k.Item)
		}
	}
}

// somewhere reports whether an item is up anywhere; w.mu is held.
func (w *world) somewhere(k fsm.Key) bool {
	for _, m := range w.machines {
		if h := m.up[k]; h != nil && h.ok && m.holds(k) {
			return true
		}
	}
	return false
}

// look checks a State that a node has reached: its invariants, and that every
// replica has the same at the same index.
func (w *world) look(p *node, s *fsm.State, at fsm.Index) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.looked[p] == at || p.dead() {
		return
	}
	before := w.looked[p]
	w.looked[p] = at
	if at < before {
		w.violated("%s: its log went back from %d to %d", p.id(), before, at)
	}
	if err := fsm.Check(s); err != nil {
		w.violated("%s at index %d: %v", p.id(), at, err)
	}
	d := digest(s)
	if have, ok := w.digests[at]; ok && have != d {
		w.violated("replicas differ: %s at index %d", p.id(), at)
	} else if !ok {
		w.digests[at] = d
		w.note("log %d seen by %s: %s", at, p.name, outline(s))
	}
	w.remember(p, s, at)
}

// remember looks for what was agreed once and is gone: every State knows all
// that anybody's journal named up to its own index.
func (w *world) remember(p *node, s *fsm.State, at fsm.Index) {
	journal := s.Journal()
	if len(journal) == 0 {
		return
	}
	upTo, _ := slices.BinarySearch(w.history, at+1)
	const lately = 32 // more than can be lost by one stale leader
	for _, was := range w.history[max(0, upTo-lately):upTo] {
		if _, known := slices.BinarySearchFunc(journal, was, func(e fsm.JournalEntry, at fsm.Index) int { return cmp.Compare(e.Index, at) }); !known {
			w.violated("lost: %s at index %d does not know what was agreed at index %d", p.id(), at, was)
		}
	}
	if last := journal[len(journal)-1].Index; upTo == len(w.history) && (upTo == 0 || w.history[upTo-1] < last) {
		w.history = append(w.history, last)
	}
}

// outline is a State in one line.
func outline(s *fsm.State) string {
	var b strings.Builder
	for name, m := range s.Members() {
		state := "up"
		switch {
		case !m.Up:
			state = "down"
		case m.Leaving:
			state = "leaving"
		case !m.Settled:
			state = "unsettled"
		}
		fmt.Fprintf(&b, "%s=%s/%d ", name, state, m.Epoch)
	}
	for slot := range s.Slots() {
		fmt.Fprintf(&b, "%s/%s@%d:%s", slot.System, slot.Item, slot.Token, slot.Owner)
		if slot.Acquired == 0 {
			b.WriteByte('?')
		}
		for _, e := range slot.Outstanding {
			fmt.Fprintf(&b, "-%s@%d", e.Member, e.Token)
		}
		b.WriteByte(' ')
	}
	return b.String()
}

// unfinished says in words what keeps the cluster from rest: a slot without an
// owner that really holds it. An at-most-one hook slot waits for a dead holder.
// "" when all is well.
func (w *world) unfinished() string {
	if w.leader() == nil {
		return "no leader"
	}
	s, _ := w.newest()
	var wrong []string
	for id, sys := range w.spec.Systems {
		for _, item := range sys.Items {
			k := fsm.Key{System: id, Item: item.ID}
			bad := w.lacking(s, k)
			if sys.Split == fsm.Replicate {
				bad = w.missing(k)
			}
			if bad != "" {
				wrong = append(wrong, fmt.Sprintf("%s/%s: %s", id, item.ID, bad))
			}
		}
	}
	for _, p := range w.running() {
		if !s.Voters().Has(p.id()) {
			wrong = append(wrong, fmt.Sprintf("%s has no vote", p.id()))
		}
	}
	slices.Sort(wrong)
	return strings.Join(wrong, "; ")
}

func (w *world) lacking(s *fsm.State, k fsm.Key) string {
	slot, ok := s.Slot(k)
	m, _ := s.Member(slot.Owner)
	owner := w.alive(slot.Owner)
	switch {
	case !ok || slot.Owner == "":
		return "no owner"
	case !m.Up || owner == nil:
		return fmt.Sprintf("its owner %s is down", slot.Owner)
	}
	for _, e := range slot.Outstanding {
		if slot.AtMostOne && !slot.Gated && w.alive(e.Member) == nil {
			return "" // waits for a dead holder, as it must
		}
	}
	if slot.Acquired == 0 || slot.AtMostOne && slot.Acquired != m.Epoch {
		return fmt.Sprintf("%s has not acquired it (token %d, outstanding %v)", slot.Owner, slot.Token, slot.Outstanding)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !owner.machine.holds(k) {
		return fmt.Sprintf("%s says that it has acquired it in epoch %d, and it is not up there (its gate is open: %v, in epoch %d)",
			slot.Owner, m.Epoch, owner.machine.opened(), owner.machine.gate.epoch)
	}
	return ""
}

// missing says on which running member a replicated item is not up.
func (w *world) missing(k fsm.Key) string {
	for _, p := range w.running() {
		w.mu.Lock()
		up := p.machine.holds(k)
		w.mu.Unlock()
		if !up {
			return fmt.Sprintf("not up on %s", p.name)
		}
	}
	return ""
}

// settled reports whether all is as it should be, everywhere.
func (w *world) settled() bool { return w.unfinished() == "" && w.equal() }

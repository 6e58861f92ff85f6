package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// slotName is a slot in words.
func slotName(k fsm.Key) string {
	if k.Rank == 0 {
		return fmt.Sprintf("%s/%s", k.System, k.Item)
	}
	return fmt.Sprintf("%s/%s rank %d", k.System, k.Item, k.Rank)
}

// ranks looks for another rank of an item on the machine that is about to hold one.
func (c *checker) ranks(m *Machine, h *Hold) {
	for k := range m.holds {
		if k.System == h.System && k.Item == h.Item && k.Rank != h.Rank {
			c.fail(TwoRanks, "%s on %s (%s, token %d), which has rank %d too", slotName(h.Key), m.Name, h.Member, h.Token, k.Rank)
			return
		}
	}
}

// placeable is on how many members the items of a system can be.
func (w *World) placeable(s *fsm.State, id fsm.SystemID) int {
	n := 0
	for name, server := range s.Spec().Servers {
		m, ok := s.Member(name)
		if ok && m.Up && !m.Leaving && !server.Removing && slices.Contains(server.Systems, id) {
			n++
		}
	}
	return n
}

// watchMoves counts moves between the ranks of an item, and looks that none is made that
// is one too many.
func (w *World) watchMoves(before *fsm.State, moves []fsm.Move, res fsm.Result, at int64) {
	for _, m := range moves {
		if slices.Contains(res.Dropped, m) {
			if w.checker.newest().Braked(m.Key) {
				w.Count.add(MovesBraked)
			}
			continue
		}
		slot, _ := before.Slot(m.Key)
		if m.To == slot.Owner || m.To == "" {
			continue
		}
		if rank, owned := before.OwnsAny(m.To, m.System, m.Item); owned && rank > m.Rank {
			w.Count.add(RanksRaised)
		} else if owned {
			w.Count.add(RanksLowered)
		}
		w.restless(before, slot, m, at)
	}
}

// restless: an item whose owner is up is moved so many times in a while, and no more. One
// that is only about to be called down is as good as down.
func (w *World) restless(before *fsm.State, slot fsm.Slot, m fsm.Move, at int64) {
	owner, _ := before.Member(slot.Owner)
	if m.Cause == fsm.CauseDown || m.Cause == fsm.CauseUnfit || w.cfg.Manual || !owner.Up || owner.Leaving || before.Spec().Servers[slot.Owner].Removing || len(slot.Moved) < fsm.MaxRecent {
		return
	}
	if since := time.Duration(at-slot.Moved[0]) * time.Millisecond; since < fsm.RecentFor {
		w.checker.fail(Restless, "%s: from %s to %s (%s: %s), after %d moves in %v",
			slotName(slot.Key), slot.Owner, m.To, m.Cause, m.Reason, len(slot.Moved), since)
	}
}

// watchBrakes counts what was stopped by an entry.
func (w *World) watchBrakes(before, after *fsm.State) {
	for _, b := range after.Brakes() {
		if !slices.ContainsFunc(before.Brakes(), func(o fsm.Brake) bool { return o.System == b.System }) {
			w.Count.add(SystemsBraked)
		}
	}
	for _, slot := range after.BrakedSlots() {
		if was, _ := before.Slot(slot.Key); !was.Braked {
			w.Count.add(ItemsBraked)
		}
	}
}

// replicas wants more or fewer copies of a system's items.
func (a *Adversary) replicas() {
	done := a.edit(func(s *fsm.Spec) bool {
		id, ok := a.system(s)
		sys := s.Systems[id]
		if !ok || sys.Action == fsm.ActionIP || sys.Split != fsm.Shard {
			return false
		}
		if sys.Replicas = sys.Ranks() + 1; sys.Replicas > 3 || a.w.chance(0.4) {
			sys.Replicas = 1
		}
		s.Systems[id] = sys
		return true
	})
	if done {
		a.w.Count.add(SpecReplicas)
	}
}

// prefer has an item prefer one member or another, or nobody any more.
func (a *Adversary) prefer() {
	done := a.edit(func(s *fsm.Spec) bool {
		id, ok := a.system(s)
		sys := s.Systems[id]
		if !ok || len(sys.Items) == 0 {
			return false
		}
		sys.Items = slices.Clone(sys.Items)
		item := &sys.Items[a.w.rng.IntN(len(sys.Items))]
		if item.Prefer = nil; a.w.chance(0.7) {
			item.Prefer = []fsm.MemberID{a.name()}
		}
		if sys.Failback = 0; a.w.chance(0.3) {
			sys.Failback = fsm.NeverFailback
		}
		s.Systems[id] = sys
		return true
	})
	if done {
		a.w.Count.add(SpecPrefer)
	}
}

// cleanup is somebody who says that what was stopped may go on.
func (a *Adversary) cleanup() {
	c := fsm.Cleanup{At: a.w.now.Milliseconds()}
	if id, ok := a.system(a.w.checker.newest().Spec()); ok && a.w.chance(0.5) {
		c.System = id
	}
	a.w.Propose(c)
}

// release ends what was stopped, as people do when all is well again.
func (w *World) release() {
	if s := w.checker.newest(); len(s.Brakes()) > 0 || len(s.BrakedSlots()) > 0 {
		w.Propose(fsm.Cleanup{At: w.now.Milliseconds()})
	}
}

package fsm

import (
	"fmt"
	"maps"
	"slices"
)

// holds says why a member may not be removed yet, "" if it may (L10).
func (c *change) holds(id MemberID) string {
	m, known := c.member(id)
	if !known || !c.next.keeps(RuleRemovalWaits) {
		return ""
	}
	if owned := c.ownedBy(id); len(owned) > 0 {
		return fmt.Sprintf("it still owns %d items: move them away first", len(owned))
	}
	held := c.outstandingOf(id)
	held = slices.DeleteFunc(held, func(slot *Slot) bool { return !m.barredBy(id, slot) })
	if len(held) > 0 {
		return fmt.Sprintf("it may still hold %d items: let it report, fence it, or wait for it", len(held))
	}
	return ""
}

// keepsServer says why a server of the present Spec may not be missing in the next
// one, "" if none is or all may. What is gone from the Spec already is no reason.
func (c *change) keepsServer(spec *Spec) string {
	old := c.next.spec
	for _, id := range slices.Sorted(maps.Keys(old.Servers)) {
		if _, in := spec.Servers[id]; in {
			continue
		}
		why := c.holds(id)
		switch _, known := c.member(id); {
		case why != "" || !c.next.keeps(RuleRemovalWaits):
		case c.next.voters.names(id):
			why = "it still has its vote"
		case known && old.replicates(id):
			why = "it holds what every member does"
		}
		if why != "" {
			return fmt.Sprintf("server %s cannot be taken out of the configuration at once: %s. Mark it as to be removed: it goes when all is gone from it", id, why)
		}
	}
	return ""
}

// replicates reports whether a server holds replicated items.
func (s *Spec) replicates(m MemberID) bool {
	for _, id := range s.Servers[m].Systems {
		if sys := s.Systems[id]; sys.Split == Replicate && len(sys.Items) > 0 && s.serves(m, id) {
			return true
		}
	}
	return false
}

// noteServers writes down who comes, who is to go, and whose role changes.
func (c *change) noteServers(old *Spec) {
	spec := c.next.spec
	for _, id := range slices.Sorted(maps.Keys(spec.Servers)) {
		was, known := old.Servers[id]
		now := spec.Servers[id]
		if !known {
			c.note(JournalEntry{Kind: KindAdded, Member: id, Reason: now.Addr})
		}
		switch {
		case now.Removing && !was.Removing:
			c.note(JournalEntry{Kind: KindRemoving, Member: id, Reason: "to be taken out of the cluster"})
		case was.Removing && !now.Removing:
			c.note(JournalEntry{Kind: KindRemoving, Member: id, Reason: "taken back: it stays"})
		}
		switch {
		case !known || was.Votes() == now.Votes():
		case now.Votes():
			c.note(JournalEntry{Kind: KindRole, Member: id, Reason: "is to have a vote"})
		default:
			c.note(JournalEntry{Kind: KindRole, Member: id, Reason: "is to have no vote any more: it becomes an agent"})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(old.Servers)) {
		_, in := spec.Servers[id]
		if _, registered := c.member(id); !in && !registered { // else RemoveMember says so
			c.note(JournalEntry{Kind: KindRemoved, Member: id, Reason: "it had never registered"})
		}
	}
}

// rehomeFor lets homes be balanced anew with a server that registers for the first
// time: until then it is not counted where homes are dealt already. Where nothing is
// dealt yet it counts in any case.
func (c *change) rehomeFor(id MemberID) {
	spec := c.next.spec
	var systems map[SystemID]System
	for _, sysID := range spec.Servers[id].Systems {
		sys, in := spec.Systems[sysID]
		if !in || sys.Rehome || !spec.serves(id, sysID) || !c.dealt(sysID) {
			continue
		}
		if systems == nil {
			systems = maps.Clone(spec.Systems)
		}
		sys.Rehome = true
		systems[sysID] = sys
	}
	if systems != nil {
		next := *spec
		next.Systems = systems
		c.next.spec = &next
	}
}

// dealt reports whether any item of a system has a home.
func (c *change) dealt(id SystemID) bool {
	found := false
	c.slots.Root().WalkPrefix(appendPart(nil, string(id)), func(_ []byte, slot *Slot) bool {
		found = slot.Home != ""
		return found
	})
	return found
}

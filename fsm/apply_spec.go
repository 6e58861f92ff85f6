package fsm

import (
	"fmt"
	"slices"
)

// setSpec replaces the Spec (L9: Kind, Addresses, removed items).
func (c *change) setSpec(s SetSpec) Result {
	old := c.next.spec
	founding := old.Version == 0
	switch {
	case s.Was != old.Version || old.Version == c.at:
		return refused("the configuration has changed since: it is at version %d", old.Version)
	case founding && s.Cluster == "":
		return refused("founding needs a cluster id")
	case !founding && s.Cluster != "" && s.Cluster != c.next.cluster:
		return refused("this is cluster %s, not %s", c.next.cluster, s.Cluster)
	}
	if why := s.Spec.invalid(); why != "" {
		return refused("%s", why)
	}
	if why := s.Spec.unrelated(); why != "" {
		return refused("%s", why)
	}
	if why := s.Spec.short(); why != "" {
		return refused("%s", why)
	}
	if why := c.keepsServer(&s.Spec); why != "" {
		return refused("%s", why)
	}
	// Decode made this Spec for this call: from here on it is the State's and
	// nobody changes it any more.
	spec := &s.Spec
	spec.Version = c.at
	spec.rehome(old)
	spec.share(old)
	c.when = s.At
	c.next.spec = spec
	c.next.maxTTL = max(c.next.maxTTL, spec.Timing.Lease)
	if founding {
		c.next.cluster = s.Cluster
		c.note(JournalEntry{Kind: KindFounded, Reason: "cluster " + s.Cluster})
	} else {
		c.note(JournalEntry{Kind: KindConfigured, Reason: fmt.Sprintf("version %d", spec.Version)})
		c.noteServers(old)
	}
	c.unmaintain()
	c.dropBrakes(func(b Brake) bool { return !spec.brakes(b.System) }, "the configuration lets it be moved")
	c.disclaim()
	c.forgetAcks(func(id MemberID) bool { _, stays := spec.Servers[id]; return !stays })
	r := respec{change: c, old: old, spec: spec, recipes: oldRecipes(old, spec)}
	r.slots()
	r.replicated()
	r.failures()
	if why := c.clash(); why != "" {
		return refused("%s", why)
	}
	return done
}

// respec carries the State over from one Spec to the next.
type respec struct {
	*change
	old, spec *Spec
	recipes   map[SystemID]*Recipe // of the old Spec, where the new one says otherwise
}

// oldRecipes is how to let go of what was acquired under the old Spec, for the
// systems of which the new one no longer says so.
func oldRecipes(old, spec *Spec) map[SystemID]*Recipe {
	out := make(map[SystemID]*Recipe)
	for id, was := range old.Systems {
		now, still := spec.Systems[id]
		if recipe := was.recipe(); !still || !recipe.equal(now.recipe()) {
			out[id] = &recipe
		}
	}
	return out
}

// slots goes through every slot: a configuration changes seldom, and all of it
// may have.
func (r *respec) slots() {
	all := make([]*Slot, 0, r.next.slots.Len())
	r.change.slots.Root().Walk(func(_ []byte, slot *Slot) bool {
		all = append(all, slot)
		return false
	})
	for _, slot := range all {
		var n *Slot
		if sys, in := r.spec.slotted(slot.Key); in {
			n = r.kept(slot, sys)
		} else {
			n = r.removed(slot)
		}
		if n = r.withRecipe(n); n != slot {
			r.put(n)
		}
	}
}

// removed takes a slot whose item is gone from its owner. Its set stays.
func (r *respec) removed(slot *Slot) *Slot {
	n := *slot
	n.Home, n.Moved, n.Braked = "", nil, false
	if slot.Owner != "" {
		n.Outstanding = r.withOwner(slot, r.old)
		n.Owner, n.Token, n.Previous, n.Reason = "", Token(r.at), slot.Owner, r.removal(slot.Key)
		n.Gated, n.Acquired, n.Cause = false, 0, CauseNone
		r.note(JournalEntry{Kind: KindMoved, Key: slot.Key, From: slot.Owner, Reason: n.Reason})
	}
	if !r.next.keeps(RuleRemovedKeepsSet) {
		n.Outstanding = nil
	}
	return &n
}

// removal says why a slot is gone.
func (r *respec) removal(k Key) string {
	if _, in := r.spec.item(k); in && k.Rank > 0 {
		return "fewer replicas are wanted"
	}
	return "removed from the configuration"
}

// brakes reports whether a system can be stopped.
func (s *Spec) brakes(id SystemID) bool {
	sys, in := s.Systems[id]
	return in && sys.divided() && !sys.NoBrake
}

// kept looks whether the kind of a slot changed (L9).
func (r *respec) kept(slot *Slot, sys System) *Slot {
	if slot.Braked && sys.NoBrake {
		n := *slot
		n.Braked = false
		slot = &n
	}
	atMostOne := sys.Guarantee == AtMostOne
	if slot.Owner == "" {
		if slot.AtMostOne == atMostOne {
			return slot
		}
		n := *slot
		n.AtMostOne = atMostOne
		return &n
	}
	reason := r.kindChange(slot, sys)
	if reason == "" {
		return slot
	}
	owner, _ := r.member(slot.Owner)
	if r.next.keeps(RuleFreshToken) {
		return r.renew(slot, owner, r.old, atMostOne, sys.gated(owner.Gate), reason)
	}
	n := *slot
	n.AtMostOne, n.Gated = atMostOne, sys.gated(owner.Gate)
	return &n
}

// kindChange says what of a slot's kind changed, "" if nothing did.
func (r *respec) kindChange(slot *Slot, sys System) string {
	was := r.old.Systems[slot.System]
	switch {
	case was.Guarantee != sys.Guarantee:
		return "the guarantee changed to " + sys.Guarantee.String()
	case was.Action != sys.Action:
		return "the action changed to " + sys.Action.String()
	case was.Alive != sys.Alive || was.Down != sys.Down:
		return "the hooks changed"
	case r.gateChange(slot, sys):
		return "the kernel gate was turned " + map[bool]string{true: "on", false: "off"}[sys.gated(true)]
	}
	before, _ := was.find(slot.Item)
	after, _ := sys.find(slot.Item)
	if !slices.Equal(before.Addrs, after.Addrs) {
		return "the addresses changed"
	}
	return ""
}

// gateChange reports whether the configuration gates the owner otherwise.
func (r *respec) gateChange(slot *Slot, sys System) bool {
	owner, _ := r.member(slot.Owner)
	return slot.Gated != sys.gated(owner.Gate)
}

// withRecipe gives the slot's entries the recipe they were acquired under.
func (r *respec) withRecipe(slot *Slot) *Slot {
	recipe := r.recipes[slot.System]
	if recipe == nil || !slices.ContainsFunc(slot.Outstanding, func(e Entry) bool { return e.Recipe == nil }) {
		return slot
	}
	n := *slot
	n.Outstanding = slices.Clone(slot.Outstanding)
	for i := range n.Outstanding {
		if n.Outstanding[i].Recipe == nil {
			n.Outstanding[i].Recipe = recipe
		}
	}
	return &n
}

// failures forgets the failures of slots that are gone.
func (r *respec) failures() {
	var gone [][]byte
	r.change.failures.Root().Walk(func(key []byte, f Failure) bool {
		if _, in := r.spec.slotted(f.Key); !in {
			gone = append(gone, slices.Clone(key))
		}
		return false
	})
	for _, key := range gone {
		r.change.failures.Delete(key)
	}
}

// replicated does for items that every member holds what a move does for
// others. They have no slots; but a member that need not hold one any longer
// owes its `down`, and if the system becomes at-most-one it must be waited for.
func (r *respec) replicated() {
	for id, m := range r.next.Members() {
		for sysID, was := range r.old.Systems {
			if was.Split == Replicate && r.old.serves(id, sysID) && !m.Fenced {
				r.stopReplica(id, m, was)
			}
		}
		for sysID, now := range r.spec.Systems {
			if now.Split == Replicate && r.spec.serves(id, sysID) {
				r.startReplica(id, m, sysID)
			}
		}
	}
}

// stopReplica makes a member outstanding for the items of a system that it held
// as a replica and need no longer.
func (r *respec) stopReplica(id MemberID, m Member, was System) {
	now := r.spec.Systems[was.Name]
	still := now.Split == Replicate && r.spec.serves(id, was.Name)
	for _, item := range was.Items {
		if _, in := now.find(item.ID); in && still {
			continue
		}
		k := Key{System: was.Name, Item: item.ID}
		n := Slot{Key: k, AtMostOne: now.Guarantee == AtMostOne}
		if slot, ok := r.slot(k); ok {
			n = *slot
		}
		n.Token, n.Reason = Token(r.at), "no longer replicated here"
		n.Outstanding = append(slices.Clip(n.Outstanding), Entry{
			Member: id, Epoch: m.Epoch, Host: m.Host, Addrs: item.Addrs, Recipe: r.recipes[was.Name],
		})
		r.put(&n)
	}
}

// startReplica drops the entries of a member's machine for a system that it now
// holds as a replica: there is nothing to let go of.
func (r *respec) startReplica(id MemberID, m Member, sys SystemID) {
	r.clear(id, func(k Key, e Entry) bool {
		if _, in := r.spec.item(k); !in || k.System != sys {
			return false
		}
		return e.Host.Machine == m.Host.Machine
	})
}

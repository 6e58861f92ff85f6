package fsm

import "slices"

func (c *change) assign(a Assign) Result {
	if len(a.Moves) > MaxMoves {
		return refused("%d moves in one command, %d is the most", len(a.Moves), MaxMoves)
	}
	c.when = a.At
	return Result{Applied: true, Dropped: c.move(a.Moves)}
}

// move makes the moves that still match and returns the others.
func (c *change) move(moves []Move) (dropped []Move) {
	for _, m := range moves {
		if !c.moveOne(m) {
			dropped = append(dropped, m)
		}
	}
	return dropped
}

func (c *change) moveOne(m Move) bool {
	sys, in := c.next.spec.slotted(m.Key)
	slot, exists := c.slot(m.Key)
	if !exists {
		slot = &Slot{Key: m.Key, AtMostOne: sys.Guarantee == AtMostOne}
	}
	if slot.Token != m.Was || (!in && (m.To != "" || m.Home != "")) || c.brakes(slot) {
		return false
	}
	n := *slot
	if m.Home != "" {
		n.Home = m.Home
	}
	if m.To == slot.Owner {
		if n.Home != slot.Home {
			c.put(&n)
		}
		return true
	}
	n.Gated, n.Acquired = false, 0
	if m.To != "" {
		to, registered := c.member(m.To)
		if !registered || c.ownsOtherRank(m.To, m.Key) {
			return false
		}
		n.AtMostOne = sys.Guarantee == AtMostOne
		n.Gated = sys.gated(to.Gate)
	}
	if slot.Owner != "" {
		n.Previous = slot.Owner
		if c.next.keeps(RuleOutstanding) {
			n.Outstanding = c.withOwner(slot, c.next.spec)
		}
	}
	n.Moved = slot.recent(m.Cause, c.when)
	n.Owner, n.Token, n.Reason, n.Cause = m.To, Token(c.at), m.Reason, m.Cause
	c.put(&n)
	c.note(JournalEntry{Kind: KindMoved, Member: m.To, Key: m.Key, From: slot.Owner, To: m.To, Reason: m.Reason})
	return true
}

// withOwner is the slot's entries and one for its owner under the token that it
// is about to lose. spec is the one under which the owner acquired.
func (c *change) withOwner(slot *Slot, spec *Spec) []Entry {
	owner, _ := c.member(slot.Owner)
	return c.withInstance(slot, owner, spec)
}

// withInstance is the same for a given instance of the owner: a registration
// names the former one.
func (c *change) withInstance(slot *Slot, owner Member, spec *Spec) []Entry {
	switch {
	case slot.Token == Token(c.at): // nobody has seen it
		return slot.Outstanding
	case slot.Gated && !owner.Up: // the kernel has let go by itself
		return slot.Outstanding
	case owner.letGo(slot):
		return slot.Outstanding
	}
	var addrs []string
	if item, ok := spec.item(slot.Key); ok {
		addrs = item.Addrs
	}
	return append(slices.Clip(slot.Outstanding), Entry{
		Member: slot.Owner, Epoch: owner.Epoch, Token: slot.Token, Host: owner.Host,
		Addrs: addrs, Gated: slot.Gated, AtMostOne: slot.AtMostOne,
	})
}

// letGo reports whether the process of the member's newest epoch has said, or
// its fence has made sure, that it holds the slot no longer and never will again.
func (m Member) letGo(slot *Slot) bool {
	if m.Fenced {
		return true
	}
	if !m.Goodbye || !slot.AtMostOne {
		return false
	}
	_, kept := slices.BinarySearchFunc(m.Kept, slot.Key, Key.Compare)
	return !kept
}

// renew gives a slot that stays with its owner a new token and makes the owner
// outstanding with the old one (L6, L9 "Kind").
func (c *change) renew(slot *Slot, owner Member, spec *Spec, atMostOne, gated bool, reason string) *Slot {
	n := *slot
	n.AtMostOne, n.Gated = atMostOne, gated
	if slot.Token == Token(c.at) {
		return &n
	}
	n.Outstanding = c.withInstance(slot, owner, spec)
	n.Token, n.Acquired, n.Previous, n.Reason, n.Cause = Token(c.at), 0, slot.Owner, reason, CauseNone
	c.note(JournalEntry{Kind: KindRenewed, Member: slot.Owner, Key: slot.Key, From: slot.Owner, To: slot.Owner, Reason: reason})
	return &n
}

// ownsOtherRank reports whether a member has another replica of the item.
func (c *change) ownsOtherRank(m MemberID, k Key) bool {
	found := false
	c.slots.Root().WalkPrefix(itemPrefix(k), func(_ []byte, slot *Slot) bool {
		found = slot.Rank != k.Rank && slot.Owner == m
		return found
	})
	return found
}

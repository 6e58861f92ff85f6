package fsm

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Check tests every invariant of a State and names all that do not hold. It
// reads the whole State: for tests, after every step, and for tools.
func Check(s *State) error {
	c := checker{s: s}
	c.checkSpec()
	c.checkVoters()
	c.checkMaintained()
	if why := c.s.Keys().invalid(c.s.spec); why != "" {
		c.that(false, "key: %s", why)
	}
	for id, m := range s.Members() {
		c.checkMember(id, m)
	}
	c.checkSlots()
	c.checkFailures()
	c.checkJournal()
	return errors.Join(c.errs...)
}

type checker struct {
	s    *State
	errs []error

	addrs map[string]Key // whose each address is
	ranks []*Slot        // of the item that the walk is at
	held  int            // pairs of a slot and a member with entries there
	// owned is what each member owns, by key; braked how many slots are.
	owned  map[MemberID][]*Slot
	braked int
}

func (c *checker) that(ok bool, format string, args ...any) {
	if !ok {
		c.errs = append(c.errs, fmt.Errorf(format, args...))
	}
}

func (c *checker) checkSpec() {
	c.that((c.s.spec.Version == 0) == (c.s.cluster == ""), "cluster %q at configuration version %d", c.s.cluster, c.s.spec.Version)
	c.that(c.s.maxTTL >= c.s.spec.Timing.Lease, "largest ttl %v below the present one, %v", c.s.maxTTL, c.s.spec.Timing.Lease)
	if why := c.s.spec.invalid(); why != "" {
		c.that(false, "configuration: %s", why)
	}
	if why := c.s.spec.unrelated(); why != "" && c.s.partOf == "" {
		c.that(false, "configuration: %s", why)
	}
	if why := invalidBrakes(c.s.brakes, c.s.spec); why != "" {
		c.that(false, "%s", why)
	}
	for id, server := range c.s.spec.Servers {
		c.that(server.Name == id, "server %q is called %q", id, server.Name)
		c.that(slices.IsSorted(server.Systems), "systems of server %q are not sorted", id)
	}
	for id, sys := range c.s.spec.Systems {
		c.that(sys.Name == id, "system %q is called %q", id, sys.Name)
	}
}

func (c *checker) checkVoters() {
	c.that(slices.IsSorted(c.s.voters.IDs), "voters are not sorted: %v", c.s.voters.IDs)
	c.that(len(slices.Compact(slices.Clone(c.s.voters.IDs))) == len(c.s.voters.IDs), "a voter twice: %v", c.s.voters.IDs)
}

func (c *checker) checkMaintained() {
	list := c.s.maintained
	c.that(list == nil || len(list) > 0, "no maintenance, and a list that is not nil")
	for i, id := range list {
		_, in := c.s.spec.Systems[id]
		c.that(in || id == "", "system %q is under maintenance and not in the configuration", id)
		c.that(i == 0 || list[i-1] < id, "systems under maintenance are out of order: %q", list)
	}
}

func (c *checker) checkMember(id MemberID, m Member) {
	c.that(id != "" && m.Epoch != 0 && m.Nonce != (Nonce{}) && m.Process != (Nonce{}) && m.Host.Machine != "",
		"member %q lacks what a registration gives: %+v", id, m)
	c.that(m.FirstTTL <= c.s.maxTTL, "member %s: first ttl %v above the largest, %v", id, m.FirstTTL, c.s.maxTTL)
	c.that(m.Goodbye || len(m.Kept) == 0, "member %s keeps items without a goodbye", id)
	c.that(slices.IsSortedFunc(m.Kept, Key.Compare), "member %s: kept items are not sorted", id)
	c.that(m.Lost == 0 || !m.Up, "member %s is up and was lost", id)
	c.that(slices.IsSorted(m.Programs), "member %s: claimed systems are not sorted: %q", id, m.Programs)
	for _, sys := range m.Programs {
		c.that(c.s.partOf != "" || c.s.spec.claimable(sys), "member %s: a program has claimed %s, which none can claim", id, sys)
	}
}

func (c *checker) checkSlots() {
	c.addrs, c.owned = c.s.spec.addresses(), make(map[MemberID][]*Slot)
	c.s.slots.Root().Walk(func(key []byte, slot *Slot) bool {
		c.that(bytes.Equal(key, slotKey(slot.Key)), "slot %v stands under another key", slot.Key)
		c.checkSlot(slot)
		c.checkRanks(slot)
		for i := range slot.Outstanding {
			c.checkEntry(slot, i)
		}
		return false
	})
	c.that(c.held == c.s.held.Len(), "the index of entries names %d pairs of member and slot, there are %d", c.s.held.Len(), c.held)
	c.that(c.braked == c.s.braked.Len(), "%d slots are braked by themselves, the index names %d", c.braked, c.s.braked.Len())
	c.checkOwned()
}

// checkRanks looks at the replicas of one item, which the walk meets one after
// the other.
func (c *checker) checkRanks(slot *Slot) {
	if len(c.ranks) > 0 && (c.ranks[0].System != slot.System || c.ranks[0].Item != slot.Item) {
		c.ranks = c.ranks[:0]
	}
	for _, other := range c.ranks {
		c.that(slot.Owner == "" || other.Owner != slot.Owner, "slot %v: %s owns rank %d too", slot.Key, slot.Owner, other.Rank)
	}
	c.ranks = append(c.ranks, slot)
}

func (c *checker) checkSlot(slot *Slot) {
	k := slot.Key
	sys, in := c.s.spec.slotted(k)
	owner, registered := c.s.Member(slot.Owner)
	if in {
		c.that(slot.AtMostOne == (sys.Guarantee == AtMostOne), "slot %v: guarantee is not its system's", k)
		c.that(!slot.Gated || sys.gated(true), "slot %v: gated, but its system is not", k)
	} else {
		c.that(slot.Owner == "" && slot.Home == "", "slot %v is not in the configuration and has an owner or a home", k)
		c.that(len(slot.Outstanding) > 0, "slot %v is not in the configuration and says nothing", k)
	}
	c.checkSeen(slot)
	c.checkMoved(slot)
	c.that(slot.Outstanding == nil || len(slot.Outstanding) > 0, "slot %v: an empty set that is not nil", k)
	if slot.Owner == "" {
		c.that(slot.Acquired == 0 && !slot.Gated, "slot %v has no owner and is acquired or gated", k)
		return
	}
	c.that(registered, "slot %v: its owner %s is not registered", k, slot.Owner)
	c.that(slot.Token != 0, "slot %v has an owner and no token", k)
	c.that(slot.Acquired <= owner.Epoch, "slot %v: acquired in an epoch that is not there yet", k)
	if in {
		c.that(slot.Gated == sys.gated(owner.Gate), "slot %v: gated is %v, its owner's gate %v", k, slot.Gated, owner.Gate)
	}
}

// checkMoved looks at what a slot remembers of its moves.
func (c *checker) checkMoved(slot *Slot) {
	if slot.Owner != "" {
		c.owned[slot.Owner] = append(c.owned[slot.Owner], slot)
	}
	c.that(len(slot.Moved) <= MaxRecent && slices.IsSorted(slot.Moved) && (slot.Moved == nil || len(slot.Moved) > 0),
		"slot %v was moved at %v", slot.Key, slot.Moved)
	if !slot.Braked {
		return
	}
	c.braked++
	_, indexed := c.s.braked.Get(slotKey(slot.Key))
	c.that(indexed, "the index of braked slots lacks %v", slot.Key)
	c.that(slot.Owner != "" && !c.s.spec.Systems[slot.System].NoBrake, "slot %v is braked, with owner %q", slot.Key, slot.Owner)
}

// checkOwned compares the lists of owners with what the walk has found.
func (c *checker) checkOwned() {
	c.that(c.s.owned.Len() == len(c.owned), "the index of owners names %d, there are %d", c.s.owned.Len(), len(c.owned))
	for m, want := range c.owned {
		list := c.s.ownedBy(m)
		c.that(list.len() == len(want) && slices.Equal(list.list(), want),
			"the index of owners has %d slots of %s, there are %d, or others", list.len(), m, len(want))
	}
}

func (c *checker) checkSeen(slot *Slot) {
	s := slot.Seen
	if s == nil {
		return
	}
	c.that(s.Token == slot.Token && s.By != "" && s.By != slot.Owner && slot.Owner != "",
		"slot %v: seen by %q under token %d, its owner %q has %d", slot.Key, s.By, s.Token, slot.Owner, slot.Token)
	c.that(!s.OK || s.Answer == "", "slot %v: seen well, and %q answered", slot.Key, s.Answer)
	c.that(c.s.spec.Systems[slot.System].Action == ActionIP, "slot %v: seen on the wire without addresses", slot.Key)
}

func (c *checker) checkEntry(slot *Slot, i int) {
	k, e := slot.Key, slot.Outstanding[i]
	m, registered := c.s.Member(e.Member)
	c.that(registered, "slot %v: entry of %s, which is not registered", k, e.Member)
	c.that(e.Epoch != 0 && e.Epoch <= m.Epoch, "slot %v: entry of %s in epoch %d, its newest is %d", k, e.Member, e.Epoch, m.Epoch)
	c.that(e.Token < slot.Token, "slot %v: entry of %s with token %d, the slot has %d", k, e.Member, e.Token, slot.Token)
	c.that(e.AtMostOne || !e.Gated, "slot %v: entry of %s is gated and at-least-one", k, e.Member)
	c.that(!e.Gated || m.Up, "slot %v: gated entry of %s, which is down", k, e.Member)
	if !names(slot.Outstanding[:i], e.Member) {
		c.held++
	}
	_, indexed := c.s.held.Get(memberKey(e.Member, k))
	c.that(indexed, "the index of entries lacks %s at slot %v", e.Member, k)
	for _, o := range slot.Outstanding[:i] {
		c.that(o.Member != e.Member || o.Epoch != e.Epoch || o.Token != e.Token,
			"slot %v: entry of %s at epoch %d, token %d is there twice", k, e.Member, e.Epoch, e.Token)
	}
	for _, a := range e.Addrs {
		other, taken := c.addrs[addressOf(a)]
		c.that(!taken || (other.System == k.System && other.Item == k.Item),
			"slot %v: %s may still hold address %s of %v", k, e.Member, a, other)
	}
}

func (c *checker) checkFailures() {
	count := 0
	for id, f := range c.s.Failures() {
		count++
		_, in := c.s.spec.slotted(f.Key)
		c.that(in, "failure of %s for %v, which has no slot", id, f.Key)
	}
	c.that(count == c.s.failures.Len(), "a failure of a member that is not registered")
}

func (c *checker) checkJournal() {
	entries := c.s.Journal()
	c.that(len(entries) <= JournalSize, "the journal has %d entries", len(entries))
	c.that(slices.IsSortedFunc(entries, func(a, b JournalEntry) int { return cmp.Compare(a.Index, b.Index) }),
		"the journal is out of order")
}

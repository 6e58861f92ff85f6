package fsm

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// lostWithin is within what time members are lost at once.
const lostWithin = 10 * time.Second

// minLost is how many members a brake takes: the loss of one is what there are others
// for.
const minLost = 2

// Brakes are the systems of which nothing is moved until somebody cleans up, sorted.
// Nobody may change it.
func (s *State) Brakes() []Brake { return s.brakes }

// Braked reports whether a slot is not moved until somebody cleans up: its system was
// stopped, or it fails wherever it is.
func (s *State) Braked(k Key) bool {
	if s.stopped(k.System) {
		return true
	}
	if s.braked.Len() == 0 {
		return false
	}
	_, alone := s.braked.Get(slotKey(k))
	return alone
}

// BrakedSlots are the slots that are not moved since they fail wherever they are, by
// key. It costs what there is of them.
func (s *State) BrakedSlots() []Slot {
	out := make([]Slot, 0, s.braked.Len())
	s.braked.Root().Walk(func(key []byte, _ struct{}) bool {
		if slot, ok := s.slots.Get(key); ok {
			out = append(out, *slot)
		}
		return false
	})
	return out
}

func findBrake(list []Brake, id SystemID) (int, bool) {
	return slices.BinarySearchFunc(list, id, func(b Brake, id SystemID) int { return strings.Compare(string(b.System), string(id)) })
}

// brakes reports whether moves of a slot are dropped.
func (c *change) brakes(slot *Slot) bool {
	_, stopped := findBrake(c.next.brakes, slot.System)
	return stopped || slot.Braked
}

// lose notes that a member was lost without a goodbye, and stops the systems of which
// more than half of the members were lost at once.
func (c *change) lose(id MemberID) {
	m, _ := c.member(id)
	m.Lost = c.when
	c.setMember(id, m)
	if m.Lost == 0 {
		return
	}
	spec := c.next.spec
	for _, sysID := range spec.Servers[id].Systems {
		at, stopped := findBrake(c.next.brakes, sysID)
		if stopped || !spec.brakes(sysID) || !spec.serves(id, sysID) {
			continue
		}
		lost, of := c.lost(sysID)
		if len(lost) < minLost || 2*len(lost) <= of {
			continue
		}
		c.next.brakes = slices.Insert(slices.Clip(c.next.brakes), at, Brake{System: sysID, At: c.when, Lost: lost})
		c.note(JournalEntry{Kind: KindBraked, Key: Key{System: sysID}, Reason: fmt.Sprintf(
			"%s, of %d members that serve it, were lost within %v: nothing of it is moved until somebody cleans up",
			joined(lost), of, lostWithin)})
	}
}

// lost are the members of a system that were lost at once with the last one, and how
// many serve it.
func (c *change) lost(id SystemID) (lost []MemberID, of int) {
	for _, name := range c.next.spec.servedBy(id) {
		m, registered := c.member(name)
		if !registered {
			continue
		}
		of++
		if m.Lost != 0 && time.Duration(max(c.when-m.Lost, m.Lost-c.when))*time.Millisecond <= lostWithin {
			lost = append(lost, name)
		}
	}
	return lost, of
}

func joined(ids []MemberID) string {
	names := make([]string, 0, len(ids))
	for _, id := range ids {
		names = append(names, string(id))
	}
	return strings.Join(names, ", ")
}

// failsAgain stops a slot that was moved since it had failed, and fails where it was
// moved to.
func (c *change) failsAgain(slot *Slot, f Failure, on MemberID) {
	moved := len(slot.Moved)
	switch {
	case slot.Braked || slot.Owner != on || slot.Token != f.Token || slot.Cause != CauseFailed:
		return
	case f.Unfit: // somebody else's machine may well do
		return
	case moved == 0 || c.when-slot.Moved[moved-1] > RecentFor.Milliseconds():
		return
	case c.next.spec.Systems[slot.System].NoBrake:
		return
	}
	n := *slot
	n.Braked = true
	c.put(&n)
	c.note(JournalEntry{Kind: KindBraked, Member: on, Key: slot.Key, Reason: fmt.Sprintf(
		"it failed on %s and again on %s: it stays until somebody cleans up", slot.Previous, on)})
}

// unbrake ends the brakes of a system ("": of all), or only of one of its items, and
// forgets what was moved of late.
func (c *change) unbrake(id SystemID, item ItemID) {
	if item == "" {
		c.dropBrakes(func(b Brake) bool { return id == "" || b.System == id }, "it is moved again")
	}
	var prefix []byte
	switch {
	case item != "":
		prefix = itemPrefix(Key{System: id, Item: item})
	case id != "":
		prefix = appendPart(nil, string(id))
	}
	var found []*Slot
	c.slots.Root().WalkPrefix(prefix, func(_ []byte, slot *Slot) bool {
		if slot.Braked || len(slot.Moved) > 0 {
			found = append(found, slot)
		}
		return false
	})
	for _, slot := range found {
		n := *slot
		n.Braked, n.Moved = false, nil
		c.put(&n)
		if slot.Braked {
			c.note(JournalEntry{Kind: KindCleaned, Key: slot.Key, Reason: "it is moved again"})
		}
	}
}

// dropBrakes ends the brakes of systems that match.
func (c *change) dropBrakes(match func(Brake) bool, why string) {
	var left []Brake
	for _, b := range c.next.brakes {
		if !match(b) {
			left = append(left, b)
			continue
		}
		c.note(JournalEntry{Kind: KindCleaned, Key: Key{System: b.System}, Reason: why})
	}
	c.next.brakes = left
}

// invalidBrakes says why brakes are none of a State's, "" if they may be.
func invalidBrakes(list []Brake, spec *Spec) string {
	for i, b := range list {
		sys, in := spec.Systems[b.System]
		switch {
		case !in || !sys.divided():
			return fmt.Sprintf("system %q is stopped, and nothing of it could be moved", b.System)
		case i > 0 && list[i-1].System >= b.System:
			return fmt.Sprintf("system %q is stopped twice, or out of order", b.System)
		case len(b.Lost) < minLost || !slices.IsSorted(b.Lost):
			return fmt.Sprintf("system %q is stopped for the loss of %q", b.System, b.Lost)
		}
	}
	return ""
}

// recent is what a slot remembers of its moves once it was moved again: those of late,
// and this one if it counts. A clock that was set back makes none of them older.
func (s *Slot) recent(cause Cause, when int64) []int64 {
	out := make([]int64, 0, MaxRecent)
	for _, at := range s.Moved {
		if when-at <= RecentFor.Milliseconds() {
			out = append(out, at)
		}
	}
	if s.Owner != "" && cause.damped() {
		if n := len(out); n > 0 {
			when = max(when, out[n-1])
		}
		if out = append(out, when); len(out) > MaxRecent {
			out = slices.Clone(out[1:])
		}
	}
	if len(out) == 0 {
		return nil
	}
	return slices.Clip(out)
}

// damped reports whether moves of a cause are made so many times only within RecentFor:
// their owner was up, and could have gone on with the item.
func (c Cause) damped() bool {
	switch c {
	case CauseFailed, CauseRule, CauseHome, CauseBalance:
		return true
	case CauseNone, CauseFirst, CauseDown, CauseLeaving, CauseUnfit:
		return false
	default:
		return false
	}
}

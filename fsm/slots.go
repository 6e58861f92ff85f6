package fsm

import "iter"

// Slot looks a slot up.
func (s *State) Slot(k Key) (Slot, bool) {
	slot, ok := s.slots.Get(slotKey(k))
	if !ok {
		return Slot{}, false
	}
	return *slot, true
}

// Slots yields every slot, ordered by system, item and rank. What a Slot
// refers to is shared: nobody may change it.
func (s *State) Slots() iter.Seq[Slot] { return s.slotsUnder(nil) }

// SlotsOf yields the slots of one system, ordered by item and rank.
func (s *State) SlotsOf(id SystemID) iter.Seq[Slot] {
	return s.slotsUnder(appendPart(nil, string(id)))
}

func (s *State) slotsUnder(prefix []byte) iter.Seq[Slot] {
	return func(yield func(Slot) bool) {
		s.slots.Root().WalkPrefix(prefix, func(_ []byte, slot *Slot) bool { return !yield(*slot) })
	}
}

// Ranks yields the slots of one item, by rank.
func (s *State) Ranks(id SystemID, item ItemID) iter.Seq[Slot] {
	return s.slotsUnder(itemPrefix(Key{System: id, Item: item}))
}

// Len is the number of slots.
func (s *State) Len() int { return s.slots.Len() }

// FailureOf is the failure remembered of a member for a slot.
func (s *State) FailureOf(m MemberID, k Key) (Failure, bool) {
	return s.failures.Get(memberKey(m, k))
}

// Failures yields the failures remembered, ordered by member and slot.
func (s *State) Failures() iter.Seq2[MemberID, Failure] {
	return func(yield func(MemberID, Failure) bool) {
		for id := range s.Members() {
			stop := false
			s.failures.Root().WalkPrefix(appendPart(nil, string(id)), func(_ []byte, f Failure) bool {
				stop = !yield(id, f)
				return stop
			})
			if stop {
				return
			}
		}
	}
}

package fsm

import (
	"slices"
	"sync"
)

// owners says which slots each member owns. It is found at most once for a tree of
// slots, by whoever asks first: it would cost every State as much as the slots, and
// is wanted only when many members ask for their Parts of one State.
type owners struct {
	once sync.Once
	of   map[MemberID][]*Slot // by key
}

// ownedBy are the slots of an owner, by key.
func (s *State) ownedBy(m MemberID) []*Slot {
	s.owners.once.Do(func() {
		s.owners.of = make(map[MemberID][]*Slot)
		s.slots.Root().Walk(func(_ []byte, slot *Slot) bool {
			if slot.Owner != "" {
				s.owners.of[slot.Owner] = append(s.owners.of[slot.Owner], slot)
			}
			return false
		})
	})
	return s.owners.of[m]
}

// heldBy are the slots with an entry of a member, by key.
func (s *State) heldBy(m MemberID) []*Slot {
	prefix := appendPart(nil, string(m))
	var out []*Slot
	s.held.Root().WalkPrefix(prefix, func(k []byte, _ struct{}) bool {
		if slot, ok := s.slots.Get(k[len(prefix):]); ok {
			out = append(out, slot)
		}
		return false
	})
	return out
}

// SlotsHeldBy are the slots of which a member may still hold something under an
// entry, by key. It costs what there is of them.
func (s *State) SlotsHeldBy(m MemberID) []Slot {
	held := s.heldBy(m)
	out := make([]Slot, 0, len(held))
	for _, slot := range held {
		out = append(out, *slot)
	}
	return out
}

// concerning are the slots that a member owns or has an entry in, by key.
func (s *State) concerning(m MemberID) []*Slot {
	all := slices.Concat(s.ownedBy(m), s.heldBy(m))
	slices.SortFunc(all, func(a, b *Slot) int { return a.Compare(b.Key) })
	return slices.Compact(all)
}

// concerns reports whether a member owns the slot or has an entry in it.
func (s *Slot) concerns(m MemberID) bool { return s.Owner == m || names(s.Outstanding, m) }

// concerned are all whom a slot concerns, each once.
func (s *Slot) concerned() []MemberID {
	var out []MemberID
	if s.Owner != "" {
		out = append(out, s.Owner)
	}
	for i := range s.Outstanding {
		if m := s.Outstanding[i].Member; !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}

// share keeps what a Spec has in common with the one before it, so that the two can
// be told apart at little cost.
func (s *Spec) share(old *Spec) {
	for id, sys := range s.Systems {
		if was, known := old.Systems[id]; known && sameItems(was.Items, sys.Items) {
			sys.Items = was.Items
			s.Systems[id] = sys
		}
	}
}

// sameItems compares two lists, and looks at none of a list that is shared.
func sameItems(a, b []Item) bool {
	if len(a) != len(b) || (a == nil) != (b == nil) {
		return false
	}
	if len(a) == 0 || &a[0] == &b[0] {
		return true
	}
	return slices.EqualFunc(a, b, func(x, y Item) bool {
		return x.ID == y.ID && x.Interface == y.Interface && (x.Addrs == nil) == (y.Addrs == nil) && slices.Equal(x.Addrs, y.Addrs)
	})
}

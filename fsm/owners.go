package fsm

import (
	"iter"
	"slices"
	"sort"
)

// owned are the slots of one owner, by key, in chunks of a bounded length: some ten
// bytes for each slot, where a tree of its own would cost as much as the slots do.
// States share lists and chunks; who changes one copies it first, unless it was made in
// the same change.
type owned struct {
	by     *edit
	chunks []*chunk // none is empty
	count  int
}

type chunk struct {
	by    *edit
	slots []*Slot
}

// edit names one change. It is not empty, so that each has an address of its own.
type edit struct{ _ byte }

// chunkMost is the most slots in one chunk. Half-full ones of a million slots of one
// owner make a list of 8,000 to be copied by a change, and each slot that it moves
// costs a chunk.
const chunkMost = 256

// all yields the slots by key.
func (o *owned) all() iter.Seq[*Slot] {
	return func(yield func(*Slot) bool) {
		if o == nil {
			return
		}
		for _, c := range o.chunks {
			for _, slot := range c.slots {
				if !yield(slot) {
					return
				}
			}
		}
	}
}

func (o *owned) len() int {
	if o == nil {
		return 0
	}
	return o.count
}

// list is all of them; nobody may change what it refers to.
func (o *owned) list() []*Slot {
	out := make([]*Slot, 0, o.len())
	for slot := range o.all() {
		out = append(out, slot)
	}
	return out
}

// find is where a key stands or belongs: in which chunk, and where in it.
func (o *owned) find(k Key) (in, at int, there bool) {
	if len(o.chunks) == 0 {
		return 0, 0, false
	}
	in = sort.Search(len(o.chunks), func(i int) bool { return o.chunks[i].slots[0].Compare(k) > 0 })
	in = max(in-1, 0)
	at, there = slices.BinarySearchFunc(o.chunks[in].slots, k, func(s *Slot, k Key) int { return s.Compare(k) })
	return in, at, there
}

// chunk is one that the change may write to.
func (o *owned) chunk(in int, by *edit) *chunk {
	c := o.chunks[in]
	if c.by != by {
		c = &chunk{by: by, slots: append(make([]*Slot, 0, len(c.slots)+1), c.slots...)}
		o.chunks[in] = c
	}
	return c
}

// set adds a slot, or puts it in the place of what it was.
func (o *owned) set(slot *Slot, by *edit) {
	if len(o.chunks) == 0 {
		o.chunks, o.count = []*chunk{{by: by, slots: []*Slot{slot}}}, 1
		return
	}
	in, at, there := o.find(slot.Key)
	if there {
		o.chunk(in, by).slots[at] = slot
		return
	}
	o.count++
	if len(o.chunks[in].slots) == chunkMost {
		if in == len(o.chunks)-1 && at == chunkMost { // they come in order: full ones stay full
			o.chunks = append(o.chunks, &chunk{by: by, slots: []*Slot{slot}})
			return
		}
		c := o.chunk(in, by)
		upper := &chunk{by: by, slots: slices.Clone(c.slots[chunkMost/2:])}
		clear(c.slots[chunkMost/2:])
		c.slots = c.slots[:chunkMost/2]
		o.chunks = slices.Insert(o.chunks, in+1, upper)
		if at > chunkMost/2 {
			in, at = in+1, at-chunkMost/2
		}
	}
	c := o.chunk(in, by)
	c.slots = slices.Insert(c.slots, at, slot)
}

// drop removes a slot.
func (o *owned) drop(k Key, by *edit) {
	if len(o.chunks) == 0 {
		return
	}
	in, at, there := o.find(k)
	if !there {
		return
	}
	o.count--
	c := o.chunk(in, by)
	c.slots = slices.Delete(c.slots, at, at+1)
	switch {
	case len(c.slots) == 0:
		o.chunks = slices.Delete(o.chunks, in, in+1)
	case in+1 < len(o.chunks) && len(c.slots)+len(o.chunks[in+1].slots) <= chunkMost/2:
		c.slots = append(c.slots, o.chunks[in+1].slots...)
		o.chunks = slices.Delete(o.chunks, in+1, in+2)
	}
}

// index follows a slot in the lists of its owners. now is nil when it goes.
func (c *change) index(was, now *Slot) {
	if was != nil && was.Owner != "" && (now == nil || now.Owner != was.Owner) {
		list := c.ownedList(was.Owner)
		list.drop(was.Key, c.edit)
		if list.count == 0 {
			c.owned.Delete([]byte(was.Owner))
		}
	}
	if now != nil && now.Owner != "" {
		c.ownedList(now.Owner).set(now, c.edit)
	}
}

// ownedList is the list of an owner, to be changed.
func (c *change) ownedList(m MemberID) *owned {
	list, ok := c.owned.Get([]byte(m))
	if ok && list.by == c.edit {
		return list
	}
	mine := &owned{by: c.edit}
	if ok {
		mine.chunks, mine.count = slices.Clone(list.chunks), list.count
	}
	c.owned.Insert([]byte(m), mine)
	return mine
}

// ownedBy is every slot of an owner, by key. It is a list and not an iterator: the
// caller changes what it is made of.
func (c *change) ownedBy(m MemberID) []*Slot {
	list, _ := c.owned.Get([]byte(m))
	return list.list()
}

// ownedBy are the slots of an owner, by key.
func (s *State) ownedBy(m MemberID) *owned {
	list, _ := s.owned.Get([]byte(m))
	return list
}

// SlotsOwnedBy yields the slots of an owner, by key. It costs what there is of them.
func (s *State) SlotsOwnedBy(m MemberID) iter.Seq[Slot] {
	return func(yield func(Slot) bool) {
		for slot := range s.ownedBy(m).all() {
			if !yield(*slot) {
				return
			}
		}
	}
}

// Owned is how many slots a member owns.
func (s *State) Owned(m MemberID) int { return s.ownedBy(m).len() }

// OwnsAny reports whether a member owns any rank of an item, and which.
func (s *State) OwnsAny(m MemberID, id SystemID, item ItemID) (rank int, owns bool) {
	for slot := range s.Ranks(id, item) {
		if slot.Owner == m && m != "" {
			return slot.Rank, true
		}
	}
	return 0, false
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

// concerning yields the slots that a member owns or has an entry in, by key.
func (s *State) concerning(m MemberID) iter.Seq[*Slot] {
	held := s.heldBy(m)
	return func(yield func(*Slot) bool) {
		left := held
		for slot := range s.ownedBy(m).all() {
			for len(left) > 0 && left[0].Compare(slot.Key) < 0 {
				if !yield(left[0]) {
					return
				}
				left = left[1:]
			}
			if len(left) > 0 && left[0].Key == slot.Key {
				left = left[1:]
			}
			if !yield(slot) {
				return
			}
		}
		for _, slot := range left {
			if !yield(slot) {
				return
			}
		}
	}
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

package fsm

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
)

// Step is what has changed between two States, by the members whose business it is.
// It is found once for all of them, at the cost of what has changed. A Step is never
// changed: any number may ask it.
type Step struct {
	old, now *State
	was, at  Index
	all      bool
	heads    bool // somebody's head may have changed
	parcels  map[MemberID]*parcel

	electorsOld, electorsNow []Server // if anybody's head may have changed
}

// Step compares with an older State, read at `was`.
func (s *State) Step(at Index, old *State, was Index) *Step {
	st := &Step{old: old, now: s, was: was, at: at, all: s.headed(old), parcels: make(map[MemberID]*parcel)}
	st.keys()
	st.slots()
	st.members()
	st.failures()
	if st.all || st.heads {
		st.electorsOld, st.electorsNow = old.electors(), s.electors()
	}
	return st
}

// headed reports whether what everybody is told has changed.
func (s *State) headed(old *State) bool {
	return s.spec != old.spec || s.cluster != old.cluster || s.maxTTL != old.maxTTL ||
		s.voters.Index != old.voters.Index || !slices.Equal(s.voters.IDs, old.voters.IDs) ||
		!slices.Equal(s.maintained, old.maintained) || !s.sameKeys(old) || !sameBrakes(s.brakes, old.brakes)
}

// sameKeys reports whether all are told the same of the cluster's key, but for what
// each has acknowledged by itself.
func (s *State) sameKeys(old *State) bool {
	const nobody = ""
	return s.keys == old.keys || reflect.DeepEqual(s.keysFor(nobody), old.keysFor(nobody))
}

// head notes that a member's head may have changed.
func (st *Step) head(m MemberID) { st.of(m).head, st.heads = true, true }

// keys looks who has acknowledged a phase of the key's rotation.
func (st *Step) keys() {
	was, is := st.old.Keys().Acked, st.now.Keys().Acked
	for _, lists := range [][2][]MemberID{{was, is}, {is, was}} {
		for _, m := range lists[0] {
			if _, both := slices.BinarySearch(lists[1], m); !both {
				st.head(m)
			}
		}
	}
}

// of is a member's parcel.
func (st *Step) of(m MemberID) *parcel {
	p := st.parcels[m]
	if p == nil {
		p = newParcel()
		st.parcels[m] = p
	}
	return p
}

func (st *Step) slots() {
	same := func(a, b *Slot) bool { return a == b || reflect.DeepEqual(a, b) }
	diff(st.old.slots, st.now.slots, same, func(key []byte, _ *Slot) bool {
		was, had := st.old.slots.Get(key)
		is, has := st.now.slots.Get(key)
		if has {
			for _, m := range is.concerned() {
				st.of(m).take(st.now, m, is)
			}
		}
		if had {
			for _, m := range was.concerned() {
				if !has || !is.concerns(m) {
					p := st.of(m)
					p.left = append(p.left, was.Key)
				}
			}
		}
		return true
	})
}

// members looks who is to know of a record that has changed: its member, and whoever
// has to do with a slot in which it has an entry.
func (st *Step) members() {
	for id := range st.now.ChangedMembers(st.old) {
		st.of(id).members[id] = true
		st.heirs(id)
		for _, slot := range st.now.heldBy(id) {
			for _, m := range slot.concerned() {
				st.of(m).members[id] = true
			}
		}
	}
}

// failures does the same for failures.
func (st *Step) failures() {
	same := func(a, b Failure) bool { return a == b }
	diff(st.old.failures, st.now.failures, same, func(key []byte, f Failure) bool {
		id := memberOf(key, f.Key)
		st.of(id).fail(st.now, id, id, f.Key)
		slot, ok := st.now.slots.Get(slotKey(f.Key))
		if !ok || !names(slot.Outstanding, id) {
			return true
		}
		for _, m := range slot.concerned() {
			st.of(m).failures[PartClaim{id, f.Key}] = true
		}
		return true
	})
}

// memberOf is whose something is that stands under memberKey.
func memberOf(key []byte, k Key) MemberID {
	name := key[:len(key)-len(slotKey(k))-2] // and the mark of its end
	return MemberID(bytes.ReplaceAll(name, []byte{0, 0xff}, []byte{0}))
}

// Concerned are those whose Parts have changed, by name; all: perhaps everybody's.
func (st *Step) Concerned() (who []MemberID, all bool) {
	return slices.Sorted(maps.Keys(st.parcels)), st.all
}

// Part is what has changed of a member's Part; false: nothing has.
func (st *Step) Part(m MemberID) (Part, bool) {
	p, concerned := st.parcels[m]
	switch {
	case !concerned && !st.all:
		return Part{}, false
	case !st.all && !p.head:
		return st.finish(p.part(st.now, m), nil)
	}
	mine := newParcel()
	if concerned {
		*mine = *p
		mine.systems = maps.Clone(p.systems)
	}
	if st.old.spec != st.now.spec {
		st.systems(m, mine)
	}
	head := st.now.head(m, st.electorsNow)
	if reflect.DeepEqual(head, st.old.head(m, st.electorsOld)) {
		head = nil
	}
	return st.finish(mine.part(st.now, m), head)
}

func (st *Step) finish(p Part, head *PartHead) (Part, bool) {
	p.At, p.Since, p.Head = st.at, st.was, head
	changed := head != nil || len(p.Systems)+len(p.Dropped)+len(p.Members)+len(p.Gone)+
		len(p.Slots)+len(p.Left)+len(p.Failures)+len(p.Mended) > 0
	return p, changed
}

// systems adds the systems that a member has to hear of because the Spec has changed.
func (st *Step) systems(m MemberID, p *parcel) {
	old, now := st.old.spec, st.now.spec
	for id := range st.now.systemsOf(m) {
		if was, known := old.Systems[id]; known && old.lists(m, id) && was.like(now.Systems[id]) {
			continue // it has that one
		}
		p.systems[id] = true
	}
	for id := range old.Systems {
		if _, still := now.Systems[id]; !still {
			p.systems[id] = true
		}
	}
}

// systemsOf are the systems of a member's Part.
func (s *State) systemsOf(m MemberID) map[SystemID]bool {
	out := make(map[SystemID]bool)
	add := func(id SystemID) {
		if _, there := s.spec.Systems[id]; there {
			out[id] = true
		}
	}
	for _, id := range s.spec.Servers[m].Systems {
		add(id)
	}
	for slot := range s.concerning(m) {
		add(slot.System)
	}
	for _, f := range s.failuresOf(m) {
		add(f.System)
	}
	return out
}

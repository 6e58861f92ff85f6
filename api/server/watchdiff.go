package server

import (
	"cmp"
	"iter"
	"maps"
	"reflect"
	"slices"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// rowChange is a row as it was and as it is; nil where there is none.
type rowChange struct{ was, is *api.Row }

// delta compares two States: which rows and members say something else by now.
//
// A row is made of its slot, the members that the slot names, the failures
// remembered for it and its system's configuration. Slots and failures that are
// others are found at the cost of what changed. When a member, a system or a
// maintenance changes, all slots that may be meant are read, as fsm itself does:
// what has changed is then a good part of them.
type delta struct {
	was, is *fsm.State
	most    int // rows beyond which it is not worth to go on
	rows    map[api.RowKey]rowChange
	members map[fsm.MemberID]string // states, of those whose state or epoch changed
	voters  bool
}

// compare finds the differences; false: they are more than most rows.
func compare(was, is *fsm.State, most int) (*delta, bool) {
	d := &delta{was: was, is: is, most: most, rows: map[api.RowKey]rowChange{}, members: map[fsm.MemberID]string{}}
	if was == is {
		return d, true
	}
	d.voters = !slices.Equal(was.Voters().IDs, is.Voters().IDs)
	touched := d.compareMembers()
	for key := range is.ChangedSlots(was) {
		d.slot(key)
		if d.tooMuch() {
			return d, false
		}
	}
	for key := range is.ChangedFailures(was) {
		d.slot(key)
		d.replicas(key.System, key.Item)
	}
	systems := d.systems()
	if len(touched) > 0 {
		d.read(is.Slots(), func(slot fsm.Slot) bool { return names(slot, touched) || slices.Contains(systems, slot.System) })
	}
	for _, id := range systems {
		if len(touched) == 0 {
			d.read(is.SlotsOf(id), func(fsm.Slot) bool { return true })
		}
		d.replicas(id, "")
	}
	return d, !d.tooMuch()
}

func (d *delta) tooMuch() bool { return len(d.rows) > d.most }

// compareMembers notes whose state or epoch changed and returns those whose slots
// may show it.
func (d *delta) compareMembers() map[fsm.MemberID]bool {
	touched := map[fsm.MemberID]bool{}
	for id := range d.is.ChangedMembers(d.was) {
		was, _ := d.was.Member(id)
		is, known := d.is.Member(id)
		if was.Epoch != is.Epoch || was.Up != is.Up || was.Settled != is.Settled || was.Host != is.Host {
			touched[id] = true
		}
		if state := memberStateOrGone(d.is, id); !known || was.Epoch != is.Epoch || state != memberStateOrGone(d.was, id) {
			d.members[id] = state
		}
	}
	if d.was.Spec() == d.is.Spec() {
		return touched
	}
	for _, spec := range []*fsm.Spec{d.was.Spec(), d.is.Spec()} {
		for id := range spec.Servers {
			if state := memberStateOrGone(d.is, id); state != memberStateOrGone(d.was, id) {
				d.members[id] = state
			}
		}
	}
	return touched
}

func memberStateOrGone(s *fsm.State, id fsm.MemberID) string {
	_, listed := s.Spec().Servers[id]
	if _, known := s.Member(id); !known && !listed {
		return api.MemberGone
	}
	return memberState(s, id)
}

// names reports whether a slot names one of the members.
func names(slot fsm.Slot, members map[fsm.MemberID]bool) bool {
	return members[slot.Owner] || slices.ContainsFunc(slot.Outstanding, func(e fsm.Entry) bool { return members[e.Member] })
}

// systems are those whose configuration, servers or maintenance changed, sorted.
func (d *delta) systems() []fsm.SystemID {
	was, is := d.was.Spec(), d.is.Spec()
	out := map[fsm.SystemID]bool{}
	if !slices.Equal(d.was.Maintenance(), d.is.Maintenance()) {
		for id := range is.Systems {
			// Also where it goes on: which command ends it is said, too.
			out[id] = d.was.Maintained(id) || d.is.Maintained(id)
		}
	}
	for _, s := range []*fsm.State{d.was, d.is} {
		for _, b := range s.Brakes() {
			_, before := brakeOf(d.was, b.System)
			_, after := brakeOf(d.is, b.System)
			out[b.System] = out[b.System] || before != after
		}
	}
	if was == is && d.was.MaxTTL() == d.is.MaxTTL() {
		return sortedTrue(out)
	}
	all := was.Timing != is.Timing || d.was.MaxTTL() != d.is.MaxTTL()
	servers := [2]map[fsm.SystemID][]fsm.MemberID{served(was), served(is)}
	for _, spec := range []*fsm.Spec{was, is} {
		for id := range spec.Systems {
			out[id] = out[id] || all || !slices.Equal(servers[0][id], servers[1][id]) && is.Systems[id].Split == fsm.Replicate ||
				!reflect.DeepEqual(was.Systems[id], is.Systems[id])
		}
	}
	return sortedTrue(out)
}

func sortedTrue(set map[fsm.SystemID]bool) []fsm.SystemID {
	maps.DeleteFunc(set, func(_ fsm.SystemID, in bool) bool { return !in })
	return sortedKeys(set)
}

// served lists by system who serves it.
func served(spec *fsm.Spec) map[fsm.SystemID][]fsm.MemberID {
	out := map[fsm.SystemID][]fsm.MemberID{}
	for _, m := range sortedKeys(spec.Servers) {
		for _, id := range spec.Servers[m].Systems {
			out[id] = append(out[id], m)
		}
	}
	return out
}

// read compares the rows of slots until there are too many that changed.
func (d *delta) read(slots iter.Seq[fsm.Slot], match func(fsm.Slot) bool) {
	for slot := range slots {
		if d.tooMuch() {
			return
		}
		if match(slot) {
			d.slot(slot.Key)
		}
	}
}

// slot compares one slot's row.
func (d *delta) slot(key fsm.Key) { d.note(slotRow(d.was, key), slotRow(d.is, key)) }

// replicas compares the rows of a replicated system, or of one item of it.
func (d *delta) replicas(system fsm.SystemID, item fsm.ItemID) {
	was, is := replicaRows(d.was, system, item), replicaRows(d.is, system, item)
	for key, row := range was {
		if d.tooMuch() {
			return
		}
		if now, still := is[key]; still {
			d.note(&row, &now)
		} else {
			d.note(&row, nil)
		}
	}
	for key, row := range is {
		if d.tooMuch() {
			return
		}
		if _, had := was[key]; !had {
			d.note(nil, &row)
		}
	}
}

func (d *delta) note(was, is *api.Row) {
	switch {
	case was == nil && is == nil, was != nil && is != nil && reflect.DeepEqual(was, is):
	case is != nil:
		d.rows[is.Key()] = rowChange{was, is}
	default:
		d.rows[was.Key()] = rowChange{was, nil}
	}
}

// sorted are the keys of what changed, in the order of Assignments.
func (d *delta) sorted() []api.RowKey {
	return slices.SortedFunc(maps.Keys(d.rows), func(a, b api.RowKey) int {
		return cmp.Or(a.Compare(b.Key), cmp.Compare(a.Server, b.Server))
	})
}

// slotRow is a slot's row as Assignments shows it, nil if it shows none.
func slotRow(s *fsm.State, key fsm.Key) *api.Row {
	slot, there := s.Slot(key)
	if !there || !shown(s, slot) {
		return nil
	}
	row := namedRow(rowOf(s, slot))
	return &row
}

// shown reports whether a slot has a row.
func shown(s *fsm.State, slot fsm.Slot) bool {
	return len(slot.Outstanding) > 0 || configured(s.Spec(), slot.Key)
}

// replicaRows are the rows of a replicated system, or of one item of it.
func replicaRows(s *fsm.State, system fsm.SystemID, item fsm.ItemID) map[api.RowKey]api.Row {
	sys, there := s.Spec().Systems[system]
	if !there || sys.Split != fsm.Replicate {
		return nil
	}
	if item != "" {
		sys.Items = slices.DeleteFunc(slices.Clone(sys.Items), func(i fsm.Item) bool { return i.ID != item })
	}
	out := map[api.RowKey]api.Row{}
	for _, row := range replicated(s, sys) {
		out[row.Key()] = row
	}
	return out
}

// rowsOf yields all rows, of one system or with "" of all, without holding them.
func rowsOf(s *fsm.State, only fsm.SystemID) iter.Seq[api.Row] {
	return func(yield func(api.Row) bool) {
		slots := s.Slots()
		if only != "" {
			slots = s.SlotsOf(only)
		}
		for slot := range slots {
			if shown(s, slot) && !yield(namedRow(rowOf(s, slot))) {
				return
			}
		}
		for _, id := range sortedKeys(s.Spec().Systems) {
			if sys := s.Spec().Systems[id]; sys.Split == fsm.Replicate && (only == "" || id == only) {
				for _, row := range replicated(s, sys) {
					if !yield(row) {
						return
					}
				}
			}
		}
	}
}

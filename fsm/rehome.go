package fsm

import (
	"reflect"
	"slices"
)

// rehome notes for each system whether its homes may be balanced anew
// (DESIGN.md 5): homes change only when what they are dealt by does, so that an edit
// of its items never re-homes the others.
func (s *Spec) rehome(old *Spec) {
	for id, sys := range s.Systems {
		was, known := old.Systems[id]
		switch {
		case !known: // nothing has a home yet
			sys.Rehome = false
		case s.dealtOtherwise(old, id):
			sys.Rehome = true
		case !slices.EqualFunc(was.Items, sys.Items, func(a, b Item) bool { return a.ID == b.ID }):
			sys.Rehome = false
		default:
			sys.Rehome = was.Rehome
		}
		s.Systems[id] = sys
	}
}

// dealtOtherwise reports whether a system's items are to be dealt by other rules than
// before, or among others, or weigh something else.
func (s *Spec) dealtOtherwise(old *Spec, id SystemID) bool {
	was, now := old.Systems[id], s.Systems[id]
	serve := s.servedBy(id)
	switch {
	case was.Split != now.Split || was.Ranks() != now.Ranks():
		return true
	case !reflect.DeepEqual(was.Select, now.Select) || len(now.Select) > 0 && was.SelectAny != now.SelectAny:
		return true
	case !slices.Equal(was.With, now.With) || !slices.Equal(was.Apart, now.Apart):
		return true
	case !slices.Equal(old.servedBy(id), serve):
		return true
	}
	for _, m := range serve {
		before, after := old.Servers[m], s.Servers[m]
		if before.Share() != after.Share() || before.Capacity != after.Capacity || before.Zone != after.Zone {
			return true
		}
		if len(now.Select) > 0 && !slices.Equal(before.Tags, after.Tags) {
			return true
		}
	}
	return reweighed(was.Items, now.Items)
}

// reweighed reports whether an item that was there before weighs something else.
func reweighed(was, now []Item) bool {
	for _, item := range now {
		for len(was) > 0 && was[0].ID < item.ID {
			was = was[1:]
		}
		if len(was) > 0 && was[0].ID == item.ID && was[0].Load() != item.Load() {
			return true
		}
	}
	return false
}

// servedBy lists who serves a system, sorted.
func (s *Spec) servedBy(id SystemID) []MemberID {
	var out []MemberID
	for m := range s.Servers {
		if s.serves(m, id) {
			out = append(out, m)
		}
	}
	slices.Sort(out)
	return out
}

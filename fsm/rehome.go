package fsm

import "slices"

// rehome notes for each system whether its homes may be balanced anew
// (DESIGN.md 5): homes change only when the list of members that serve a system
// does, so that an edit of its items never re-homes the others.
func (s *Spec) rehome(old *Spec) {
	for id, sys := range s.Systems {
		was, known := old.Systems[id]
		switch {
		case !known: // nothing has a home yet
			sys.Rehome = false
		case was.Split != sys.Split || !slices.Equal(old.servedBy(id), s.servedBy(id)):
			sys.Rehome = true
		case !slices.EqualFunc(was.Items, sys.Items, func(a, b Item) bool { return a.ID == b.ID }):
			sys.Rehome = false
		default:
			sys.Rehome = was.Rehome
		}
		s.Systems[id] = sys
	}
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

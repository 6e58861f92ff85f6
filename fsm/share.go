package fsm

import "slices"

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
		return x.ID == y.ID && x.Interface == y.Interface && x.Weight == y.Weight &&
			(x.Addrs == nil) == (y.Addrs == nil) && slices.Equal(x.Addrs, y.Addrs) &&
			(x.Prefer == nil) == (y.Prefer == nil) && slices.Equal(x.Prefer, y.Prefer)
	})
}

package fsm

import "slices"

// HasHeir reports whether another member than m can take items of a system over: one
// that serves it, is up and stays, and may hold them. A State made of Parts knows it of
// its own member.
func (s *State) HasHeir(m MemberID, id SystemID) bool { return s.HeirOf(m, Key{System: id}) }

// HeirOf does the same for one rank of an item. Those below it have members too, so it
// takes as many others.
func (s *State) HeirOf(m MemberID, k Key) bool {
	if s.partOf != "" {
		first, has := slices.BinarySearch(s.heirs, k.System)
		at := first + k.Rank
		return has && m == s.partOf && at < len(s.heirs) && s.heirs[at] == k.System
	}
	return s.others(m, k.System, k.Rank+1)
}

// takes reports whether a member can be given items.
func (s *State) takes(m MemberID) bool {
	member, ok := s.Member(m)
	return ok && member.Up && !member.Leaving
}

// inherits reports whether a member can be given items of a system.
func (s *State) inherits(m MemberID, id SystemID) bool {
	if !s.spec.serves(m, id) || !s.takes(m) {
		return false
	}
	sys, member := s.spec.Systems[id], Member{}
	if sys.Action == ActionClient {
		member, _ = s.Member(m)
	}
	return sys.Selects(s.spec.Servers[m]) && (sys.Action != ActionClient || member.HasProgram(id))
}

// Heirs is how many members can be given items of a system now.
func (s *State) Heirs(id SystemID) int {
	n := 0
	for name := range s.spec.Servers {
		if s.inherits(name, id) {
			n++
		}
	}
	return n
}

// others reports whether so many can take items of a system besides a member.
func (s *State) others(m MemberID, id SystemID, want int) bool {
	if s.stopped(id) {
		return false
	}
	for name := range s.spec.Servers {
		if name != m && s.inherits(name, id) {
			if want--; want == 0 {
				return true
			}
		}
	}
	return false
}

// heirsOf are the systems that a member lists and others can take over, by name, each
// as often as there are ranks of which that is so.
func (s *State) heirsOf(m MemberID) []SystemID {
	var out []SystemID
	for _, id := range s.spec.Servers[m].Systems {
		sys := s.spec.Systems[id]
		for rank := range sys.Ranks() {
			if !s.others(m, id, rank+1) {
				break
			}
			out = append(out, id)
		}
	}
	return out
}

// heirs looks who has an heir more or less since a member can take items, or cannot
// any more. Where enough others can and could, besides it and one more, nobody does:
// several may have changed since.
func (st *Step) heirs(changed MemberID) {
	was, _ := st.old.Member(changed)
	is, _ := st.now.Member(changed)
	if st.old.takes(changed) == st.now.takes(changed) && slices.Equal(was.Programs, is.Programs) {
		return
	}
	spec := st.now.spec
	for _, id := range spec.Servers[changed].Systems {
		sys := spec.Systems[id]
		if enough := sys.Ranks() + 1; st.old.others(changed, id, enough) && st.now.others(changed, id, enough) {
			continue
		}
		for name := range spec.Servers {
			if spec.lists(name, id) {
				st.head(name)
			}
		}
	}
}

// sameBrakes reports whether the same systems are stopped: of one that is nobody can
// take anything over.
func sameBrakes(a, b []Brake) bool {
	return slices.EqualFunc(a, b, func(x, y Brake) bool { return x.System == y.System })
}

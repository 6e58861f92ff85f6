package fsm

import "slices"

// HasHeir reports whether another member than m can take items of a system over: one
// that serves it, is up and stays. A State made of Parts knows it of its own member.
func (s *State) HasHeir(m MemberID, id SystemID) bool {
	if s.partOf != "" {
		_, has := slices.BinarySearch(s.heirs, id)
		return has && m == s.partOf
	}
	return s.others(m, id, 1)
}

// takes reports whether a member can be given items.
func (s *State) takes(m MemberID) bool {
	member, ok := s.Member(m)
	return ok && member.Up && !member.Leaving
}

// others reports whether so many can take items of a system besides a member.
func (s *State) others(m MemberID, id SystemID, want int) bool {
	for name := range s.spec.Servers {
		if name != m && s.spec.serves(name, id) && s.takes(name) {
			if want--; want == 0 {
				return true
			}
		}
	}
	return false
}

// heirsOf are the systems that a member lists and others can take over, by name.
func (s *State) heirsOf(m MemberID) []SystemID {
	var out []SystemID
	for _, id := range s.spec.Servers[m].Systems {
		if s.others(m, id, 1) {
			out = append(out, id)
		}
	}
	return out
}

// heirs looks who has an heir more or less since a member can take items, or cannot
// any more. Where two others can, besides it, nobody does.
func (st *Step) heirs(changed MemberID) {
	if st.old.takes(changed) == st.now.takes(changed) {
		return
	}
	spec := st.now.spec
	for _, id := range spec.Servers[changed].Systems {
		if st.now.others(changed, id, 2) {
			continue
		}
		for name := range spec.Servers {
			if spec.lists(name, id) {
				st.head(name)
			}
		}
	}
}

package fsm

import "slices"

// programs takes in which systems programs on a member have claimed. Only the word of
// the epoch that runs counts; systems that no program can claim are passed by.
func (c *change) programs(m Member, r Report) {
	if r.Programs == nil || r.Epoch != m.Epoch || !m.Up {
		return
	}
	var now []SystemID
	for _, id := range r.Programs.Systems {
		if c.next.spec.claimable(id) {
			now = append(now, id)
		}
	}
	slices.Sort(now)
	c.setPrograms(r.Member, slices.Compact(now))
}

// claimable reports whether a program may claim a system.
func (s *Spec) claimable(id SystemID) bool {
	sys, in := s.Systems[id]
	return in && sys.Action == ActionClient
}

// setPrograms notes who comes and who is gone.
func (c *change) setPrograms(id MemberID, now []SystemID) {
	m, _ := c.member(id)
	if slices.Equal(m.Programs, now) {
		return
	}
	for _, sys := range m.Programs {
		if _, still := slices.BinarySearch(now, sys); !still {
			c.note(JournalEntry{Kind: KindProgram, Member: id, Key: Key{System: sys}, Reason: "its program is gone"})
		}
	}
	for _, sys := range now {
		if _, had := slices.BinarySearch(m.Programs, sys); !had {
			c.note(JournalEntry{Kind: KindProgram, Member: id, Key: Key{System: sys}, Reason: "a program has claimed it"})
		}
	}
	m.Programs = now
	c.setMember(id, m)
}

// disclaim forgets the claims of systems that no program can claim any more.
func (c *change) disclaim() {
	for id, m := range c.next.Members() {
		left := slices.DeleteFunc(slices.Clone(m.Programs), func(sys SystemID) bool { return !c.next.spec.claimable(sys) })
		if len(left) == 0 {
			left = nil
		}
		c.setPrograms(id, left)
	}
}

// HasProgram reports whether a program on a member has claimed a system.
func (m Member) HasProgram(id SystemID) bool {
	_, has := slices.BinarySearch(m.Programs, id)
	return has
}

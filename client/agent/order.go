package agent

import (
	"cmp"
	"hash/fnv"
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// candidates are the voters to read from, by name: those on the committed list, or,
// where nothing is known of that, all that are to vote.
func candidates(spec *fsm.Spec, list fsm.Voters, self fsm.MemberID) []fsm.MemberID {
	var all, listed []fsm.MemberID
	for name, server := range spec.Servers {
		if name == self || !server.Votes() {
			continue
		}
		all = append(all, name)
		if slices.ContainsFunc(list.IDs, func(id fsm.VoterID) bool { return id.Member() == name }) {
			listed = append(listed, name)
		}
	}
	if len(listed) > 0 {
		all = listed
	}
	slices.Sort(all)
	return all
}

// preferred is the order in which one member asks voters. It is another for each
// member, so that many spread over all voters; and when one voter goes, those that
// read from it spread over all that are left, and nobody else changes.
func preferred(self fsm.MemberID, voters []fsm.MemberID) []fsm.MemberID {
	weight := func(v fsm.MemberID) uint64 {
		h := fnv.New64a()
		_, _ = h.Write([]byte(string(self) + "\x00" + string(v)))
		return mix(h.Sum64())
	}
	return slices.SortedFunc(slices.Values(voters), func(a, b fsm.MemberID) int {
		return cmp.Or(cmp.Compare(weight(b), weight(a)), cmp.Compare(a, b))
	})
}

// mix spreads what differs in few bits over all of them (the end of SplitMix64): names
// often differ in their last character only, which FNV leaves in the low bits.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

package fsm

import (
	"cmp"
	"slices"
	"time"
)

// Fencing is one run of a system's fence that a takeover needs: nobody has
// confirmed that a member which is down has let go of these items.
type Fencing struct {
	System  SystemID
	Member  MemberID // whom to switch off
	Host    Host     // where its newest epoch ran
	UpTo    Epoch    // that epoch: for the Fence that says it is done
	Command string
	Timeout time.Duration
	Config  []byte
	Items   []ItemID // what waits for it, sorted
}

// Fencings lists what is to be fenced, by system and member: of systems with a
// fence, the entries of members that are down which block a running owner that has
// not acquired its item yet.
//
// A command that is given a name can only switch off what goes by that name. So a
// member that runs is never fenced, not for what a former machine under its name
// may still hold either, and of one that is down only the machine that registered
// last.
func (s *State) Fencings() []Fencing {
	if !s.fences() {
		return nil
	}
	var out []Fencing
	for id, m := range s.Members() {
		if m.Up {
			continue
		}
		prefix := appendPart(nil, string(id))
		s.held.Root().WalkPrefix(prefix, func(k []byte, _ struct{}) bool {
			if slot, ok := s.slots.Get(k[len(prefix):]); ok && s.awaitsFence(slot, id, m) {
				out = s.withFencing(out, slot, id, m)
			}
			return false
		})
	}
	slices.SortStableFunc(out, func(a, b Fencing) int { return cmp.Compare(a.System, b.System) })
	return out
}

// fences reports whether any system has a fence.
func (s *State) fences() bool {
	for id := range s.spec.Systems {
		if s.spec.Systems[id].Fence != "" {
			return true
		}
	}
	return false
}

// awaitsFence reports whether an item waits for what a member that is down may
// hold on the machine that it ran on last.
func (s *State) awaitsFence(slot *Slot, id MemberID, m Member) bool {
	if s.spec.Systems[slot.System].Fence == "" || s.Maintained(slot.System) {
		return false
	}
	owner, _ := s.Member(slot.Owner) // of a system with a fence, so at-most-one
	if !owner.Up || slot.Acquired == owner.Epoch {
		return false
	}
	return slices.ContainsFunc(slot.Outstanding, func(e Entry) bool {
		return e.Member == id && !e.Void && e.Host.Machine == m.Host.Machine
	})
}

// withFencing adds a slot to the Fencing of its system and member; a member's
// slots come by system.
func (s *State) withFencing(out []Fencing, slot *Slot, id MemberID, m Member) []Fencing {
	if n := len(out); n == 0 || out[n-1].System != slot.System || out[n-1].Member != id {
		sys := s.spec.Systems[slot.System]
		out = append(out, Fencing{
			System: sys.Name, Member: id, Host: m.Host, UpTo: m.Epoch,
			Command: sys.Fence, Timeout: sys.FenceTimeout, Config: sys.Config,
		})
	}
	f := &out[len(out)-1]
	if n := len(f.Items); n == 0 || f.Items[n-1] != slot.Item { // else another rank of it
		f.Items = append(f.Items, slot.Item)
	}
	return out
}

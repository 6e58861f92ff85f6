package fsm

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// WithPart is the State of a member that reads Parts, with one more of them: a whole
// one begins anew, a change is added to what was told before it. s may be New.
func (s *State) WithPart(p Part) (*State, error) {
	base := s
	switch {
	case p.Member == "":
		return nil, errors.New("add a part: it is nobody's")
	case p.Since == 0 && p.Head == nil:
		return nil, errors.New("add a part: a whole one has no head")
	case p.Since == 0:
		base = New()
		base.without = s.without
	case s.partOf != p.Member || s.partAt != p.Since:
		return nil, fmt.Errorf("add a part of %s since %d: what was read is %q's at %d", p.Member, p.Since, s.partOf, s.partAt)
	}
	f := fold{change: base.begin(p.At), part: &p}
	f.next.partOf, f.next.partAt = p.Member, p.At
	if err := f.spec(); err != nil {
		return nil, fmt.Errorf("add a part: %w", err)
	}
	if err := f.records(); err != nil {
		return nil, fmt.Errorf("add a part: %w", err)
	}
	f.forget()
	return f.end(), nil
}

// fold adds one Part to a State.
type fold struct {
	*change
	part *Part
}

// spec takes in what is told of the configuration.
func (f *fold) spec() error {
	p := f.part
	if h := p.Head; h != nil {
		spec := Spec{
			Version: h.Version, Timing: h.Timing, Quorum: h.Quorum, RemoveOnFailure: h.RemoveOnFailure,
			Servers: make(map[MemberID]Server, len(h.Servers)), Systems: f.next.spec.Systems,
		}
		for _, server := range h.Servers {
			spec.Servers[server.Name] = server
		}
		f.next.spec, f.next.cluster, f.next.voters = &spec, h.Cluster, h.Voters
		f.next.maxTTL, f.next.maintained, f.next.keys, f.next.heirs = h.MaxTTL, h.Maintained, h.Keys, h.Heirs
	}
	if len(p.Systems)+len(p.Dropped) > 0 || f.next.spec.Systems == nil {
		spec := f.respec()
		for _, id := range p.Dropped {
			delete(spec.Systems, id)
		}
		for _, sys := range p.Systems {
			spec.Systems[sys.Name] = sys
		}
		if why := spec.invalid(); why != "" {
			return errors.New(why)
		}
	}
	if _, unnamed := f.next.spec.Servers[""]; unnamed {
		return errors.New("a server has no name")
	}
	return nil
}

// respec is a copy of the Spec whose systems may be changed.
func (f *fold) respec() *Spec {
	spec := *f.next.spec
	if spec.Systems = maps.Clone(spec.Systems); spec.Systems == nil {
		spec.Systems = make(map[SystemID]System)
	}
	if spec.Servers == nil {
		spec.Servers = make(map[MemberID]Server)
	}
	f.next.spec = &spec
	return &spec
}

// records takes in members, slots and failures.
func (f *fold) records() error {
	p := f.part
	for _, m := range p.Members {
		if m.ID == "" {
			return errors.New("a member has no name")
		}
		f.setMember(m.ID, m.Member)
	}
	for _, id := range p.Gone {
		f.members.Delete([]byte(id))
	}
	for _, k := range p.Left {
		f.put(&Slot{Key: k, Token: 0, AtMostOne: false})
		f.slots.Delete(slotKey(k))
	}
	for i := range p.Slots {
		slot := p.Slots[i]
		if !slot.concerns(p.Member) {
			return fmt.Errorf("slot %v is no business of %s", slot.Key, p.Member)
		}
		f.put(&slot)
	}
	for _, c := range p.Mended {
		f.failures.Delete(memberKey(c.ID, c.Key))
	}
	for _, failure := range p.Failures {
		f.failures.Insert(memberKey(failure.ID, failure.Failure.Key), failure.Failure)
	}
	return nil
}

// forget drops what nothing of the member's refers to any more.
func (f *fold) forget() {
	me := f.part.Member
	var gone [][]byte
	f.members.Root().Walk(func(k []byte, _ Member) bool {
		if id := MemberID(k); id != me && len(f.outstandingOf(id)) == 0 {
			gone = append(gone, slices.Clone(k))
		}
		return false
	})
	for _, k := range gone {
		f.members.Delete(k)
	}
	gone = nil
	f.failures.Root().Walk(func(k []byte, failure Failure) bool {
		if id := memberOf(k, failure.Key); id != me {
			if slot, ok := f.slot(failure.Key); !ok || !names(slot.Outstanding, id) {
				gone = append(gone, slices.Clone(k))
			}
		}
		return false
	})
	for _, k := range gone {
		f.failures.Delete(k)
	}
	f.forgetSystems()
}

// forgetSystems drops the systems that the member neither serves nor has anything of.
func (f *fold) forgetSystems() {
	var gone []SystemID
	for id := range f.next.spec.Systems {
		if !f.next.spec.lists(f.part.Member, id) && !f.has(id) {
			gone = append(gone, id)
		}
	}
	if len(gone) == 0 {
		return
	}
	spec := f.respec()
	for _, id := range gone {
		delete(spec.Systems, id)
	}
}

// has reports whether the member has a slot or a failure in a system.
func (f *fold) has(id SystemID) bool {
	found := false
	system := appendPart(nil, string(id))
	f.slots.Root().WalkPrefix(system, func([]byte, *Slot) bool { found = true; return true })
	mine := slices.Concat(appendPart(nil, string(f.part.Member)), system)
	f.failures.Root().WalkPrefix(mine, func([]byte, Failure) bool { found = true; return true })
	return found
}

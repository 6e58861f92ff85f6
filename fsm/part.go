package fsm

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Part is what one member has to know of a State, or what of that has changed. A
// State made of Parts answers Slice and Rest of its member, and all that leases go
// by, as the whole one does. It has
//   - the Spec with the servers that vote, or do so still, and the member itself, and
//     with the systems that it serves or has something of;
//   - the committed voters, the largest ttl, the maintenance, how far the rotation of the key is;
//   - the slots that the member owns or has an entry in;
//   - its own record, and those of the members whose entries stand in these slots;
//   - its own failures, and those of such members for these slots.
//
// It has no journal and no slots of others, and says nothing of who else is there but
// whether anybody could take its systems over.
type Part struct {
	Member MemberID
	At     Index // up to which it tells
	// Since is the index that a change is to be added to; 0: this is the whole of it.
	// Who sends changes and passes over those that say nothing puts here the index
	// that it told last: nothing concerned the member in between.
	Since Index

	Head     *PartHead    // nil: as it was
	Systems  []System     // new, or other than they were
	Dropped  []SystemID   // not in the Spec any more
	Members  []PartMember // so are the following
	Gone     []MemberID
	Slots    []Slot
	Left     []Key // not the member's business any more, or gone
	Failures []PartFailure
	Mended   []PartClaim
}

// PartHead is what is small and always told whole.
type PartHead struct {
	Cluster         string
	Version         Index // of the Spec
	Timing          Timing
	Quorum          int
	RemoveOnFailure bool
	Servers         []Server // those that vote, or do so still, and the member, by name
	Voters          Voters
	MaxTTL          time.Duration
	Maintained      []SystemID `codec:",omitempty"`
	// Heirs are those of the member's systems that others can take over, by name; each as
	// often as there are ranks of which that is so.
	Heirs []SystemID `codec:",omitempty"`
	Keys  *Keys      `codec:",omitempty"` // what Keys.For says to the member; nil: it was never rotated
}

// PartMember is a member's record.
type PartMember struct {
	ID     MemberID
	Member Member
}

// PartFailure is what failed on a member.
type PartFailure struct {
	ID      MemberID
	Failure Failure
}

// PartClaim names what no longer counts as failed on a member.
type PartClaim struct {
	ID MemberID
	Key
}

// Part is the whole Part of a member, of this State read at an index.
func (s *State) Part(m MemberID, at Index) Part {
	p := newParcel()
	p.members[m] = true
	for slot := range s.concerning(m) {
		p.take(s, m, slot)
	}
	for _, f := range s.failuresOf(m) {
		p.fail(s, m, m, f.Key)
	}
	for _, id := range s.spec.Servers[m].Systems {
		p.systems[id] = true
	}
	out := p.part(s, m)
	out.At, out.Head = at, s.head(m, s.electors())
	// There is nothing yet that could be gone.
	out.Dropped, out.Gone, out.Mended = nil, nil, nil
	return out
}

// PartSince is what has changed of a member's Part since an older State, read at
// `was`; false: nothing has. Who asks for many members asks Step.
func (s *State) PartSince(m MemberID, at Index, old *State, was Index) (Part, bool) {
	return s.Step(at, old, was).Part(m)
}

// Concerned are those whose Parts are not what they were in an older State, by name;
// all: perhaps everybody's.
func (s *State) Concerned(old *State) (who []MemberID, all bool) {
	return s.Step(0, old, 0).Concerned()
}

// electors are the servers that are to vote, and those that the committed list names:
// a voter that is to be an agent grants leases until its vote is taken. By name.
func (s *State) electors() []Server {
	var out []Server
	for id, server := range s.spec.Servers {
		if server.Votes() || s.HasVote(id) {
			server.Name = id
			out = append(out, server)
		}
	}
	slices.SortFunc(out, compareServers)
	return out
}

func compareServers(a, b Server) int { return strings.Compare(string(a.Name), string(b.Name)) }

// head is a member's PartHead.
func (s *State) head(m MemberID, electors []Server) *PartHead {
	h := &PartHead{
		Cluster: s.cluster, Version: s.spec.Version, Timing: s.spec.Timing, Quorum: s.spec.Quorum,
		RemoveOnFailure: s.spec.RemoveOnFailure, Voters: s.voters, MaxTTL: s.maxTTL, Maintained: s.maintained,
		Servers: electors, Heirs: s.heirsOf(m), Keys: s.keysFor(m),
	}
	if me, in := s.spec.Servers[m]; in {
		me.Name = m
		if at, there := slices.BinarySearchFunc(electors, me, compareServers); !there {
			h.Servers = slices.Insert(slices.Clone(electors), at, me)
		}
	}
	return h
}

// keysFor is what a member is told of the cluster's key.
func (s *State) keysFor(m MemberID) *Keys {
	if s.keys == nil {
		return nil
	}
	k := s.keys.For(m)
	return &k
}

// failuresOf are the failures of a member, by key.
func (s *State) failuresOf(m MemberID) []Failure {
	var out []Failure
	s.failures.Root().WalkPrefix(appendPart(nil, string(m)), func(_ []byte, f Failure) bool {
		out = append(out, f)
		return false
	})
	return out
}

// parcel collects what goes into one member's Part: names and keys, which are looked
// up when all is known.
type parcel struct {
	head     bool
	slots    []*Slot
	left     []Key
	members  map[MemberID]bool
	failures map[PartClaim]bool
	systems  map[SystemID]bool
}

func newParcel() *parcel {
	return &parcel{members: map[MemberID]bool{}, failures: map[PartClaim]bool{}, systems: map[SystemID]bool{}}
}

// take adds a slot of the member's, with what its entries refer to.
func (p *parcel) take(s *State, m MemberID, slot *Slot) {
	p.slots = append(p.slots, slot)
	p.of(s, m, slot.System)
	for i := range slot.Outstanding {
		other := slot.Outstanding[i].Member
		if other == m {
			continue
		}
		p.members[other] = true
		if _, failed := s.FailureOf(other, slot.Key); failed {
			p.failures[PartClaim{other, slot.Key}] = true
		}
	}
}

// fail adds what is known of a member's failure.
func (p *parcel) fail(s *State, m, of MemberID, k Key) {
	p.failures[PartClaim{of, k}] = true
	p.of(s, m, k.System)
}

// of adds a system that the member does not serve, of which it has something. It may
// have had nothing of it before.
func (p *parcel) of(s *State, m MemberID, id SystemID) {
	if _, there := s.spec.Systems[id]; there && !s.spec.lists(m, id) {
		p.systems[id] = true
	}
}

// part looks all up in the newer State.
func (p *parcel) part(s *State, m MemberID) Part {
	out := Part{Member: m, Left: p.left}
	for _, id := range slices.Sorted(maps.Keys(p.systems)) {
		if sys, ok := s.spec.Systems[id]; ok {
			out.Systems = append(out.Systems, sys.told(id))
		} else {
			out.Dropped = append(out.Dropped, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(p.members)) {
		if record, ok := s.Member(id); ok {
			out.Members = append(out.Members, PartMember{id, record})
		} else {
			out.Gone = append(out.Gone, id)
		}
	}
	for _, slot := range p.slots {
		out.Slots = append(out.Slots, *slot)
	}
	for _, c := range slices.SortedFunc(maps.Keys(p.failures), PartClaim.compare) {
		if f, ok := s.FailureOf(c.ID, c.Key); ok {
			out.Failures = append(out.Failures, PartFailure{c.ID, f})
		} else {
			out.Mended = append(out.Mended, c)
		}
	}
	return out
}

func (c PartClaim) compare(o PartClaim) int {
	if n := strings.Compare(string(c.ID), string(o.ID)); n != 0 {
		return n
	}
	return c.Compare(o.Key)
}

// told is a system as Parts tell it: how homes are dealt is the leader's business.
func (s System) told(id SystemID) System {
	s.Name, s.Rehome = id, false
	return s
}

// like compares two systems as Parts tell them.
func (s System) like(o System) bool {
	if !sameItems(s.Items, o.Items) {
		return false
	}
	s.Items, o.Items, s.Rehome, o.Rehome = nil, nil, false, false
	return reflect.DeepEqual(s, o)
}

// lists reports whether a server's list names a system, also of one that is to be
// taken out.
func (s *Spec) lists(m MemberID, id SystemID) bool {
	_, ok := slices.BinarySearch(s.Servers[m].Systems, id)
	return ok
}

package fsm

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

// crowd is a cluster of n voters and agents agents with a slot each, at its rest.
func crowd(t testing.TB, agents, items int) (*State, Index) {
	spec := testSpec()
	for i := range agents {
		id := MemberID(fmt.Sprintf("agent-%04d", i))
		spec.Servers[id] = Server{Addr: "192.0.2.9:1", Role: RoleAgent, Systems: []SystemID{"one"}}
	}
	sys := spec.Systems["one"]
	sys.Items = nil
	for i := range items {
		sys.Items = append(sys.Items, Item{ID: ItemID(fmt.Sprintf("item-%05d", i))})
	}
	spec.Systems["one"] = sys
	apply := func(s *State, at Index, c Command) *State {
		next, res, err := s.Apply(at, Encode(c))
		if err != nil || !res.Applied {
			t.Fatalf("%T: %+v, %v", c, res, err)
		}
		return next
	}
	s, at := apply(New(), 1, SetSpec{Cluster: "c1", Spec: spec}), Index(1)
	ids := slices.Sorted(maps.Keys(spec.Servers))
	for _, id := range ids {
		at++
		s = apply(s, at, Register{Member: id, Nonce: nonce("n %s", id), Process: nonce("p %s", id), Host: hostOf(id), Gate: true})
	}
	var moves []Move
	for i, item := range sys.Items {
		to := ids[i%agents]
		moves = append(moves, Move{Key: Key{System: "one", Item: item.ID}, Home: to, To: to})
	}
	for chunk := range slices.Chunk(moves, MaxMoves) {
		at++
		s = apply(s, at, Assign{Moves: chunk})
	}
	return s, at
}

// One slot moves in a crowd: who is concerned, and what they are told.
func BenchmarkStep(b *testing.B) {
	for _, agents := range []int{10, 1000} {
		s, at := crowd(b, agents, 10*agents)
		k := Key{System: "one", Item: "item-00000"}
		slot, _ := s.Slot(k)
		next, _, err := s.Apply(at+1, Encode(Assign{Moves: []Move{{Key: k, Was: slot.Token, To: "agent-0005"}}}))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("%d agents", agents), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				st := next.Step(at+1, s, at)
				who, all := st.Concerned()
				if all || len(who) != 2 {
					b.Fatal(who)
				}
				for _, m := range who {
					if p, changed := st.Part(m); changed {
						p.Encode()
					}
				}
			}
		})
	}
}

// All agents read anew, as when a voter has died.
func BenchmarkWholeParts(b *testing.B) {
	s, at := crowd(b, 1000, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		var e PartEncoder
		for i := range 1000 {
			e.Encode(s.Part(MemberID(fmt.Sprintf("agent-%04d", i)), at))
		}
	}
}

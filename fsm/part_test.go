package fsm

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// partOracle is the State of a member that reads Parts, found by looking at all that
// there is.
func partOracle(s *State, m MemberID) *State {
	c := New().begin(0)
	c.next.cluster, c.next.voters, c.next.maxTTL, c.next.maintained = s.cluster, s.voters, s.maxTTL, s.maintained
	spec := *s.spec
	spec.Servers, spec.Systems = map[MemberID]Server{}, map[SystemID]System{}
	wanted, others := map[SystemID]bool{}, map[MemberID]bool{m: true}
	for id, server := range s.spec.Servers {
		if server.Role != RoleAgent || id == m {
			spec.Servers[id] = server
		}
	}
	for _, id := range s.spec.Servers[m].Systems {
		wanted[id] = true
	}
	c.next.spec = &spec
	entries := map[string]bool{}
	for slot := range s.Slots() {
		mine := slot.Owner == m
		for _, e := range slot.Outstanding {
			mine = mine || e.Member == m
		}
		if !mine {
			continue
		}
		wanted[slot.System] = true
		for _, e := range slot.Outstanding {
			others[e.Member] = true
			entries[fmt.Sprint(e.Member, slot.Key)] = true
		}
		c.put(&slot)
	}
	for id, f := range s.Failures() {
		if id == m {
			wanted[f.System] = true
		}
		if id == m || entries[fmt.Sprint(id, f.Key)] {
			c.failures.Insert(memberKey(id, f.Key), f)
		}
	}
	for id, member := range s.Members() {
		if others[id] {
			c.setMember(id, member)
		}
	}
	for id, sys := range s.spec.Systems {
		if wanted[id] {
			sys.Rehome = false
			spec.Systems[id] = sys
		}
	}
	return c.end()
}

// overWire is a Part as its reader gets it.
func overWire(t rapid.TB, p Part) Part {
	t.Helper()
	raw := p.Encode()
	back, err := DecodePart(raw)
	if err != nil {
		t.Fatalf("decode %+v: %v", p, err)
	}
	if again := back.Encode(); !bytes.Equal(again, raw) {
		t.Fatalf("a part changes on its way:\n%x\n%x", raw, again)
	}
	return back
}

// agents makes some servers of a Spec agents.
func (w *world) agents(c Command) Command {
	if s, ok := c.(SetSpec); ok {
		for id, server := range s.Spec.Servers {
			if server.Role = RoleVoter; w.chance(40) {
				server.Role = RoleAgent
			}
			s.Spec.Servers[id] = server
		}
	}
	return c
}

// Any history: what a member makes of the Parts that it is sent is what it would make
// of the whole State, and it is sent one whenever there is something for it.
func TestPartsAgainstOracle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{T: rt, d: founded(t), processes: map[MemberID][]Goodbye{}}
		for _, m := range []MemberID{"a", "b", "c"} {
			w.processes[m] = []Goodbye{w.d.bye(m)}
		}
		readers := map[MemberID]*State{}
		told := map[MemberID]Index{}
		voters := Index(0)
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			old, was := w.d.s, w.d.at
			for range 1 + w.roll(3) { // a step may be several entries
				w.d.at++
				next, _, err := w.d.s.Apply(w.d.at, Encode(w.agents(w.command())))
				if err != nil {
					rt.Fatal(err)
				}
				w.d.s = next
			}
			if w.chance(5) {
				voters++
				w.d.s = w.d.s.WithVoters(Voters{Index: voters, IDs: []VoterID{NewVoterID(w.anyMember(), "1")}})
			}
			if w.chance(5) {
				w.d.s = read(t, snapshot(t, w.d.s)) // shares nothing with the one before
			}
			w.tell(readers, told, old, was)
		}
	})
}

// tell sends every member what concerns it, and looks what it has then.
func (w *world) tell(readers map[MemberID]*State, told map[MemberID]Index, old *State, was Index) {
	now, at := w.d.s, w.d.at
	who, all := now.Concerned(old)
	for _, m := range []MemberID{"a", "b", "c", "d"} {
		want := partOracle(now, m)
		switch reader := readers[m]; {
		case reader == nil || w.chance(5):
			s, err := New().WithPart(overWire(w, now.Part(m, at)))
			if err != nil {
				w.Fatalf("%s begins: %v", m, err)
			}
			readers[m], told[m] = s, at
		default:
			part, changed := now.PartSince(m, at, old, was)
			if changed && !all && !slices.Contains(who, m) {
				w.Fatalf("%s is not said to be concerned by %+v", m, part)
			}
			if changed {
				part.Since = told[m]
				s, err := reader.WithPart(overWire(w, part))
				if err != nil {
					w.Fatalf("%s reads %+v: %v", m, part, err)
				}
				readers[m], told[m] = s, at
			}
		}
		if got := readers[m]; !bytes.Equal(snapshot(w.d.t, got), snapshot(w.d.t, want)) {
			w.Fatalf("%s has\n%s\n%+v\nand not\n%s\n%+v", m, textOf(got), got.Spec(), textOf(want), want.Spec())
		}
		w.sameSlices(readers[m], now, m)
	}
}

// sameSlices compares what a member makes of its Parts with what it would make of
// the whole.
func (w *world) sameSlices(part, whole *State, m MemberID) {
	me, _ := whole.Member(m)
	for _, e := range []Epoch{0, me.Epoch, me.Epoch + 1, max(1, me.Epoch) - 1} {
		for _, machine := range []string{me.Host.Machine, "machine-" + string(m), "spare"} {
			got, want := part.Slice(m, e, machine, w.d.at), whole.Slice(m, e, machine, w.d.at)
			if !reflect.DeepEqual(got, want) {
				w.Fatalf("slice of %s in epoch %d on %s:\n%+v\nand not\n%+v\nof\n%s", m, e, machine, got, want, textOf(whole))
			}
		}
	}
	if got, want := part.Rest(m), whole.Rest(m); !reflect.DeepEqual(got, want) {
		w.Fatalf("rest of %s:\n%+v\nand not\n%+v", m, got, want)
	}
}

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

// A member's record is told to whom it concerns: the owners of what it may hold.
func TestPartTellsOfThoseInTheWay(t *testing.T) {
	d := founded(t, on("one", func(s *System) { s.TakeoverAfter = NeverTakeOver }))
	d.give("a", oneX)
	d.give("b", oneX)
	old, was := d.s, d.at
	d.down("a")
	who, all := d.s.Concerned(old)
	if all || !slices.Equal(who, []MemberID{"a", "b"}) {
		t.Fatalf("concerned: %v, all %v", who, all)
	}
	part, changed := d.s.PartSince("b", d.at, old, was)
	if !changed || len(part.Members) != 1 || part.Members[0].ID != "a" || part.Members[0].Member.Up || len(part.Slots) != 0 {
		t.Fatalf("b is told %+v", part)
	}
	if part, changed := d.s.PartSince("c", d.at, old, was); changed {
		t.Fatalf("c is told %+v", part)
	}
}

// What cannot be added is refused.
func TestPartRefused(t *testing.T) {
	d := founded(t)
	d.give("a", oneX)
	whole := d.s.Part("a", 10)
	a, err := New().WithPart(whole)
	if err != nil {
		t.Fatal(err)
	}
	change := Part{Member: "a", At: 12, Since: 10}
	if _, err := a.WithPart(change); err != nil {
		t.Fatalf("nothing new: %v", err)
	}
	cases := map[string]struct {
		part Part
		to   *State
		why  string
	}{
		"of nobody":      {Part{At: 3}, New(), "nobody's"},
		"without a head": {Part{Member: "a", At: 3}, New(), "no head"},
		"of another":     {Part{Member: "b", At: 12, Since: 10}, a, "what was read is \"a\"'s at 10"},
		"a gap":          {Part{Member: "a", At: 12, Since: 11}, a, "what was read"},
		"to nothing":     {change, New(), "what was read"},
		"not its slot":   {Part{Member: "a", At: 12, Since: 10, Slots: []Slot{{Key: oneY, Owner: "b"}}}, a, "no business"},
		"nameless":       {Part{Member: "a", At: 12, Since: 10, Members: []PartMember{{}}}, a, "no name"},
		"invalid system": {Part{Member: "a", At: 12, Since: 10, Systems: []System{{Name: "x"}}}, a, "type is unknown"},
		"nameless server": {
			Part{Member: "a", At: 12, Head: &PartHead{Servers: []Server{{}}}}, a, "a server has no name",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := c.to.WithPart(c.part); err == nil || !strings.Contains(err.Error(), c.why) {
				t.Fatalf("want %q, got %v", c.why, err)
			}
		})
	}
}

// samplePart has every field set.
func samplePart() Part {
	entry := Entry{
		Member: "b", Epoch: 3, Token: 5, Host: hostOf("b"), Addrs: []string{"198.51.100.1/24"}, Gated: true, AtMostOne: true, Void: true,
		Recipe: &Recipe{Action: ActionHooks, Down: "down", Config: []byte("{}"), StopTimeout: 1},
	}
	spec := addressSpec()
	return Part{
		Member: "a", At: 12, Since: 10,
		Head: &PartHead{
			Cluster: "c1", Version: 4, Timing: spec.Timing, Quorum: 2, RemoveOnFailure: true,
			Servers: []Server{{Name: "a", Addr: "192.0.2.1:2200", Role: RoleAgent, Systems: []SystemID{"one"}}},
			Voters:  Voters{Index: 2, IDs: []VoterID{"b/1"}}, MaxTTL: 3, Maintained: []SystemID{""},
		},
		Systems: []System{spec.Systems["ip"].told("ip")},
		Dropped: []SystemID{"gone"},
		Members: []PartMember{{"a", Member{Epoch: 7, Nonce: nonce("n"), Process: nonce("p"), Host: hostOf("a"), Up: true, Settled: true, FirstTTL: 1}}},
		Gone:    []MemberID{"c"},
		Slots: []Slot{{
			Key: ipX, Home: "a", Owner: "a", Token: 9, Previous: "b", Reason: "why", Gated: true, AtMostOne: true, Acquired: 7,
			Outstanding: []Entry{entry}, Seen: &Seen{By: "b", Token: 9, OK: true},
		}},
		Left:     []Key{oneX},
		Failures: []PartFailure{{"a", Failure{Key: oneY, Token: 3, Err: "exit status 1"}}},
		Mended:   []PartClaim{{"b", ipX}},
	}
}

func TestGoldenPart(t *testing.T) {
	p := samplePart()
	back, err := DecodePart(golden(t, "part-v1", p.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, p) {
		t.Fatalf("got\n%+v\nwant\n%+v", back, p)
	}
}

func TestDecodePartRefuses(t *testing.T) {
	raw := samplePart().Encode()
	cases := map[string]struct {
		raw []byte
		why string
	}{
		"empty":           {nil, "empty"},
		"another version": {append([]byte{9}, raw[1:]...), "version 9 is unknown, this program knows 1"},
		"cut off":         {raw[:len(raw)-3], "decode a part"},
		"too long":        {append(slices.Clone(raw), 0), "1 bytes too many"},
	}
	for name, c := range cases {
		if _, err := DecodePart(c.raw); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: want %q, got %v", name, c.why, err)
		}
	}
}

// FuzzDecodePart: whatever comes in is refused, or is a Part that is written as it
// was understood; adding it to what was read fails or not, and nothing else happens.
func FuzzDecodePart(f *testing.F) {
	d := founded(f)
	d.give("a", oneX, ipX)
	d.give("b", oneX, ipX)
	f.Add(samplePart().Encode())
	f.Add(d.s.Part("a", 10).Encode())
	f.Add(d.s.Part("b", 10).Encode())
	a, err := New().WithPart(d.s.Part("a", 10))
	if err != nil {
		f.Fatal(err)
	}
	before := snapshot(f, a)
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := DecodePart(raw)
		if err != nil {
			return
		}
		again, err := DecodePart(p.Encode())
		if err != nil || !bytes.Equal(again.Encode(), p.Encode()) {
			t.Fatalf("%+v becomes %+v, %v", p, again, err)
		}
		for _, s := range []*State{New(), a} {
			if next, err := s.WithPart(p); err == nil {
				_ = next.Slice(p.Member, 1, "m", p.At)
			}
		}
		if !bytes.Equal(snapshot(t, a), before) {
			t.Fatal("what was read before has changed")
		}
	})
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
	for b.Loop() {
		s.owners = &owners{}
		for i := range 1000 {
			s.Part(MemberID(fmt.Sprintf("agent-%04d", i)), at).Encode()
		}
	}
}

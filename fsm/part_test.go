package fsm

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// partOracle is the State of a member that reads Parts, found by looking at all that
// there is.
func partOracle(s *State, m MemberID) *State {
	c := New().begin(0)
	c.next.cluster, c.next.voters, c.next.maxTTL, c.next.maintained = s.cluster, s.voters, s.maxTTL, s.maintained
	if s.keys != nil {
		k := s.keys.For(m)
		c.next.keys = &k
	}
	spec := *s.spec
	spec.Servers, spec.Systems = map[MemberID]Server{}, map[SystemID]System{}
	wanted, others := map[SystemID]bool{}, map[MemberID]bool{m: true}
	for id, server := range s.spec.Servers {
		onList := slices.ContainsFunc(s.voters.IDs, func(v VoterID) bool { return strings.HasPrefix(string(v), string(id)+"/") })
		if server.Role != RoleAgent || onList || id == m {
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

// edit changes one thing of the present Spec.
func (w *world) edit() Command {
	spec := w.d.s.spec.clone()
	m, id := w.anyMember(), draw(w, []SystemID{"all", "ip", "least", "one"})
	server, in := spec.Servers[m]
	if !in {
		server = testSpec().Servers[m]
	}
	sys, known := spec.Systems[id]
	if !known {
		sys = testSpec().Systems[id]
	}
	switch w.roll(5) {
	case 0:
		server.Role = draw(w, []Role{RoleVoter, RoleAgent, RoleAgent})
	case 1, 2:
		if at, lists := slices.BinarySearch(server.Systems, id); lists {
			server.Systems = slices.Delete(server.Systems, at, at+1)
		} else {
			server.Systems = slices.Insert(server.Systems, at, id)
		}
	case 3:
		w.system(&sys)
	default:
		delete(spec.Systems, id)
		known = false
	}
	spec.Servers[m] = server
	if known || w.chance(50) {
		spec.Systems[id] = sys
	}
	return SetSpec{Was: spec.Version, Spec: spec}
}

// next is a command of a history in which the configuration changes often.
func (w *world) next() Command {
	if w.chance(15) {
		return w.edit()
	}
	return w.command()
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
				next, _, err := w.d.s.Apply(w.d.at, Encode(w.next()))
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
	for id := range whole.Spec().Systems {
		if got, want := part.HasHeir(m, id), whole.HasHeir(m, id); got != want && whole.Spec().lists(m, id) {
			w.Fatalf("%s has an heir for %s: %v, and not %v at\n%s", m, id, got, want, textOf(whole))
		}
	}
	if got, want := part.Rest(m), whole.Rest(m); !reflect.DeepEqual(got, want) {
		w.Fatalf("rest of %s:\n%+v\nand not\n%+v", m, got, want)
	}
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

// Whom a failure may concern hears of it: whoever waits for what the member may still
// hold, also when he comes to wait only later.
func TestPartTellsOfFailuresInTheWay(t *testing.T) {
	d := founded(t, on("one", func(s *System) { s.TakeoverAfter = 5 * time.Second }))
	token := d.give("a", oneX)
	d.must(Report{Member: "a", Epoch: d.epoch("a"), Failed: []Failure{{Key: oneX, Token: token, Err: "exit status 1"}}})
	c, err := New().WithPart(d.s.Part("c", d.at))
	if err != nil {
		t.Fatal(err)
	}
	old, was := d.s, d.at
	d.give("c", oneX)
	d.down("a")
	part, _ := d.s.PartSince("c", d.at, old, was)
	if c, err = c.WithPart(part); err != nil {
		t.Fatal(err)
	}
	if _, failed := c.FailureOf("a", oneX); !failed {
		t.Fatalf("c is not told that a has failed: %+v", part)
	}
	me := d.memberOf("c")
	blocked := func() []Blocker {
		for _, job := range c.Slice("c", me.Epoch, me.Host.Machine, d.at).Want {
			if job.Key == oneX {
				return job.Blocked
			}
		}
		return nil
	}
	if b := blocked(); len(b) != 1 || b[0].After != 0 {
		t.Fatalf("c bets on a member whose down may have failed: %+v", b)
	}
	old, was = d.s, d.at
	d.must(Cleanup{})
	part, _ = d.s.PartSince("c", d.at, old, was)
	if c, err = c.WithPart(part); err != nil {
		t.Fatal(err)
	}
	if b := blocked(); len(b) != 1 || b[0].After == 0 {
		t.Fatalf("c does not know that the failure is forgotten: %+v", b)
	}
}

// A failure of what another has by now is told as the Spec describes the item, by a
// Part as by the whole.
func TestFailureOfAnothersSlot(t *testing.T) {
	d := founded(t)
	d.give("b", ipX)
	token := d.give("a", ipX)
	d.release("b", d.claim("b", ipX))
	d.must(Report{Member: "a", Epoch: d.epoch("a"), Failed: []Failure{{Key: ipX, Token: token, Err: "no carrier"}}})
	d.give("c", ipX)
	d.release("a", d.claim("a", ipX))
	part, err := New().WithPart(d.s.Part("a", d.at))
	if err != nil {
		t.Fatal(err)
	}
	me := d.memberOf("a")
	for _, s := range []*State{part, d.s} {
		failed := s.Slice("a", me.Epoch, me.Host.Machine, d.at).Failed
		if len(failed) != 1 || failed[0].Key != ipX || failed[0].Token != token || !failed[0].AtMostOne || len(failed[0].Addrs) != 1 {
			t.Fatalf("failed: %+v", failed)
		}
		if failed[0].Gated || failed[0].Previous != "" || failed[0].Reason != "" {
			t.Fatalf("what c has says nothing about a: %+v", failed[0])
		}
	}
}

// Who comes to serve a system is told of it although nothing of it has changed, and
// forgets it when he serves it no longer and has nothing of it.
func TestPartFollowsTheList(t *testing.T) {
	d := founded(t)
	lists := func(systems ...SystemID) func(*Spec) {
		return func(s *Spec) {
			server := s.Servers["c"]
			server.Systems = systems
			s.Servers["c"] = server
		}
	}
	c, err := New().WithPart(d.s.Part("c", d.at))
	if err != nil {
		t.Fatal(err)
	}
	for _, systems := range [][]SystemID{{"all", "ip", "least"}, {"all", "ip", "least", "one"}} {
		old, was := d.s, d.at
		d.must(d.respec(lists(systems...)))
		part, _ := d.s.PartSince("c", d.at, old, was)
		if c, err = c.WithPart(part); err != nil {
			t.Fatal(err)
		}
		if got := slices.Sorted(maps.Keys(c.Spec().Systems)); !slices.Equal(got, systems) {
			t.Fatalf("c knows %v, and serves %v", got, systems)
		}
	}
}

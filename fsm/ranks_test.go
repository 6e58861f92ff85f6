package fsm

import (
	"slices"
	"testing"
)

// replicated makes one and least systems of n replicas.
func replicas(n int) func(*Spec) {
	return func(s *Spec) {
		for _, id := range []SystemID{"one", "least"} {
			on(id, func(s *System) { s.Replicas = n })(s)
		}
	}
}

// rank is another rank of an item.
func rank(k Key, n int) Key {
	k.Rank = n
	return k
}

func TestRanks(t *testing.T) {
	d := founded(t, replicas(2))
	d.give("a", oneX)
	d.give("b", rank(oneX, 1))
	d.wantOwner(rank(oneX, 1), "b", Token(d.at))
	for _, tc := range []struct {
		name string
		move Move
	}{
		{"a rank that is not there", d.move(rank(oneX, 2), "c")},
		{"a rank below the first", d.move(rank(oneX, -1), "c")},
		{"an owner of another rank", d.move(rank(oneX, 1), "a")},
	} {
		if res := d.do(Assign{Moves: []Move{tc.move}}); !slices.Equal(res.Dropped, []Move{tc.move}) {
			t.Errorf("%s: %+v", tc.name, res)
		}
	}
	// What takes a rank from a member comes first: then it may have the other.
	d.must(Assign{Moves: []Move{d.move(rank(oneX, 1), "c"), d.move(oneX, "b")}})
	d.wantOwner(oneX, "b", Token(d.at))
	d.wantOwner(rank(oneX, 1), "c", Token(d.at))
	var got []MemberID
	for slot := range d.s.Ranks("one", "x") {
		got = append(got, slot.Owner)
	}
	if !slices.Equal(got, []MemberID{"b", "c"}) {
		t.Fatalf("%v", got)
	}
	if n, owns := d.s.OwnsAny("c", "one", "x"); n != 1 || !owns {
		t.Fatal(n, owns)
	}
}

// A rank that is not wanted any more goes as an item does, and keeps its set.
func TestFewerReplicas(t *testing.T) {
	d := founded(t, replicas(2))
	d.give("a", oneX)
	token := d.give("b", rank(oneX, 1))
	d.must(d.respec(func(*Spec) {}))
	slot := d.slot(rank(oneX, 1))
	if slot.Owner != "" || slot.Reason != "fewer replicas are wanted" || slot.Cause != CauseNone {
		t.Fatalf("%+v", slot)
	}
	d.wantSet(rank(oneX, 1), "b@%d/%d", d.epoch("b"), token)
	d.wantOwner(oneX, "a", token-1)
	d.release("b", d.claim("b", rank(oneX, 1)))
	if _, still := d.s.Slot(rank(oneX, 1)); still {
		t.Fatal("a slot that says nothing stays")
	}
	// Again as many: it begins anew.
	d.must(d.respec(replicas(2)))
	d.give("b", rank(oneX, 1))
}

// jobs are what a member is to hold of one system and to let go of, in short.
func (d *driver) jobs(m MemberID) (want, owe []string) {
	s := d.s.Slice(m, d.epoch(m), "machine-"+string(m), d.at)
	text := func(j Job) string {
		out := string(j.Item) + "/" + string(rune('0'+j.Rank))
		if j.Keep {
			out += " keep"
		}
		return out
	}
	for _, j := range s.Want {
		if j.System == "least" {
			want = append(want, text(j))
		}
	}
	for _, o := range s.Owe {
		owe = append(owe, text(o.Job))
	}
	return want, owe
}

func (d *driver) wantJobs(m MemberID, want, owe []string) {
	d.t.Helper()
	if gotWant, gotOwe := d.jobs(m); !slices.Equal(gotWant, want) || !slices.Equal(gotOwe, owe) {
		d.t.Fatalf("%s wants %q and owes %q; want %q and %q", m, gotWant, gotOwe, want, owe)
	}
}

// A warm copy that becomes the primary lets go of its rank at once, whoever is to have
// it next: else the item would be up twice here, or the primary would wait for a copy.
func TestPromotionLetsGoAtOnce(t *testing.T) {
	d := founded(t, replicas(2))
	d.give("a", leastX)
	d.give("b", rank(leastX, 1))
	d.acquire(leastX, rank(leastX, 1))
	d.down("a", d.move(rank(leastX, 1), "c"), d.move(leastX, "b"))
	d.wantJobs("b", []string{"x/0"}, []string{"x/1"})
	d.wantJobs("c", []string{"x/1"}, nil)
}

// The way back is a chain without a gap: each keeps what it has until the next has it.
func TestDemotionKeepsUntilAcquired(t *testing.T) {
	d := founded(t, replicas(2))
	d.give("b", leastX)
	d.give("c", rank(leastX, 1))
	d.acquire(leastX, rank(leastX, 1))
	d.must(Assign{Moves: []Move{d.move(leastX, "a"), d.move(rank(leastX, 1), "b")}})
	d.wantJobs("a", []string{"x/0"}, nil)
	d.wantJobs("b", []string{"x/0 keep", "x/1"}, nil)
	d.wantJobs("c", []string{"x/1 keep"}, nil)
	d.acquire(leastX)
	d.wantJobs("b", []string{"x/1"}, []string{"x/0"})
	d.wantJobs("c", []string{"x/1 keep"}, nil)
	d.acquire(rank(leastX, 1))
	d.wantJobs("c", nil, []string{"x/1"})
}

// What a member owns under any rank it does not clean up when it starts.
func TestRestLeavesOtherRanksAlone(t *testing.T) {
	d := founded(t, replicas(2))
	d.give("b", oneX)
	d.give("a", rank(oneX, 1))
	var got []Key
	for _, j := range d.s.Rest("a") {
		got = append(got, j.Key)
	}
	if !slices.Equal(got, []Key{oneY}) {
		t.Fatalf("%v", got)
	}
}

// Two ranks of an item that wait for one member are one item to its fence.
func TestFencingNamesAnItemOnce(t *testing.T) {
	d := founded(t, replicas(2), on("one", fenced))
	d.give("a", oneX)
	d.give("b", oneX)
	d.give("a", rank(oneX, 1))
	d.give("c", rank(oneX, 1))
	d.down("a")
	got := d.s.Fencings()
	if len(got) != 1 || !slices.Equal(got[0].Items, []ItemID{"x"}) {
		t.Fatalf("%+v", got)
	}
}

// Homes are dealt anew when what they are dealt by changes, and not for an edit of data.
func TestRehomeFollowsTheRules(t *testing.T) {
	server := func(edit func(*Server)) func(*Spec) {
		return func(s *Spec) {
			a := s.Servers["a"]
			edit(&a)
			s.Servers["a"] = a
		}
	}
	tagged := func(value string) func(*Spec) {
		return server(func(s *Server) { s.Tags = []Tag{{"disk", value}} })
	}
	one := func(edit func(*System)) func(*Spec) { return on("one", edit) }
	weighed := one(func(s *System) { s.Items[0].Weight = 2 })
	selects := one(func(s *System) { s.Select = []Match{{Tag: "disk"}} })
	for _, tc := range []struct {
		name        string
		first, then func(*Spec)
		want        bool
	}{
		{"weight", nil, server(func(s *Server) { s.Weight = 2 }), true},
		{"the weight that it has", nil, server(func(s *Server) { s.Weight = 1 }), false},
		{"capacity", nil, server(func(s *Server) { s.Capacity = 2 }), true},
		{"zone", nil, server(func(s *Server) { s.Zone = "z" }), true},
		{"tags that nobody selects by", nil, tagged("ssd"), false},
		{"tags", selects, func(s *Spec) { selects(s); tagged("ssd")(s) }, true},
		{"select", nil, selects, true},
		{"any", selects, func(s *Spec) { selects(s); one(func(s *System) { s.SelectAny = true })(s) }, true},
		{"replicas", nil, replicas(2), true},
		{"the replicas that it has", nil, replicas(1), false},
		{"with", nil, one(func(s *System) { s.With = []SystemID{"ip"} }), true},
		{"apart", nil, one(func(s *System) { s.Apart = []SystemID{"ip"} }), true},
		{"an item's weight", nil, weighed, true},
		{"an item's weight, and one less", nil, one(func(s *System) { s.Items = []Item{{ID: "y", Weight: 2}} }), true},
		{"a new item's weight", nil, one(func(s *System) { s.Items = append(s.Items, Item{ID: "z", Weight: 2}) }), false},
		{"prefer", nil, one(func(s *System) { s.Items[0].Prefer = []MemberID{"a"} }), false},
		{"failback", nil, one(func(s *System) { s.Failback = NeverFailback }), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := founded(t)
			if tc.first != nil {
				d = founded(t, tc.first)
			}
			// An edit of the data: what was a change of who serves is none any more.
			base := func(s *Spec) {
				if tc.first != nil {
					tc.first(s)
				}
			}
			d.must(d.respec(func(s *Spec) { base(s); one(only(Item{ID: "x"}))(s) }))
			d.must(d.respec(base))
			if d.s.Spec().Systems["one"].Rehome {
				t.Fatal("an edit of the data")
			}
			d.must(d.respec(tc.then))
			if got := d.s.Spec().Systems["one"].Rehome; got != tc.want {
				t.Fatalf("dealt anew: %v", got)
			}
			if s := d.s.Spec().Systems["one"]; !sameItems(s.Items, d.respec(tc.then).Spec.Systems["one"].Items) {
				t.Fatalf("an item is what it was: %+v", s.Items)
			}
		})
	}
}

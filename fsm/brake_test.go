package fsm

import (
	"bytes"
	"slices"
	"testing"
)

// second is one of the proposers' clocks, from some time on.
func second(n int) int64 { return 1_700_000_000_000 + int64(n)*1000 }

// lose calls a member down by votes at a time.
func (d *driver) lose(m MemberID, at int64, moves ...Move) Result {
	d.t.Helper()
	return d.do(Down{Member: m, Epoch: d.epoch(m), Voters: d.s.Voters().Index, Moves: moves, At: at})
}

func (d *driver) brakes() (out []SystemID) {
	for _, b := range d.s.Brakes() {
		out = append(out, b.System)
	}
	return out
}

// journal is the last entry of a kind.
func (d *driver) journal(kind string) JournalEntry {
	d.t.Helper()
	for _, e := range slices.Backward(d.s.Journal()) {
		if e.Kind == kind {
			return e
		}
	}
	d.t.Fatalf("nothing of kind %s in the journal", kind)
	return JournalEntry{}
}

func TestBrakeWhenMostAreLost(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spec  func(*Spec)
		lose  func(d *driver)
		stops bool
	}{
		{"two of three at once", nil, func(d *driver) { d.lose("a", second(0)); d.lose("b", second(10)) }, true},
		{"by clocks that differ", nil, func(d *driver) { d.lose("a", second(5)); d.lose("b", second(0)) }, true},
		{"by clocks that differ too much", nil, func(d *driver) { d.lose("a", second(11)); d.lose("b", second(0)) }, false},
		{"one after the other", nil, func(d *driver) { d.lose("a", second(0)); d.lose("b", second(11)) }, false},
		{"one of three", nil, func(d *driver) { d.lose("a", second(0)) }, false},
		{"one that stopped in order", nil, func(d *driver) {
			d.lose("a", second(0))
			bye := d.bye("b")
			d.must(Down{Member: "b", Epoch: d.epoch("b"), Goodbye: &bye, At: second(1)})
		}, false},
		{"one that is back", nil, func(d *driver) {
			d.lose("a", second(0))
			d.must(d.registration("a"))
			d.lose("b", second(1))
		}, false},
		{"at no known time", nil, func(d *driver) { d.lose("a", 0); d.lose("b", 0) }, false},
		{"without brakes", on("one", func(s *System) { s.NoBrake = true }), func(d *driver) { d.lose("a", second(0)); d.lose("b", second(0)) }, false},
		{"half of those that serve", nil, func(d *driver) {
			spec := d.respec(func(s *Spec) { s.Servers["d"] = s.Servers["c"] })
			d.must(spec)
			d.must(d.registration("d"))
			d.lose("a", second(0))
			d.lose("b", second(0))
		}, false},
		{"one that never came is not counted", nil, func(d *driver) {
			d.must(d.respec(func(s *Spec) { s.Servers["d"] = s.Servers["c"] }))
			d.lose("a", second(0))
			d.lose("b", second(0))
		}, true},
		{"the only one that serves", func(s *Spec) {
			for _, id := range []MemberID{"b", "c"} {
				server := s.Servers[id]
				server.Systems = nil
				s.Servers[id] = server
			}
		}, func(d *driver) { d.lose("a", second(0)) }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := founded(t)
			if tc.spec != nil {
				d = founded(t, tc.spec)
			}
			tc.lose(d)
			if got := slices.Contains(d.brakes(), "one"); got != tc.stops {
				t.Fatalf("stopped: %v", d.s.Brakes())
			}
		})
	}
}

// While a system is stopped nothing of it is moved, what the Down itself would move and
// what nobody ever had included.
func TestBrakedSystemStays(t *testing.T) {
	d := founded(t)
	token := d.give("b", oneX)
	d.lose("a", second(0))
	drop := d.move(oneX, "c")
	if res := d.lose("b", second(1), drop); !slices.Equal(res.Dropped, []Move{drop}) {
		t.Fatalf("%+v", res)
	}
	if got, want := d.brakes(), []SystemID{"ip", "least", "one"}; !slices.Equal(got, want) {
		t.Fatalf("stopped: %v, want %v", got, want)
	}
	if b := d.s.Brakes()[2]; b.At != second(1) || !slices.Equal(b.Lost, []MemberID{"a", "b"}) {
		t.Fatalf("%+v", b)
	}
	if e := d.journal(KindBraked); e.Key.System != "one" || e.Reason != "a, b, of 3 members that serve it, were lost within 10s: nothing of it is moved until somebody cleans up" {
		t.Fatalf("%+v", e)
	}
	first := d.move(oneY, "c")
	if res := d.do(Assign{Moves: []Move{first, drop}}); len(res.Dropped) != 2 {
		t.Fatalf("%+v", res)
	}
	d.wantOwner(oneX, "b", token)
	if !d.s.Braked(oneX) || !d.s.Braked(oneY) {
		t.Fatal("not braked")
	}
	if back := read(t, snapshot(t, d.s)); !bytes.Equal(snapshot(t, back), snapshot(t, d.s)) || !back.Braked(oneX) {
		t.Fatal("the snapshot forgets it")
	}
	// They come back: it is still for somebody to say.
	d.must(d.registration("a"))
	d.must(d.registration("b"))
	d.must(Cleanup{System: "one", Item: "x", At: second(2)})
	if !d.s.Braked(oneX) {
		t.Fatal("ended for one item")
	}
	d.must(Cleanup{System: "one", At: second(2)})
	if got, want := d.brakes(), []SystemID{"ip", "least"}; !slices.Equal(got, want) {
		t.Fatalf("stopped: %v, want %v", got, want)
	}
	d.give("c", oneX)
	d.must(d.respec(func(s *Spec) {
		without("ip")(s)
		on("least", func(s *System) { s.NoBrake = true })(s)
	}))
	if len(d.brakes()) != 0 {
		t.Fatalf("stopped: %v", d.brakes())
	}
}

func (d *driver) cause(k Key, to MemberID, c Cause, at int64) {
	d.t.Helper()
	m := d.move(k, to)
	m.Cause = c
	d.must(Assign{Moves: []Move{m}, At: at})
}

func (d *driver) fails(k Key, at int64) {
	d.t.Helper()
	slot := d.slot(k)
	d.must(Report{Member: slot.Owner, Epoch: d.epoch(slot.Owner), Failed: []Failure{{Key: k, Token: slot.Token, Err: "exit status 1"}}, At: at})
}

// An item that fails where it was just moved to for that stays there.
func TestBrakeWhenItFailsAgain(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spec  func(*System)
		do    func(d *driver)
		stops bool
	}{
		{"at once", nil, func(d *driver) { d.cause(oneX, "b", CauseFailed, second(1)); d.fails(oneX, second(2)) }, true},
		{"at the end of the time", nil, func(d *driver) { d.cause(oneX, "b", CauseFailed, second(1)); d.fails(oneX, second(181)) }, true},
		{"later", nil, func(d *driver) { d.cause(oneX, "b", CauseFailed, second(1)); d.fails(oneX, second(182)) }, false},
		{"moved for something else", nil, func(d *driver) { d.cause(oneX, "b", CauseHome, second(1)); d.fails(oneX, second(2)) }, false},
		{"a machine that cannot hold it", nil, func(d *driver) {
			d.cause(oneX, "b", CauseFailed, second(1))
			d.must(Report{Member: "b", Epoch: d.epoch("b"), Failed: []Failure{{Key: oneX, Token: d.slot(oneX).Token, Err: "no link", Unfit: true}}, At: second(2)})
		}, false},
		{"after one that could not hold it", nil, func(d *driver) { d.cause(oneX, "b", CauseUnfit, second(1)); d.fails(oneX, second(2)) }, false},
		{"an older owner", nil, func(d *driver) {
			d.cause(oneX, "b", CauseFailed, second(1))
			d.must(Report{Member: "a", Epoch: d.epoch("a"), Failed: []Failure{{Key: oneX, Token: d.slot(oneX).Outstanding[0].Token}}, At: second(2)})
		}, false},
		{"without brakes", func(s *System) { s.NoBrake = true }, func(d *driver) { d.cause(oneX, "b", CauseFailed, second(1)); d.fails(oneX, second(2)) }, false},
		{"after somebody cleaned up", nil, func(d *driver) {
			d.cause(oneX, "b", CauseFailed, second(1))
			d.must(Cleanup{At: second(1)})
			d.fails(oneX, second(2))
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := founded(t)
			if tc.spec != nil {
				d = founded(t, on("one", tc.spec))
			}
			d.give("a", oneX)
			d.fails(oneX, second(0))
			tc.do(d)
			if d.s.Braked(oneX) != tc.stops || d.slot(oneX).Braked != tc.stops {
				t.Fatalf("%+v", d.slot(oneX))
			}
			if n := len(d.s.BrakedSlots()); (n == 1) != tc.stops {
				t.Fatalf("%d slots are braked", n)
			}
			if !tc.stops {
				return
			}
			if e := d.journal(KindBraked); e.Key != oneX || e.Member != "b" || e.Reason != "it failed on a and again on b: it stays until somebody cleans up" {
				t.Fatalf("%+v", e)
			}
			m := d.move(oneX, "c")
			if res := d.do(Assign{Moves: []Move{m}}); len(res.Dropped) != 1 {
				t.Fatalf("%+v", res)
			}
			if back := read(t, snapshot(t, d.s)); !back.Braked(oneX) || Check(back) != nil {
				t.Fatal("the snapshot forgets it")
			}
			d.must(Cleanup{System: "one", Item: "x", At: second(4)})
			if d.s.Braked(oneX) || len(d.slot(oneX).Moved) > 0 {
				t.Fatalf("%+v", d.slot(oneX))
			}
			d.give("c", oneX)
		})
	}
}

// A braked item is gone with the configuration's item, and free once there is no brake.
func TestBrakedItemAndConfiguration(t *testing.T) {
	stopped := func() *driver {
		d := founded(t)
		d.give("a", oneX)
		d.cause(oneX, "b", CauseFailed, second(1))
		d.fails(oneX, second(2))
		return d
	}
	d := stopped()
	d.must(d.respec(on("one", only(Item{ID: "y"}))))
	if slot := d.slot(oneX); slot.Braked || slot.Moved != nil || len(d.s.BrakedSlots()) != 0 {
		t.Fatalf("%+v", slot)
	}
	d = stopped()
	d.must(d.respec(on("one", func(s *System) { s.NoBrake = true })))
	if slot := d.slot(oneX); slot.Braked || len(slot.Moved) != 1 {
		t.Fatalf("%+v", slot)
	}
}

func TestMovedOfLate(t *testing.T) {
	d := founded(t)
	d.cause(oneX, "a", CauseFirst, second(0))
	want := func(times ...int) {
		t.Helper()
		var all []int64
		for _, n := range times {
			all = append(all, second(n))
		}
		if got := d.slot(oneX).Moved; !slices.Equal(got, all) {
			t.Fatalf("moved at %v, want %v", got, all)
		}
	}
	want()
	d.cause(oneX, "b", CauseBalance, second(1))
	d.cause(oneX, "a", CauseDown, second(2))
	want(1)
	d.cause(oneX, "b", CauseHome, second(100))
	want(1, 100)
	d.cause(oneX, "a", CauseLeaving, second(182)) // the first is too long ago by now
	want(100)
	d.cause(oneX, "b", CauseRule, second(183))
	d.cause(oneX, "a", CauseFailed, second(150)) // another leader's clock
	want(100, 183, 183)
	d.cause(oneX, "b", CauseBalance, second(184)) // of more only the newest count
	want(183, 183, 184)
	if slot := d.slot(oneX); slot.Cause != CauseBalance {
		t.Fatalf("%+v", slot)
	}
	// A new token without a move has no cause, and is none.
	d.must(d.moved("b"))
	want(183, 183, 184)
	if slot := d.slot(oneX); slot.Cause != CauseNone || slot.Token != Token(d.at) {
		t.Fatalf("%+v", slot)
	}
}

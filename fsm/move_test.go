package fsm

import (
	"slices"
	"testing"
)

func TestMove(t *testing.T) {
	d := founded(t)
	first := d.move(oneX, "a")
	first.Home = "b"
	d.must(Assign{Moves: []Move{first}, At: 77})
	t1 := Token(d.at)
	slot := d.slot(oneX)
	if slot.Owner != "a" || slot.Home != "b" || slot.Token != t1 || slot.Previous != "" || !slot.AtMostOne || slot.Gated || slot.Reason != "test" {
		t.Fatalf("%+v", slot)
	}
	d.acquire(oneX)
	t2 := d.give("b", oneX)
	slot = d.slot(oneX)
	if slot.Owner != "b" || slot.Previous != "a" || slot.Acquired != 0 || slot.Home != "b" {
		t.Fatalf("%+v", slot)
	}
	d.wantSet(oneX, "a@%d/%d", d.epoch("a"), t1)
	d.give("a", oneX)
	d.wantSet(oneX, "a@%d/%d b@%d/%d", d.epoch("a"), t1, d.epoch("b"), t2)
}

// An entry names the newest epoch that the old owner had, and its host.
func TestMoveNamesTheNewestEpoch(t *testing.T) {
	d := founded(t)
	token := d.give("a", oneX)
	d.must(d.registration("a"))
	d.give("b", oneX)
	d.wantSet(oneX, "a@%d/%d", d.epoch("a"), token)
	if e := d.slot(oneX).Outstanding[0]; e.Host != hostOf("a") {
		t.Fatalf("%+v", e)
	}
}

func TestMoveKeepsAddresses(t *testing.T) {
	d := founded(t)
	d.give("a", ipX)
	d.give("b", ipX)
	if e := d.slot(ipX).Outstanding[0]; !slices.Equal(e.Addrs, []string{"198.51.100.1/24"}) || !e.Gated {
		t.Fatalf("%+v", e)
	}
}

func TestMoveIsDroppedSingly(t *testing.T) {
	for _, tc := range []struct {
		name string
		move func(d *driver) Move
	}{
		{"another token", func(d *driver) Move { return Move{Key: oneX, Was: d.slot(oneX).Token + 1, To: "b"} }},
		{"no token", func(*driver) Move { return Move{Key: oneX, To: "b"} }},
		{"a token where there is no slot", func(*driver) Move { return Move{Key: leastX, Was: 3, To: "b"} }},
		{"to one that never registered", func(d *driver) Move { return d.move(oneX, "z") }},
		{"an unknown item", func(d *driver) Move { return d.move(Key{System: "one", Item: "z"}, "b") }},
		{"an unknown system", func(d *driver) Move { return d.move(Key{System: "two", Item: "x"}, "b") }},
		{"a home for an unknown item", func(*driver) Move { return Move{Key: Key{System: "one", Item: "z"}, Home: "b"} }},
		{"a replicated item", func(d *driver) Move { return d.move(allX, "b") }},
		{"a rank that is not there", func(d *driver) Move { return d.move(Key{System: "one", Item: "x", Rank: 1}, "b") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := founded(t)
			d.give("a", oneX)
			m := tc.move(d)
			res := d.do(Assign{Moves: []Move{m, d.move(oneY, "c")}})
			if !res.Applied || !slices.Equal(res.Dropped, []Move{m}) {
				t.Fatalf("%+v", res)
			}
			d.wantOwner(oneX, "a", Token(d.at)-1)
			d.wantOwner(oneY, "c", Token(d.at))
		})
	}
}

func TestMoveTwiceInOneCommand(t *testing.T) {
	d := founded(t)
	m := d.move(oneX, "a")
	n := d.move(oneX, "b")
	res := d.do(Assign{Moves: []Move{m, n}})
	if !slices.Equal(res.Dropped, []Move{n}) {
		t.Fatalf("%+v", res)
	}
	// Even a proposer that guesses the new token leaves no entry: nobody saw it.
	m, n = d.move(oneX, "b"), d.move(oneX, "c")
	n.Was = Token(d.at + 1)
	d.must(Assign{Moves: []Move{m, n}})
	d.wantOwner(oneX, "c", Token(d.at))
	d.wantSet(oneX, "a@%d/%d", d.epoch("a"), d.at-1)
}

func TestMoveToTheOwnerChangesTheHome(t *testing.T) {
	d := founded(t)
	token := d.give("a", oneX)
	d.acquire(oneX)
	m := d.move(oneX, "a")
	m.Home = "c"
	d.must(Assign{Moves: []Move{m}})
	d.wantOwner(oneX, "a", token)
	if slot := d.slot(oneX); slot.Home != "c" || slot.Acquired == 0 || len(slot.Outstanding) != 0 {
		t.Fatalf("%+v", slot)
	}
	// A home alone, for an item that nobody has.
	d.must(Assign{Moves: []Move{{Key: leastX, Home: "b"}}})
	if slot := d.slot(leastX); slot.Home != "b" || slot.Owner != "" || slot.Token != 0 {
		t.Fatalf("%+v", slot)
	}
	d.give("b", leastX)
}

func TestMoveToNobody(t *testing.T) {
	d := founded(t)
	token := d.give("a", ipX)
	d.give("", ipX)
	d.wantOwner(ipX, "", Token(d.at))
	d.wantSet(ipX, "a@%d/%d+gated", d.epoch("a"), token)
	if slot := d.slot(ipX); slot.Gated || !slot.AtMostOne || slot.Previous != "a" {
		t.Fatalf("%+v", slot)
	}
	d.give("b", ipX)
	if slot := d.slot(ipX); slot.Previous != "a" {
		t.Fatalf("the last holder was forgotten: %+v", slot)
	}
}

func TestAssignBounded(t *testing.T) {
	d := founded(t)
	d.refuses(Assign{Moves: make([]Move, MaxMoves+1)}, "4096 is the most")
	d.refuses(Down{Member: "a", Epoch: d.epoch("a"), Moves: make([]Move, MaxMoves+1)}, "4096 is the most")
	d.do(Assign{Moves: make([]Move, MaxMoves)})
}

// Two States may come of one: neither writes into what they share.
func TestStatesBranch(t *testing.T) {
	d := founded(t)
	d.give("b", oneX)
	for range 8 { // sets of any length, so of any capacity
		base, at := d.s, d.at
		d.give("a", oneX)
		first, text := d.s, textOf(d.s)
		d.s, d.at = base, at
		d.must(d.registration("b"))
		d.give("a", oneX)
		if textOf(first) != text {
			t.Fatalf("one State changed when another came of the same:\n%s\n\nwas\n%s", textOf(first), text)
		}
		d.give("b", oneX)
	}
}

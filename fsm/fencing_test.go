package fsm

import (
	"slices"
	"testing"
	"time"
)

// Who is to be switched off, and for what.
func TestFencings(t *testing.T) {
	one := func(member MemberID, items ...ItemID) Fencing {
		return Fencing{System: "one", Member: member, Host: hostOf(member), Command: "fence", Timeout: time.Minute, Config: []byte(`{"x":1}`), Items: items}
	}
	give := func(d *driver) { d.give("a", oneX, oneY); d.acquire(oneX, oneY) }
	fail := func(d *driver) { d.down("a", d.move(oneX, "b"), d.move(oneY, "c")) }
	for _, tc := range []struct {
		name string
		edit func(*Spec)
		run  []func(d *driver)
		want []Fencing // their epochs are the members' newest
	}{
		{"nobody is down", nil, []func(*driver){give}, nil},
		{"moved, and its epoch is up: it releases", nil, []func(*driver){give, func(d *driver) { d.give("b", oneX) }}, nil},
		{"down", nil, []func(*driver){give, fail}, []Fencing{one("a", "x", "y")}},
		{"down, and everything is its own still", nil, []func(*driver){give, func(d *driver) { d.down("a") }}, nil},
		{"without a fence", func(s *Spec) { on("one", func(s *System) { s.Fence, s.FenceTimeout = "", 0 })(s) }, []func(*driver){give, fail}, nil},
		{"beside a bet", on("one", func(s *System) { s.TakeoverAfter = time.Minute }), []func(*driver){give, fail}, []Fencing{one("a", "x", "y")}},
		{"it has said goodbye", nil, []func(*driver){give, func(d *driver) {
			g := d.bye("a", oneY)
			d.must(Down{Member: "a", Epoch: d.epoch("a"), Goodbye: &g, Moves: []Move{d.move(oneX, "b"), d.move(oneY, "c")}})
		}}, []Fencing{one("a", "y")}},
		{"its owner has acquired it after all", nil, []func(*driver){give, fail, func(d *driver) { d.acquire(oneX) }}, []Fencing{one("a", "y")}},
		{"its owner has acquired it, and has another epoch by now", nil, []func(*driver){give, fail, func(d *driver) {
			d.acquire(oneX)
			d.must(d.registration("b"))
		}}, []Fencing{one("a", "x", "y")}},
		{"forced", nil, []func(*driver){give, fail, func(d *driver) { d.must(Force{Claims: []Claim{d.claim("a", oneX)}}) }}, []Fencing{one("a", "y")}},
		{"fenced", nil, []func(*driver){give, fail, func(d *driver) {
			d.must(Fence{Member: "a", Host: hostOf("a"), UpTo: d.epoch("a")})
		}}, nil},
		{"it runs again", nil, []func(*driver){give, fail, func(d *driver) { d.must(d.registration("a")) }}, nil},
		{"it runs on another machine: the name is that one's", nil, []func(*driver){give, fail, func(d *driver) {
			d.must(d.moved("a"))
			d.must(Settle{Member: "a", Epoch: d.epoch("a")})
		}}, nil},
		{"down on another machine since: the name is that one's", nil, []func(*driver){give, fail, func(d *driver) {
			d.must(d.moved("a"))
			d.down("a")
		}}, nil},
		{"the owner is down too", nil, []func(*driver){give, fail, func(d *driver) { d.down("b") }}, []Fencing{one("a", "y")}},
		{"nobody owns it", nil, []func(*driver){give, fail, func(d *driver) { d.give("", oneX) }}, []Fencing{one("a", "y")}},
		{"two members, one after the other", nil, []func(*driver){give, fail, func(d *driver) {
			d.down("b", d.move(oneX, "c"))
		}}, []Fencing{one("a", "x", "y"), one("b", "x")}},
		{"under maintenance", nil, []func(*driver){give, fail, func(d *driver) { d.must(Maintain{System: "one", On: true}) }}, nil},
		{"two systems", on("ip", func(s *System) { fenced(s); s.IP = &IP{NoGate: true} }), []func(*driver){give, func(d *driver) {
			d.give("a", ipX)
			d.give("c", leastX)
			d.down("a", d.move(oneX, "b"), d.move(ipX, "b"))
			d.down("c", d.move(leastX, "b"))
		}}, []Fencing{
			{System: "ip", Member: "a", Host: hostOf("a"), Command: "fence", Timeout: time.Minute, Items: []ItemID{"x"}},
			one("a", "x"),
		}},
		{"held as at-least-one", on("one", func(s *System) { s.Guarantee, s.Fence, s.FenceTimeout = AtLeastOne, "", 0 }), []func(*driver){give, func(d *driver) {
			d.give("b", oneX)
			d.must(d.respec(on("one", fenced)))
			d.down("a")
		}}, []Fencing{one("a", "x")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			edits := []func(*Spec){on("one", fenced)}
			if tc.edit != nil {
				edits = append(edits, tc.edit)
			}
			d := founded(t, edits...)
			for _, step := range tc.run {
				step(d)
			}
			var want []string
			for _, f := range tc.want {
				f.UpTo = d.epoch(f.Member)
				want = append(want, fencingText(f))
			}
			if got := fencingTexts(d.s); !slices.Equal(got, want) {
				t.Fatalf("got\n%q\nwant\n%q", got, want)
			}
		})
	}
}

// What Fencings says makes the owners go on, once it is agreed that it was done.
func TestFencingIsAnswered(t *testing.T) {
	d := founded(t, on("one", fenced))
	d.give("a", oneX, oneY)
	d.down("a", d.move(oneX, "b"))
	f := d.s.Fencings()[0]
	d.must(Fence{Member: f.Member, Host: f.Host, UpTo: f.UpTo})
	if len(d.s.Fencings()) != 0 {
		t.Fatalf("%+v", d.s.Fencings())
	}
	if got := d.sliceOf("b"); got != "all/x, one/x" {
		t.Fatal(got)
	}
	d.give("c", oneY) // nothing is outstanding for what it owned either
	d.wantSet(oneY, "")
}

// Nobody pays for a fence that is not there.
func BenchmarkFencingsWithout(b *testing.B) {
	d := founded(b)
	d.give("a", oneX, oneY, ipX)
	d.down("a", d.move(oneX, "b"))
	for b.Loop() {
		if d.s.Fencings() != nil {
			b.Fatal()
		}
	}
}

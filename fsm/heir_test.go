package fsm

import "testing"

func TestHasHeir(t *testing.T) {
	d := founded(t, func(s *Spec) {
		server := s.Servers["c"]
		server.Systems = []SystemID{"least"}
		s.Servers["c"] = server
	})
	want := func(has bool, why string) {
		t.Helper()
		part, err := New().WithPart(d.s.Part("a", d.at))
		if err != nil {
			t.Fatal(err)
		}
		for what, s := range map[string]*State{"the whole": d.s, "a part": part} {
			if s.HasHeir("a", "one") != has {
				t.Errorf("by %s: %s", what, why)
			}
			if !s.HasHeir("a", "least") {
				t.Errorf("by %s: c could take it", what)
			}
		}
		if part.HasHeir("b", "least") {
			t.Error("a's part knows something of b")
		}
	}
	want(true, "b could take it")
	d.must(Leave{Member: "b", Epoch: d.epoch("b")})
	want(false, "b is leaving, c does not serve it")
	d.must(d.moved("b"))
	want(true, "b is back")
	d.down("b")
	want(false, "b is down")
}

// Who may not hold an item is no heir, and each rank takes one more.
func TestHeirOf(t *testing.T) {
	d := founded(t, replicas(2), func(s *Spec) {
		on("least", claimable)(s)
		on("ip", func(s *System) { s.Select = []Match{{Tag: "disk", Values: []string{"ssd"}}} })(s)
		on("one", func(s *System) { s.NoBrake = true })(s)
		b := s.Servers["b"]
		b.Tags = []Tag{{"disk", "ssd"}}
		s.Servers["b"] = b
	})
	want := func(k Key, has bool, why string) {
		t.Helper()
		part, err := New().WithPart(d.s.Part("a", d.at))
		if err != nil {
			t.Fatal(err)
		}
		if d.s.HeirOf("a", k) != has || part.HeirOf("a", k) != has {
			t.Errorf("%v: %s", k, why)
		}
	}
	want(ipX, true, "b is selected")
	want(oneX, true, "b and c")
	want(rank(oneX, 1), true, "b and c")
	want(leastX, false, "no program has claimed it")
	old, was := d.s, d.at
	d.must(Report{Member: "c", Epoch: d.epoch("c"), Programs: &Programs{Systems: []SystemID{"least"}}})
	want(leastX, true, "c's program has claimed it")
	want(rank(leastX, 1), false, "nobody else's has")
	if p, changed := d.s.PartSince("a", d.at, old, was); !changed || p.Head == nil {
		t.Error("a is not told that it has an heir")
	}
	d.lose("b", second(0))
	want(ipX, false, "c is not selected")
	want(oneX, true, "c")
	want(rank(oneX, 1), false, "c has the other rank")
	d.lose("c", second(1))
	d.must(d.registration("c"))
	d.must(Report{Member: "c", Epoch: d.epoch("c"), Programs: &Programs{Systems: []SystemID{"least"}}})
	want(oneX, true, "c is back")
	old, was = d.s, d.at
	want(leastX, false, "it is stopped")
	d.must(Cleanup{})
	want(leastX, true, "it goes on")
	if p, changed := d.s.PartSince("a", d.at, old, was); !changed || p.Head == nil {
		t.Error("a is not told that it goes on")
	}
}

// Two that come at once: each alone would change nothing.
func TestHeirsOfTwoAtOnce(t *testing.T) {
	d := founded(t)
	d.down("b")
	d.down("c")
	old, was := d.s, d.at
	d.must(d.registration("b"))
	d.must(d.registration("c"))
	if p, changed := d.s.PartSince("a", d.at, old, was); !changed || p.Head == nil || len(p.Head.Heirs) == 0 {
		t.Fatalf("a is not told that it has heirs: %+v", p)
	}
}

func TestWaitsForCleanup(t *testing.T) {
	d := founded(t)
	d.give("c", oneX)
	d.lose("a", second(0))
	d.lose("b", second(1))
	d.must(SetSpec{Was: d.s.Spec().Version, Spec: d.s.Spec().WithRemoving("c", true)})
	if got := d.s.Waits("c"); len(got) == 0 || got[0] != "it still owns one/x, and nothing of one moves until somebody cleans up: flip cleanup one" {
		t.Fatalf("%q", got)
	}
}

package fsm

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func address(a string) func(*SetSpec) {
	return func(s *SetSpec) { on("ip", only(Item{ID: "x", Addrs: []string{a}}))(&s.Spec) }
}

func ipWith(ip IP) func(*SetSpec) {
	return func(s *SetSpec) { on("ip", func(s *System) { s.IP = &ip })(&s.Spec) }
}

func TestSetSpecRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(s *SetSpec)
		why  string
	}{
		{"another version", func(s *SetSpec) { s.Was++ }, "changed since: it is at version 1"},
		{"founding again", func(s *SetSpec) { s.Was, s.Cluster = 0, "c2" }, "changed since"},
		{"another cluster", func(s *SetSpec) { s.Cluster = "c2" }, "this is cluster c1"},
		{"an item twice", func(s *SetSpec) { on("one", only(Item{ID: "x"}, Item{ID: "x"}))(&s.Spec) }, `item "x" is there twice`},
		{"an item without id", func(s *SetSpec) { on("one", only(Item{}))(&s.Spec) }, "has no id"},
		{"a system without name", func(s *SetSpec) { s.Spec.Systems[""] = s.Spec.Systems["one"] }, "has no name"},
		{"a server without name", func(s *SetSpec) { s.Spec.Servers[""] = Server{} }, "has no name"},
		{"no guarantee", func(s *SetSpec) { on("one", func(s *System) { s.Guarantee = 0 })(&s.Spec) }, "guarantee is unknown"},
		{"no type", func(s *SetSpec) { on("one", func(s *System) { s.Split = 0 })(&s.Spec) }, "type is unknown"},
		{"an unknown type", func(s *SetSpec) { on("one", func(s *System) { s.Split = 9 })(&s.Spec) }, "type is unknown"},
		{"no action", func(s *SetSpec) { on("one", func(s *System) { s.Action = 0 })(&s.Spec) }, "no action"},
		{"at-most-one on every member", func(s *SetSpec) { on("one", func(s *System) { s.Split = Replicate })(&s.Spec) }, "cannot be promised"},
		{"one address for two items", func(s *SetSpec) {
			on("ip", only(Item{ID: "x", Addrs: []string{"198.51.100.1/24"}}, Item{ID: "y", Addrs: []string{"198.51.100.1/32"}}))(&s.Spec)
		}, "more than one item"},
		{"one address twice", func(s *SetSpec) {
			on("ip", only(Item{ID: "x", Addrs: []string{"198.51.100.1/24", "198.51.100.1/24"}}))(&s.Spec)
		}, "more than one item"},
		{"one address in two systems", func(s *SetSpec) {
			on("least", func(s *System) { plumbed(s); s.Items[0].Addrs = []string{"198.51.100.2/24"} })(&s.Spec)
		}, "more than one item"},
		{"an unknown action", func(s *SetSpec) { on("one", func(s *System) { s.Action = 9 })(&s.Spec) }, "action is unknown"},
		{"addresses and no word on how", func(s *SetSpec) { on("ip", func(s *System) { s.IP = nil })(&s.Spec) }, "of a system with action ip"},
		{"hooks with a word on addresses", func(s *SetSpec) { on("one", func(s *System) { s.IP = &IP{} })(&s.Spec) }, "of a system with action ip"},
		{"hooks with addresses", func(s *SetSpec) { on("one", only(Item{ID: "x", Addrs: []string{"10.0.0.1/32"}}))(&s.Spec) }, "only the ip action plumbs them"},
		{"hooks with an interface", func(s *SetSpec) { on("one", only(Item{ID: "x", Interface: "eth0"}))(&s.Spec) }, "only the ip action plumbs them"},
		{"no address", func(s *SetSpec) { on("ip", only(Item{ID: "x"}))(&s.Spec) }, "has no address"},
		{"no bits", address("10.0.0.1"), "no address with its bits"},
		{"no bits at all", address("10.0.0.1/0"), "no address with its bits"},
		{"too many bits", address("10.0.0.1/33"), "no address with its bits"},
		{"a name", address("web/24"), "no address with its bits"},
		{"nothing", address(""), "no address with its bits"},
		{"another way to write it", address("2001:DB8::1/64"), "no address with its bits"},
		{"a mapped address", address("::ffff:10.0.0.1/128"), "no address with its bits"},
		{"a zone", address("fe80::1%eth0/64"), "no address with its bits"},
		{"a takeover time of at-least-one hooks", func(s *SetSpec) { on("least", func(s *System) { s.TakeoverAfter = time.Minute })(&s.Spec) }, "only an at-most-one system has"},
		{"a fence of an at-least-one system", func(s *SetSpec) { on("least", fenced)(&s.Spec) }, "only an at-most-one system is fenced"},
		{"a fence without a limit", func(s *SetSpec) { on("one", func(s *System) { s.Fence = "f" })(&s.Spec) }, "a fence has a time limit"},
		{"a limit without a fence", func(s *SetSpec) { on("one", func(s *System) { s.FenceTimeout = 1 })(&s.Spec) }, "a fence has a time limit"},
		{"a takeover time at-least-one", func(s *SetSpec) {
			on("ip", func(s *System) { s.Guarantee, s.TakeoverAfter = AtLeastOne, time.Minute })(&s.Spec)
		}, "only an at-most-one system has"},
		{"a takeover time in the past", func(s *SetSpec) { on("ip", func(s *System) { s.TakeoverAfter = -2 })(&s.Spec) }, "negative"},
		{"nothing is tracked", ipWith(IP{Track: []Track{{}}}), "an interface or a route"},
		{"both are tracked", ipWith(IP{Track: []Track{{Interface: "eth0", Route: "0.0.0.0/0"}}}), "an interface or a route"},
		{"a route that is none", ipWith(IP{Track: []Track{{Route: "10.0.0.1/24"}}}), "is no route"},
		{"nobody is told", ipWith(IP{Notify: []Notify{{Interface: "eth0"}}}), "the ARP cache or hosts"},
		{"both are told", ipWith(IP{Notify: []Notify{{ARPCache: true, Hosts: "10.0.0.1"}}}), "the ARP cache or hosts"},
		{"a host that is none", ipWith(IP{Notify: []Notify{{Hosts: "web"}}}), "neither an address nor a prefix"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := founded(t)
			c := d.respec(func(*Spec) {})
			tc.edit(&c)
			d.refuses(c, tc.why)
		})
	}
	t.Run("founding without an id", func(t *testing.T) {
		newDriver(t).refuses(SetSpec{Spec: testSpec()}, "needs a cluster id")
	})
	t.Run("twice under one index", func(t *testing.T) {
		d := founded(t)
		first := d.respec(func(*Spec) {})
		second := first
		second.Was = d.at + 1
		res := d.must(Batch{Commands: [][]byte{Encode(first), Encode(second)}})
		if !res.Each[0].Applied || res.Each[1].Applied {
			t.Fatalf("%+v", res)
		}
	})
}

func TestFounding(t *testing.T) {
	d := newDriver(t)
	spec := testSpec()
	on("one", only(Item{ID: "y"}, Item{ID: "x"}))(&spec)
	spec.Servers["a"] = Server{Systems: []SystemID{"one", "all"}}
	d.must(SetSpec{Cluster: "c1", Spec: spec, At: 5})
	got := d.s.Spec()
	if d.s.Cluster() != "c1" || got.Version != 1 || d.s.MaxTTL() != 300*time.Millisecond {
		t.Fatalf("%q, %d, %v", d.s.Cluster(), got.Version, d.s.MaxTTL())
	}
	if one := got.Systems["one"]; one.Name != "one" || one.Items[0].ID != "x" {
		t.Fatalf("not in order: %+v", one)
	}
	if a := got.Servers["a"]; a.Name != "a" || !slices.Equal(a.Systems, []SystemID{"all", "one"}) {
		t.Fatalf("not in order: %+v", a)
	}
}

// A Spec in a State is that State's: neither what the proposer holds nor a later
// command reaches into it.
func TestSpecIsNeverChanged(t *testing.T) {
	d := founded(t)
	was := d.s.Spec()
	before := fmt.Sprintf("%+v", *was)
	c := d.respec(on("one", only(Item{ID: "z"})))
	raw := Encode(c)
	next, _, err := d.s.Apply(9, raw)
	if err != nil {
		t.Fatal(err)
	}
	clear(raw)
	c.Spec.Systems["one"].Items[0].ID = "altered"
	if fmt.Sprintf("%+v", *was) != before {
		t.Fatal("the former Spec changed")
	}
	if got := next.Spec().Systems["one"].Items[0].ID; got != "z" {
		t.Fatalf("the proposer's memory is in the State: %q", got)
	}
	if next.Spec().Version != 9 {
		t.Fatalf("version %d", next.Spec().Version)
	}
}

// L9 "Kind": what is concerned gets a new token, the owner stays and is
// outstanding with the old one, as what it was acquired as.
func TestKindChange(t *testing.T) {
	for _, tc := range []struct {
		name   string
		key    Key
		edit   func(*Spec)
		reason string // "" when the kind stays
		entry  string // what follows member, epoch and token
	}{
		{"guarantee to at-least-one", oneX, on("one", func(s *System) { s.Guarantee = AtLeastOne }), "the guarantee changed to at-least-one", ""},
		{"guarantee to at-most-one", leastX, on("least", func(s *System) { s.Guarantee = AtMostOne }), "the guarantee changed to at-most-one", "+least"},
		{"gated to hooks", ipX, on("ip", hooked), "the action changed to hooks", "+gated"},
		{"hooks to gated", oneX, on("one", plumbed), "the action changed to ip", ""},
		{"the gate goes", ipX, on("ip", func(s *System) { s.IP = &IP{NoGate: true} }), "the kernel gate was turned off", "+gated"},
		{"how they are plumbed", ipX, on("ip", func(s *System) { s.IP = &IP{Interface: "eth1", NoProbe: true}; s.TakeoverAfter = time.Minute }), "", ""},
		{"the interface of an item", ipX, on("ip", func(s *System) { s.Items[0].Interface = "eth1" }), "", ""},
		{"alive", oneX, on("one", func(s *System) { s.Alive = "other" }), "the hooks changed", ""},
		{"down", oneX, on("one", func(s *System) { s.Down = "other" }), "the hooks changed", ""},
		{"addresses", ipX, on("ip", only(Item{ID: "x", Addrs: []string{"198.51.100.9/32"}})), "the addresses changed", "+gated"},
		{"the bits of an address", ipX, on("ip", func(s *System) { s.Items[0].Addrs = []string{"198.51.100.1/25"} }), "the addresses changed", "+gated"},
		{"config", oneX, on("one", func(s *System) { s.Config = []byte("{}") }), "", ""},
		{"timeouts", oneX, on("one", func(s *System) { s.StopTimeout = time.Minute }), "", ""},
		{"shard to choose_one", oneX, on("one", func(s *System) { s.Split = ChooseOne }), "", ""},
		{"another system", oneX, on("least", func(s *System) { s.Guarantee = AtMostOne }), "", ""},
		{"another item", ipX, on("ip", only(Item{ID: "x", Addrs: []string{"198.51.100.1/24"}}, Item{ID: "y", Addrs: []string{"198.51.100.7/32"}})), "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := founded(t)
			old := d.give("a", oneX, leastX, ipX)
			d.acquire(oneX, leastX, ipX)
			d.must(d.respec(tc.edit))
			if tc.reason == "" {
				d.wantOwner(tc.key, "a", old)
				d.wantSet(tc.key, "")
				return
			}
			d.wantOwner(tc.key, "a", Token(d.at))
			d.wantSet(tc.key, "a@%d/%d%s", d.epoch("a"), old, tc.entry)
			if slot := d.slot(tc.key); slot.Acquired != 0 || slot.Reason != tc.reason {
				t.Fatalf("%+v", slot)
			}
		})
	}
}

// An entry remembers how to let go of what it was acquired under.
func TestEntryKeepsItsRecipe(t *testing.T) {
	d := founded(t)
	d.give("a", oneX, oneY)
	d.give("b", oneY) // an entry before the change
	d.must(d.respec(on("one", func(s *System) { s.Down, s.Config = "other", []byte(`{"x":2}`) })))
	for _, k := range []Key{oneX, oneY} {
		r := d.slot(k).Outstanding[0].Recipe
		if r == nil || r.Down != "down" || string(r.Config) != `{"x":1}` || r.StopTimeout != time.Second || r.Action != ActionHooks {
			t.Fatalf("%v: %+v", k, r)
		}
	}
	d.must(d.respec(without("one"))) // not overwritten by the next change
	if r := d.slot(oneX).Outstanding[0].Recipe; r.Down != "down" {
		t.Fatalf("%+v", r)
	}
	owe := d.s.Slice("a", d.epoch("a"), "machine-a", d.at).Owe
	if len(owe) != 3 || owe[0].Job.Down != "down" || owe[1].Job.Down != "other" || owe[0].Job.StopTimeout != time.Second {
		t.Fatalf("%+v", owe)
	}
}

func TestRemovedItemKeepsItsSet(t *testing.T) {
	d := founded(t)
	m := d.move(oneX, "a")
	m.Home = "a"
	d.must(Assign{Moves: []Move{m}})
	t1 := Token(d.at)
	d.must(Report{Member: "a", Epoch: d.epoch("a"), Failed: []Failure{{Key: oneX, Token: t1, Err: "x"}}})
	d.must(d.respec(on("one", only(Item{ID: "y"}))))
	d.wantOwner(oneX, "", Token(d.at))
	d.wantSet(oneX, "a@%d/%d", d.epoch("a"), t1)
	if slot := d.slot(oneX); slot.Home != "" || slot.Reason != "removed from the configuration" || slot.Previous != "a" {
		t.Fatalf("%+v", slot)
	}
	if _, ok := d.s.FailureOf("a", oneX); ok {
		t.Fatal("the failure outlives the item")
	}
	d.must(d.respec(func(*Spec) {}))
	d.give("b", oneX)
	d.wantSet(oneX, "a@%d/%d", d.epoch("a"), t1)
	if b := d.s.Slice("b", d.epoch("b"), "machine-b", d.at).Want[1].Blocked; len(b) != 1 || b[0].Member != "a" {
		t.Fatalf("%+v", b)
	}
}

// A slot of an item that is gone goes with its last entry, at once if it has none.
func TestSlotsOfRemovedItemsDisappear(t *testing.T) {
	d := founded(t)
	d.give("a", oneX, leastX)
	d.must(Assign{Moves: []Move{{Key: oneY, Home: "b"}}})
	d.must(d.respec(func(s *Spec) { delete(s.Systems, "one"); on("least", func(s *System) { s.Split = Nothing })(s) }))
	if _, ok := d.s.Slot(oneY); ok {
		t.Fatal("a home alone keeps no slot")
	}
	d.release("a", d.claim("a", oneX), d.claim("a", leastX))
	if d.s.Len() != 0 {
		t.Fatalf("%d slots", d.s.Len())
	}
	d.give("b") // an empty assignment changes nothing
}

// An address belongs to one item, and so long as anybody may hold it for another
// it may not be given to a new one.
func TestAddressesOfEntries(t *testing.T) {
	d := founded(t)
	d.give("a", ipX)
	moveAddr := d.respec(on("ip", only(Item{ID: "x", Addrs: []string{"198.51.100.9/32"}}, Item{ID: "y", Addrs: []string{"198.51.100.1/30"}})))
	d.refuses(moveAddr, "address 198.51.100.1 of ip/y: a may still hold it for ip/x")
	d.must(d.respec(on("ip", only(Item{ID: "y", Addrs: []string{"198.51.100.2/24"}}))))
	moveAddr.Was = d.s.Spec().Version
	d.refuses(moveAddr, "a may still hold it for ip/x")
	d.must(Force{Claims: []Claim{d.claim("a", ipX)}})
	d.refuses(moveAddr, "a may still hold it")
	d.release("a", d.claim("a", ipX))
	d.must(moveAddr)
}

// A replicated item has no slot. But who held one and need not any longer owes
// its `down`, and an at-most-one owner waits for that.
func TestReplicatedItems(t *testing.T) {
	toMostOne := on("all", func(s *System) { s.Split, s.Guarantee = Shard, AtMostOne })
	t.Run("become at-most-one", func(t *testing.T) {
		d := founded(t)
		d.must(d.respec(toMostOne))
		d.wantSet(allX, "a@%d/0+least b@%d/0+least c@%d/0+least", d.epoch("a"), d.epoch("b"), d.epoch("c"))
		d.give("b", allX)
		want := d.s.Slice("b", d.epoch("b"), "machine-b", d.at).Want
		if len(want) != 1 || len(want[0].Blocked) != 2 {
			t.Fatalf("%+v", want)
		}
		d.release("a", d.claim("a", allX))
		d.release("b", d.claim("b", allX))
		d.release("c", d.claim("c", allX))
		d.wantSet(allX, "")
	})
	t.Run("a member stops serving", func(t *testing.T) {
		d := founded(t)
		d.must(d.respec(func(s *Spec) { s.Servers["a"] = Server{} }))
		d.wantSet(allX, "a@%d/0+least", d.epoch("a"))
		if s := d.s.Slice("a", d.epoch("a"), "machine-a", d.at); len(s.Want) != 0 || len(s.Owe) != 1 {
			t.Fatalf("%+v", s)
		}
		d.must(d.respec(func(*Spec) {}))
		d.wantSet(allX, "")
		if d.s.Len() != 0 {
			t.Fatal("its slot stays")
		}
	})
	t.Run("an item goes", func(t *testing.T) {
		d := founded(t)
		d.must(d.respec(on("all", only(Item{ID: "z"}))))
		d.wantSet(allX, "a@%d/0+least b@%d/0+least c@%d/0+least", d.epoch("a"), d.epoch("b"), d.epoch("c"))
	})
	t.Run("a slot becomes replicated", func(t *testing.T) {
		d := founded(t)
		d.give("a", leastX)
		d.give("b", leastX)
		token := d.slot(leastX).Token
		d.must(d.moved("b"))
		d.must(d.respec(on("least", func(s *System) { s.Split = Replicate })))
		// Whoever serves it holds it now; only the machine that b left owes it.
		d.wantSet(leastX, "b@%d/%d+least", 3, token)
	})
	t.Run("a fenced machine holds none", func(t *testing.T) {
		d := founded(t)
		d.down("a")
		d.must(Fence{Member: "a", Host: hostOf("a"), UpTo: d.epoch("a")})
		d.must(d.respec(toMostOne))
		d.wantSet(allX, "b@%d/0+least c@%d/0+least", d.epoch("b"), d.epoch("c"))
	})
}

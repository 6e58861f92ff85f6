package fsm

import (
	"fmt"
	"slices"
	"testing"
)

func partitioned(n int) func(*System) {
	return func(s *System) {
		s.Partitions, s.Items = &Partitions{Count: n, Hash: FNV64a}, nil
		for i := range n {
			s.Items = append(s.Items, Item{ID: ItemID(fmt.Sprint(i))})
		}
	}
}

// What placement cannot work with is refused, with a reason.
func TestSpecRefusedForPlacement(t *testing.T) {
	one := func(edit func(*System)) func(*Spec) { return on("one", edit) }
	server := func(edit func(*Server)) func(*Spec) {
		return func(s *Spec) {
			a := s.Servers["a"]
			edit(&a)
			s.Servers["a"] = a
		}
	}
	for _, tc := range []struct {
		name string
		edit func(*Spec)
		why  string // "": it is not refused
	}{
		{"weight", server(func(s *Server) { s.Weight = -1 }), `server "a": its weight is not within 0 and 1000000`},
		{"too much weight", server(func(s *Server) { s.Weight = MaxWeight + 1 }), "its weight is not within"},
		{"capacity", server(func(s *Server) { s.Capacity = -1 }), "its capacity is negative"},
		{"a tag without a name", server(func(s *Server) { s.Tags = []Tag{{"", "x"}} }), "a tag has no name"},
		{"a tag twice", server(func(s *Server) { s.Tags = []Tag{{"b", "x"}, {"a", "y"}, {"b", "y"}} }), `tag "b" is there twice`},
		{"tags", server(func(s *Server) { s.Tags = []Tag{{"b", "x"}, {"a", "y"}} }), ""},

		{"replicas below none", one(func(s *System) { s.Replicas = -1 }), "the number of its replicas is not within"},
		{"too many replicas", one(func(s *System) { s.Replicas = MaxReplicas + 1 }), "the number of its replicas is not within"},
		{"more replicas than members", one(func(s *System) { s.Replicas = 5 }), ""},
		{"replicas of a choice", one(func(s *System) { s.Split, s.Replicas = ChooseOne, 2 }), "only a system of type shard"},
		{"replicas of replicas", on("all", func(s *System) { s.Replicas = 2 }), "only a system of type shard"},
		{"replicas of addresses", on("ip", func(s *System) { s.Replicas = 2 }), "an address is on one member at a time"},
		{"one replica", on("ip", func(s *System) { s.Replicas = 1 }), ""},
		{"failback", one(func(s *System) { s.Failback = -2 }), "its failback is negative"},
		{"no failback", one(func(s *System) { s.Failback = NeverFailback }), ""},
		{"mature", one(func(s *System) { s.Mature = -1 }), "until a member is mature is negative"},
		{"moves in a round", one(func(s *System) { s.RoundMoves = -1 }), "the number of moves in a round"},
		{"time between rounds", one(func(s *System) { s.RoundEvery = -1 }), "the number of moves in a round"},
		{"a hook killed", one(func(s *System) { s.KillOnTimeout = true }), "only a program that has claimed"},
		{"a program", one(func(s *System) { claimable(s); s.KillOnTimeout = true }), ""},
		{"a program with hooks", one(func(s *System) { s.Action = ActionClient }), "it has no hooks"},
		{"a program with addresses", one(func(s *System) { claimable(s); s.Items[0].Addrs = []string{"198.51.100.9/32"} }), "only the ip action plumbs them"},
		{"an action of the future", one(func(s *System) { s.Action = ActionClient + 1 }), "its action is unknown"},

		{"partitions", one(partitioned(12)), ""},
		{"no partitions", one(func(s *System) { partitioned(1)(s); s.Partitions.Count = 0 }), "the number of its partitions is not within 1"},
		{"no hash", one(func(s *System) { partitioned(1)(s); s.Partitions.Hash = 0 }), "the hash of its keys is unknown"},
		{"another hash", one(func(s *System) { partitioned(1)(s); s.Partitions.Hash = FNV32a + 1 }), "the hash of its keys is unknown"},
		{"too few items", one(func(s *System) { partitioned(2)(s); s.Items = s.Items[:1] }), "it has 1 items for 2 partitions"},
		{"an item that is no partition", one(func(s *System) { partitioned(2)(s); s.Items[1].ID = "2" }), `item "2" is no partition of 2`},
		{"an item in other words", one(func(s *System) { partitioned(2)(s); s.Items[1].ID = "01" }), `item "01" is no partition of 2`},

		{"select", one(func(s *System) { s.Select = []Match{{Tag: "b"}, {Tag: "a", Values: []string{"y", "x"}}} }), ""},
		{"select by nothing", one(func(s *System) { s.Select = []Match{{}} }), "selected by has no name"},
		{"select twice", one(func(s *System) { s.Select = []Match{{Tag: "b"}, {Tag: "b"}} }), `tag "b" is selected by twice`},
		{"a value twice", one(func(s *System) { s.Select = []Match{{Tag: "b", Values: []string{"x", "x"}}} }), `value "x" of tag "b" is there twice`},

		{"an item's weight", one(func(s *System) { s.Items[0].Weight = -1 }), `the weight of item "x" is not within`},
		{"prefer", one(func(s *System) { s.Items[0].Prefer = []MemberID{"b", "gone"} }), ""},
		{"prefer twice", one(func(s *System) { s.Items[0].Prefer = []MemberID{"b", "a", "b"} }), `item "x" prefers a member twice`},
		{"prefer nobody", one(func(s *System) { s.Items[0].Prefer = []MemberID{""} }), `item "x" prefers a member twice, or one without a name`},

		{"with and apart", one(func(s *System) { s.With, s.Apart = []SystemID{"least"}, []SystemID{"ip"} }), ""},
		{"with itself", one(func(s *System) { s.With = []SystemID{"one"} }), "it goes with itself"},
		{"apart from itself", one(func(s *System) { s.Apart = []SystemID{"one"} }), "it goes with itself, or apart"},
		{"with one twice", one(func(s *System) { s.With = []SystemID{"ip", "ip"} }), `system "ip" is named twice`},
		{"with one and apart from it", one(func(s *System) { s.With, s.Apart = []SystemID{"ip"}, []SystemID{"ip"} }), `is to be with "ip" and apart from it`},
		{"with an unknown one", one(func(s *System) { s.With = []SystemID{"none"} }), `system "one" is to be placed by that of "none", which is not there`},
		{"with what all hold", one(func(s *System) { s.With = []SystemID{"all"} }), "both must have items that are on one member each"},
		{"what all hold apart", on("all", func(s *System) { s.Apart = []SystemID{"one"} }), "both must have items that are on one member each"},
		{"a circle", func(s *Spec) {
			on("one", func(s *System) { s.With = []SystemID{"least"} })(s)
			on("least", func(s *System) { s.Apart = []SystemID{"ip"} })(s)
			on("ip", func(s *System) { s.With = []SystemID{"one"} })(s)
		}, "with and apart form a circle: ip, one, least, ip"},
		{"no circle", func(s *Spec) {
			on("one", func(s *System) { s.With = []SystemID{"least", "ip"} })(s)
			on("least", func(s *System) { s.With = []SystemID{"ip"} })(s)
		}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := founded(t)
			if c := d.respec(tc.edit); tc.why == "" {
				d.must(c)
			} else {
				d.refuses(c, tc.why)
			}
		})
	}
}

// Decode brings lists into the one order.
func TestPlacementIsSorted(t *testing.T) {
	d := founded(t)
	d.must(d.respec(func(s *Spec) {
		a := s.Servers["a"]
		a.Tags = []Tag{{"b", "x"}, {"a", "y"}}
		s.Servers["a"] = a
		on("one", func(s *System) {
			s.Select = []Match{{Tag: "b"}, {Tag: "a", Values: []string{"y", "x"}}}
			s.With = []SystemID{"least", "ip"}
		})(s)
	}))
	one, a := d.s.Spec().Systems["one"], d.s.Spec().Servers["a"]
	if one.Select[0].Tag != "a" || !slices.IsSorted(one.Select[0].Values) || one.With[0] != "ip" || a.Tags[0].Name != "a" {
		t.Fatalf("%+v %+v", one, a)
	}
}

func TestSelects(t *testing.T) {
	tagged := Server{Tags: []Tag{{"disk", "ssd"}, {"gpu", ""}}}
	for _, tc := range []struct {
		name     string
		by       []Match
		all, any bool
	}{
		{"nothing", nil, true, true},
		{"a tag", []Match{{Tag: "gpu"}}, true, true},
		{"a tag that it lacks", []Match{{Tag: "tape"}}, false, false},
		{"a value", []Match{{Tag: "disk", Values: []string{"nvme", "ssd"}}}, true, true},
		{"another value", []Match{{Tag: "disk", Values: []string{"nvme"}}}, false, false},
		{"one of two", []Match{{Tag: "disk", Values: []string{"nvme"}}, {Tag: "gpu"}}, false, true},
		{"none of two", []Match{{Tag: "disk", Values: []string{"nvme"}}, {Tag: "tape"}}, false, false},
		{"both", []Match{{Tag: "disk"}, {Tag: "gpu"}}, true, true},
	} {
		all, some := System{Select: tc.by}, System{Select: tc.by, SelectAny: true}
		if got := all.Selects(tagged); got != tc.all {
			t.Errorf("%s, all: %v", tc.name, got)
		}
		if got := some.Selects(tagged); got != tc.any {
			t.Errorf("%s, any: %v", tc.name, got)
		}
	}
}

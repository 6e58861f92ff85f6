package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/flip-ha/flip/fsm"
)

// ring is a table of five servers in the order a to e; d may have nothing.
func ring(ranks int) *RouteTable {
	t := &RouteTable{System: "s", Ranks: ranks}
	for _, name := range []fsm.MemberID{"a", "b", "c", "d", "e"} {
		t.Members = append(t.Members, RouteMember{Name: name, Address: "10.0.0." + string(name) + ":1", State: MemberUp, Eligible: name != "d"})
	}
	return t
}

func ownerWords(owners []RouteOwner) string {
	var out []string
	for _, o := range owners {
		w := fmt.Sprintf("%d:%s", o.Rank, o.Member)
		if o.Held {
			w += "!"
		}
		if (o.Member == "") != (o.Address == "") && o.Member != "x" {
			w += "?" + o.Address
		}
		out = append(out, w)
	}
	return strings.Join(out, " ")
}

func TestOwnersByRank(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ranks int
		rows  []Row
		want  string
	}{
		{"nothing is known", 2, nil, "0: 1:"},
		{"by rank, in whatever order they come", 2, []Row{{Rank: 1, Owner: "c", State: RowStarting}, {Rank: 0, Owner: "b", State: RowAcquired}}, "0:b! 1:c"},
		{"nobody's", 1, []Row{{Rank: 0, State: RowNobody, Token: 9}}, "0:"},
		{"a rank that the system has no more", 1, []Row{{Rank: 0, Owner: "a", State: RowAcquired}, {Rank: 1, Owner: "b", State: RowAcquired}}, "0:a!"},
		{"an item that is no more", 1, []Row{{Rank: 0, Owner: "a", State: RowRemoved}}, "0:"},
		{"an owner that is no member", 1, []Row{{Rank: 0, Owner: "x", State: RowWaiting}}, "0:x"},
		{"replicated: who runs first", 0, []Row{
			{Owner: "a", Type: "replicate", State: RowReplicated}, {Owner: "b", Type: "replicate", State: RowReplicated}, {Owner: "c", Type: "replicate", State: RowStarting},
		}, "0:b! 0:a 0:c"},
		{"nobody is to have it", 0, nil, ""},
		{"what is left of a divided system", 0, []Row{{Owner: "a", Type: "replicate", Token: 7, State: RowRemoved}}, ""},
	} {
		down := func(m fsm.MemberID) string {
			if m == "a" {
				return MemberDown
			}
			return "" // as the table says
		}
		if got := ownerWords(ring(tt.ranks).Directory(down).Owners(tt.rows)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestPreferenceIsTheWholeWalk(t *testing.T) {
	for _, tt := range []struct {
		name   string
		owners []RouteOwner
		prefer []fsm.MemberID
		want   string
	}{
		{"around the ring, behind the primary", []RouteOwner{{Member: "c", Home: "c"}}, nil, "c e a b"},
		{"the ranks first", []RouteOwner{{Member: "b", Home: "b"}, {Rank: 1, Member: "a", Home: "a"}}, nil, "b a c e"},
		{"then whom it prefers, then home", []RouteOwner{{Member: "b", Home: "a"}}, []fsm.MemberID{"e", "b", "z", "d"}, "b e a c"},
		{"behind its home when it is nobody's", []RouteOwner{{Home: "b"}}, nil, "b c e a"},
		{"behind nobody", []RouteOwner{{}}, nil, "a b c e"},
		{"an owner that may have nothing any more", []RouteOwner{{Member: "d"}}, nil, "d e a b c"},
		{"an owner that is no member", []RouteOwner{{Member: "x", Home: "e"}}, nil, "e a b c"},
		{"no ranks", nil, nil, "a b c e"},
	} {
		var got []string
		for _, m := range ring(1).Directory(nil).Preference(RouteItem{Prefer: tt.prefer}, tt.owners) {
			got = append(got, string(m.Name))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	if got := (&RouteTable{Members: []RouteMember{}}).Directory(nil).Preference(RouteItem{}, nil); got == nil || len(got) > 0 {
		t.Errorf("without servers %v", got)
	}
}

func TestPreferenceShowsStatesAsOfNow(t *testing.T) {
	d := ring(1).Directory(func(m fsm.MemberID) string { return map[fsm.MemberID]string{"b": MemberDown}[m] })
	got := d.Preference(RouteItem{}, []RouteOwner{{Member: "a"}})
	at := slices.IndexFunc(got, func(m RouteMember) bool { return m.Name == "b" })
	if got[at].State != MemberDown || got[0].State != MemberUp {
		t.Errorf("%+v", got)
	}
}

func TestHashingIsWhatTheWordSays(t *testing.T) {
	for _, h := range []fsm.Hash{fsm.FNV64a, fsm.FNV32a} {
		want := fsm.Partitions{Count: 7, Hash: h}
		if got, ok := (RoutePartitions{Count: 7, Hash: h.String()}).Hashing(); !ok || got != want {
			t.Errorf("%v: %+v, %t", h, got, ok)
		}
	}
	for _, p := range []RoutePartitions{{Count: 7, Hash: "md5"}, {Count: 0, Hash: "fnv64a"}, {}} {
		if _, ok := p.Hashing(); ok {
			t.Errorf("%+v is taken", p)
		}
	}
}

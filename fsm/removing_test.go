package fsm

import (
	"slices"
	"strings"
	"testing"
)

// edited is the present Spec with a change.
func (d *driver) edited(edit func(*Spec)) SetSpec {
	spec := d.s.Spec().clone()
	edit(&spec)
	return SetSpec{Was: d.s.Spec().Version, Spec: spec}
}

// mark marks a server as to be taken out, or takes the mark back.
func (d *driver) mark(m MemberID, on bool) SetSpec {
	return SetSpec{Was: d.s.Spec().Version, Spec: d.s.Spec().WithRemoving(m, on)}
}

func takenOut(m MemberID) func(*Spec) { return func(s *Spec) { delete(s.Servers, m) } }

// hist is what the journal says of one member, kinds only.
func (d *driver) hist(m MemberID) string {
	var out []string
	for _, e := range d.s.Journal() {
		if e.Member == m {
			out = append(out, e.Kind)
		}
	}
	return strings.Join(out, " ")
}

// A server goes in four steps: mark, drain, lose its vote, be forgotten.
func TestTakeServerOut(t *testing.T) {
	d := founded(t)
	d.s = d.s.WithVoters(Voters{Index: d.at, IDs: []VoterID{"a/1", "b/1", "c/1"}})
	d.give("a", oneX)
	d.refuses(d.edited(takenOut("a")), "server a cannot be taken out of the configuration at once: it still owns 1")
	d.must(d.mark("a", true))
	if !d.s.Spec().Servers["a"].Removing || d.s.Drained("a") {
		t.Fatalf("%+v", d.s.Spec().Servers["a"])
	}
	d.refuses(d.edited(takenOut("a")), "still owns 1")
	d.give("b", oneX)
	d.refuses(d.edited(takenOut("a")), "may still hold 2") // its replica too
	d.release("a", d.claim("a", oneX), d.claim("a", allX))
	d.refuses(d.edited(takenOut("a")), "still has its vote")
	if !d.s.Drained("a") || !d.s.HasVote("a") {
		t.Fatal("it has something still")
	}
	d.s = d.s.WithVoters(Voters{Index: d.at, IDs: []VoterID{"b/1", "c/1"}})
	before := d.at
	res := d.must(Batch{Commands: [][]byte{Encode(d.edited(takenOut("a"))), Encode(RemoveMember{Member: "a"})}})
	if !res.Each[0].Applied || !res.Each[1].Applied {
		t.Fatalf("%+v", res)
	}
	if _, in := d.s.Spec().Servers["a"]; in || d.s.Spec().Version != before+1 {
		t.Fatalf("version %d", d.s.Spec().Version)
	}
	if got := d.hist("a"); got != "registered moved removing released released removed" {
		t.Fatal(got)
	}
	d.refuses(d.registration("a"), "does not name it")
}

// What a server holds because every member does it lets go of with the mark, and has
// again when the mark is taken back.
func TestRemovingReplica(t *testing.T) {
	d := founded(t)
	wants := func() int { return len(d.s.Slice("a", d.epoch("a"), hostOf("a").Machine, d.at).Want) }
	if wants() != 1 {
		t.Fatalf("%d jobs", wants())
	}
	d.refuses(d.edited(takenOut("a")), "holds what every member does")
	d.must(d.mark("a", true))
	d.wantSet(allX, "a@%d/0+least", d.epoch("a"))
	if wants() != 0 {
		t.Fatalf("%d jobs", wants())
	}
	d.must(d.mark("a", false))
	d.wantSet(allX, "")
	if wants() != 1 || d.hist("a") != "registered removing removing" {
		t.Fatalf("%d jobs, %s", wants(), d.hist("a"))
	}
}

// Of who is down, only what was forced does not keep it in.
func TestTakeDeadServerOut(t *testing.T) {
	d := founded(t, without("all"))
	d.give("a", oneX, ipX)
	d.must(d.mark("a", true))
	d.down("a", d.move(oneX, "b"), d.move(ipX, "b"))
	d.wantSet(ipX, "") // the kernel has let go
	d.refuses(d.edited(takenOut("a")), "may still hold 1")
	d.must(Force{Claims: []Claim{d.claim("a", oneX)}})
	d.must(Batch{Commands: [][]byte{Encode(d.edited(takenOut("a"))), Encode(RemoveMember{Member: "a"})}})
	d.wantSet(oneX, "")
	if _, known := d.s.Member("a"); known {
		t.Fatal("still known")
	}
}

// A void entry of a member that is up waits for its report.
func TestVoidKeepsWhoIsUp(t *testing.T) {
	d := founded(t, without("all"))
	d.give("a", oneX)
	d.give("b", oneX)
	d.must(Force{Claims: []Claim{d.claim("a", oneX)}})
	if d.s.Drained("a") {
		t.Fatal("drained")
	}
	d.refuses(d.edited(takenOut("a")), "may still hold 1")
	d.down("a")
	if !d.s.Drained("a") {
		t.Fatal("not drained")
	}
}

// What the configuration does not name already is no reason to refuse another one.
func TestGoneAlready(t *testing.T) {
	d := foundedWithout(t, RuleRemovalWaits)
	d.give("a", oneX)
	d.must(d.edited(takenOut("a")))
	d.s.without = 0
	d.must(d.edited(func(s *Spec) { s.RemoveOnFailure = true }))
}

func TestStaffed(t *testing.T) {
	server := func(r Role, removing bool) Server { return Server{Role: r, Removing: removing} }
	stay, arbiter, go1 := server(RoleVoter, false), server(RoleArbiter, false), server(RoleVoter, true)
	for _, tc := range []struct {
		name    string
		servers []Server
		quorum  int
		why     string
	}{
		{"all stay", []Server{stay, stay, stay}, 2, ""},
		{"one goes", []Server{stay, stay, go1}, 2, ""},
		{"an arbiter stays", []Server{arbiter, go1, go1}, 1, ""},
		{"the last one", []Server{go1}, 1, "no voter would be left"},
		{"all go", []Server{go1, go1, go1}, 2, "no voter would be left"},
		{"two of five go, quorum of five", []Server{stay, stay, stay, go1, go1}, 3, "asks for 3 down votes, of the 3 voters that stay 2 can"},
		{"one of five goes, quorum 4", []Server{stay, stay, stay, stay, go1}, 4, "of the 4 voters that stay 3 can"},
		{"one of five goes, quorum 3", []Server{stay, stay, stay, stay, go1}, 3, ""},
		{"two with the majority", []Server{stay, stay}, 2, ""},
		{"agents alone", []Server{server(RoleAgent, false)}, 1, "no voter would be left"},
		{"agents do not count", []Server{stay, stay, stay, server(RoleAgent, false), server(RoleAgent, true)}, 3, "of the 3 voters that stay 2 can"},
		{"nobody at all", nil, 9, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := Spec{Quorum: tc.quorum, Servers: map[MemberID]Server{}}
			for i, server := range tc.servers {
				s.Servers[MemberID(rune('a'+i))] = server
			}
			why := s.short()
			if (why == "") != (tc.why == "") || !strings.Contains(why, tc.why) {
				t.Errorf("%q", why)
			}
		})
	}
}

// A quorum that was no more than the majority follows it down; one that asked for more
// stays, and what cannot come together any more is refused.
func TestWithRemovingQuorum(t *testing.T) {
	five := Spec{Servers: map[MemberID]Server{}}
	for _, m := range []MemberID{"a", "b", "c", "d", "e"} {
		five.Servers[m] = Server{Name: m, Role: RoleVoter}
	}
	five.Quorum = 3
	four := five.WithRemoving("a", true)
	three := four.WithRemoving("b", true)
	if four.Quorum != 3 || three.Quorum != 2 || three.short() != "" || five.Servers["a"].Removing {
		t.Errorf("%d, %d, %q", four.Quorum, three.Quorum, three.short())
	}
	five.Quorum = 4
	if four = five.WithRemoving("a", true); four.Quorum != 4 || four.short() == "" {
		t.Errorf("%d, %q", four.Quorum, four.short())
	}
	if same := five.WithRemoving("z", true); len(same.Servers) != 5 {
		t.Errorf("%+v", same)
	}
	six := five.WithServer(Server{Name: "f", Role: RoleVoter})
	if len(six.Servers) != 6 || len(five.Servers) != 5 || six.Quorum != 4 {
		t.Errorf("%+v", six)
	}
	if left := six.WithoutServer("a"); len(left.Servers) != 5 || len(six.Servers) != 6 {
		t.Errorf("%+v", left)
	}
}

func TestKeeping(t *testing.T) {
	agreed := Spec{Servers: map[MemberID]Server{"a": {Addr: "1"}, "b": {Addr: "2"}, "c": {Addr: "3", Removing: true}}}
	file := Spec{Servers: map[MemberID]Server{"a": {Addr: "9"}, "c": {Addr: "3"}, "d": {Addr: "4"}}}
	got := file.Keeping(&agreed)
	want := map[MemberID]Server{
		"a": {Name: "a", Addr: "9"}, "b": {Name: "b", Addr: "2", Removing: true}, "c": {Name: "c", Addr: "3", Removing: true}, "d": {Addr: "4"},
	}
	for id, w := range want {
		if g := got.Servers[id]; g.Addr != w.Addr || g.Removing != w.Removing || g.Name != w.Name {
			t.Errorf("%s: %+v", id, g)
		}
	}
	if len(got.Servers) != 4 || len(file.Servers) != 3 {
		t.Errorf("%+v", got.Servers)
	}
}

func TestVotesNeeded(t *testing.T) {
	for _, tc := range []struct{ voters, quorum, want int }{
		{1, 0, 1}, {2, 2, 2}, {3, 2, 2}, {3, 3, 2}, {3, 4, 2}, {4, 2, 3}, {5, 2, 3}, {5, 4, 4}, {5, 9, 4}, {7, 5, 5},
	} {
		list := Voters{IDs: make([]VoterID, tc.voters)}
		if got := (&Spec{Quorum: tc.quorum}).VotesNeeded(list); got != tc.want {
			t.Errorf("%d voters, quorum %d: %d, want %d", tc.voters, tc.quorum, got, tc.want)
		}
	}
}

// A server that comes for the first time lets homes be balanced, whatever was edited
// since it was added; where nothing is dealt there is nothing to balance.
func TestFirstRegistrationRehomes(t *testing.T) {
	d := founded(t)
	rehome := func(id SystemID) bool { return d.s.Spec().Systems[id].Rehome }
	d.must(Assign{Moves: []Move{{Key: oneX, To: "a", Home: "a", Reason: "test"}}})
	fourth := testSpec().Servers["c"]
	fourth.Name = "d"
	d.must(SetSpec{Was: d.s.Spec().Version, Spec: d.s.Spec().WithServer(fourth)})
	d.must(d.edited(on("one", func(s *System) { s.Items = append(s.Items, Item{ID: "z"}) })))
	if rehome("one") || d.hist("d") != "added" {
		t.Fatal("edited data balance nothing", d.hist("d"))
	}
	before := d.s.Spec()
	d.must(d.registration("d"))
	if !rehome("one") || before.Systems["one"].Rehome || d.s.Spec().Version != before.Version {
		t.Fatal("not to be balanced")
	}
	d.must(d.edited(on("one", func(s *System) { s.Items = s.Items[1:] })))
	d.must(d.registration("d"))
	if rehome("one") {
		t.Fatal("balanced for one that came before")
	}
}

func TestWaits(t *testing.T) {
	d := founded(t, without("all"))
	voters := func(ids ...VoterID) { d.s = d.s.WithVoters(Voters{Index: d.at, IDs: ids}) }
	voters("a/1", "b/1", "c/1")
	says := func(want ...string) {
		t.Helper()
		got := d.s.Waits("a")
		if len(got) != len(want) || !slices.EqualFunc(got, want, strings.Contains) {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	says()
	d.give("a", oneX, leastX)
	d.must(d.mark("a", true))
	says("it still owns least/x, which goes elsewhere", "it still owns one/x, which", "one at a time")
	d.must(Maintain{System: "one", On: true})
	says("least/x", "one/x, and nothing of one moves: it is under maintenance", "its vote")
	d.must(Maintain{System: "one"})
	for _, m := range []MemberID{"b", "c"} {
		d.must(Leave{Member: m, Epoch: d.epoch(m)})
	}
	says("no other member that is up serves least", "serves one", "its vote")
	d.down("c")
	says("serves least", "serves one", "fewer than a majority of the voters would be up (down: c)")
	d.give("b", oneX, leastX)
	d.must(d.registration("c"))
	says("has yet to confirm that it let go of least/x, one/x", "its vote")
	d.down("a")
	says("it is down, and may still hold least/x, one/x: start it again", "its vote")
	d.must(Force{Claims: []Claim{d.claim("a", oneX), d.claim("a", leastX)}})
	says("its vote")
	voters("a/1")
	says("the only vote")
	voters("b/1", "c/1")
	says("the leader has yet to take it out")
	d.must(d.edited(takenOut("a")))
	says()
	d.must(SetSpec{Was: d.s.Spec().Version, Spec: d.s.Spec().WithServer(Server{Name: "z", Role: RoleVoter})})
	if got := d.s.Waits("z"); len(got) != 2 || !strings.Contains(got[0], "not registered") || !strings.Contains(got[1], "no vote yet") {
		t.Fatalf("%q", got)
	}
	var many []Key
	for range 5 {
		many = append(many, oneX)
	}
	if got := listed(many); got != "one/x, one/x, one/x and 2 more" {
		t.Fatal(got)
	}
}

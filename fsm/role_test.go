package fsm

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// role is the command that gives a server another role.
func (d *driver) role(m MemberID, r Role) SetSpec {
	return SetSpec{Was: d.s.Spec().Version, Spec: d.s.Spec().WithRole(m, r)}
}

// A server that loses its vote stays a member with all that it has, and so does one
// that gets it back.
func TestRoleMovesNothing(t *testing.T) {
	d := founded(t)
	d.s = d.s.WithVoters(Voters{Index: d.at, IDs: []VoterID{"a/1", "b/1", "c/1"}})
	d.give("a", oneX, leastX, ipX)
	before, _ := d.s.Slot(oneX)
	epoch := d.epoch("a")
	says := func(want string) {
		t.Helper()
		if got := strings.Join(d.s.Waits("a"), "; "); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	d.must(d.role("a", RoleAgent))
	says("it still has its vote: votes are taken one at a time")
	d.s = d.s.WithVoters(Voters{Index: d.at, IDs: []VoterID{"a/1"}})
	says("it has the only vote")
	d.s = d.s.WithVoters(Voters{Index: d.at, IDs: []VoterID{"b/1", "c/1"}})
	says("")
	after, _ := d.s.Slot(oneX)
	if after.Owner != "a" || after.Token != before.Token || len(after.Outstanding) != 0 || d.epoch("a") != epoch || d.s.Spec().Systems["one"].Rehome {
		t.Fatalf("%+v, %+v", before, after)
	}
	d.must(d.role("a", RoleVoter))
	says("it has no vote yet")
	if got := d.hist("a"); got != "registered moved moved moved role role" {
		t.Fatal(got)
	}
	history := d.s.Journal()
	last := history[len(history)-1].Reason
	first := slices.IndexFunc(history, func(e JournalEntry) bool { return e.Kind == KindRole })
	if was := history[first].Reason; !strings.Contains(was, "no vote any more") || !strings.Contains(last, "is to have a vote") {
		t.Fatal(was, last)
	}
}

// Agents go on sending heartbeats to a voter that is to be an agent, as long as its
// grants count: so they must know where it is.
func TestPartHasWhoVotesStill(t *testing.T) {
	d := founded(t)
	voters := func(ids ...VoterID) { d.at++; d.s = d.s.WithVoters(Voters{Index: d.at, IDs: ids}) }
	voters("a/1", "b/1")
	d.must(d.role("c", RoleAgent))
	agent, at, before := New(), Index(0), d.s
	knows := func(want string) {
		t.Helper()
		p := d.s.Part("c", d.at)
		if next, err := New().WithPart(p); err != nil || serversOf(next) != want {
			t.Fatalf("whole: %s, %v, want %s", serversOf(next), err, want)
		}
		if at != 0 {
			if p, _ = d.s.PartSince("c", d.at, before, at); p.Since == 0 {
				t.Fatal("nothing has changed")
			}
		}
		next, err := agent.WithPart(p)
		if err != nil || serversOf(next) != want {
			t.Fatalf("%s, %v, want %s", serversOf(next), err, want)
		}
		agent, at, before = next, d.at, d.s
	}
	knows("a b c")
	d.must(d.role("b", RoleAgent))
	knows("a b c")
	voters("a/1")
	knows("a c")
}

func serversOf(s *State) string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(s.Spec().Servers)) {
		out = append(out, string(id))
	}
	return strings.Join(out, " ")
}

func TestSomebodyVotes(t *testing.T) {
	d := founded(t)
	d.must(d.role("a", RoleAgent))
	d.must(d.role("b", RoleAgent))
	d.refuses(d.role("c", RoleAgent), "no voter would be left")
	d.refuses(d.mark("c", true), "no voter would be left")
}

// The quorum follows the voters down as it does when they are removed.
func TestWithRoleQuorum(t *testing.T) {
	five := Spec{Quorum: 3, Servers: map[MemberID]Server{}}
	for _, m := range []MemberID{"a", "b", "c", "d", "e"} {
		five.Servers[m] = Server{Name: m, Role: RoleVoter}
	}
	four := five.WithRole("a", RoleAgent)
	three := four.WithRole("b", RoleAgent)
	if four.Quorum != 3 || three.Quorum != 2 || three.short() != "" || five.Servers["a"].Role != RoleVoter {
		t.Errorf("%d, %d, %q", four.Quorum, three.Quorum, three.short())
	}
	if again := three.WithRole("a", RoleVoter); again.Quorum != 2 || len(again.Staying()) != 4 {
		t.Errorf("%+v", again)
	}
	if same := five.WithRole("z", RoleAgent); len(same.Servers) != 5 {
		t.Errorf("%+v", same)
	}
	if gone := three.WithRemoving("a", true); gone.Quorum != 2 || len(gone.Staying()) != 3 {
		t.Errorf("an agent's leaving changes %+v", gone)
	}
}

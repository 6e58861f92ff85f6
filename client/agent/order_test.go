package agent

import (
	"fmt"
	"slices"
	"testing"

	"github.com/flip-ha/flip/fsm"
)

// A thousand agents spread over the voters, and those of a voter that goes over those
// that are left; nobody else changes.
func TestAgentsSpread(t *testing.T) {
	for _, n := range []int{2, 3, 5, 7} {
		var voters []fsm.MemberID
		for i := range n {
			voters = append(voters, fsm.MemberID(fmt.Sprintf("n%d", i+1)))
		}
		first, second := map[fsm.MemberID]int{}, map[fsm.MemberID]int{}
		for i := range 1000 {
			self := fsm.MemberID(fmt.Sprintf("agent-%04d", i))
			order := preferred(self, voters)
			first[order[0]]++
			left := slices.DeleteFunc(slices.Clone(voters), func(v fsm.MemberID) bool { return v == "n1" })
			next := preferred(self, left)
			if order[0] == "n1" {
				second[next[0]]++
				if next[0] != order[1] {
					t.Fatalf("%s goes to %s, not to its second, %s", self, next[0], order[1])
				}
			} else if next[0] != order[0] {
				t.Fatalf("%s changes from %s to %s", self, order[0], next[0])
			}
		}
		for _, v := range voters {
			if fair := 1000 / n; first[v] < fair*3/4 || first[v] > fair*5/4 {
				t.Errorf("%d voters: %s has %d", n, v, first[v])
			}
			if fair := 1000 / n / (n - 1); v != "n1" && (second[v] < fair/2 || second[v] > fair*2) {
				t.Errorf("%d voters: %s gets %d of n1's", n, v, second[v])
			}
		}
	}
}

func TestCandidates(t *testing.T) {
	spec := specOf(3, 1)
	list := func(ids ...fsm.VoterID) fsm.Voters { return fsm.Voters{Index: 1, IDs: ids} }
	for _, tt := range []struct {
		list fsm.Voters
		self fsm.MemberID
		want []fsm.MemberID
	}{
		{list(), "a1", []fsm.MemberID{"v1", "v2", "v3"}},
		{list("v1/i", "v3/i"), "a1", []fsm.MemberID{"v1", "v3"}},
		{list("v1/i", "x/i"), "a1", []fsm.MemberID{"v1"}},
		{list("x/i"), "a1", []fsm.MemberID{"v1", "v2", "v3"}}, // the Spec has moved on
		{list("v1/i", "v2/i"), "v1", []fsm.MemberID{"v2"}},
	} {
		if got := candidates(&spec, tt.list, tt.self); !slices.Equal(got, tt.want) {
			t.Errorf("of %v for %s: %v, want %v", tt.list.IDs, tt.self, got, tt.want)
		}
	}
}

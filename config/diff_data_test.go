package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/fsm"
)

// TestDiffOfDataAgainstMaps: two lists of items, by looking each up in the other.
func TestDiffOfDataAgainstMaps(t *testing.T) {
	weights := rapid.MapOfN(rapid.StringMatching("[a-d]{1,2}"), rapid.IntRange(0, 3), 0, 9)
	system := func(m map[string]int) fsm.System {
		s := testSpec().Systems["s"]
		s.Items = nil
		for _, id := range slices.Sorted(maps.Keys(m)) {
			s.Items = append(s.Items, fsm.Item{ID: fsm.ItemID(id), Weight: m[id]})
		}
		return s
	}
	rapid.Check(t, func(rt *rapid.T) {
		before, after := weights.Draw(rt, "before"), weights.Draw(rt, "after")
		a, b := testSpec(), testSpec()
		a.Systems["s"], b.Systems["s"] = system(before), system(after)
		var added, removed, want []string
		for _, id := range slices.Sorted(maps.Keys(after)) {
			if _, was := before[id]; !was {
				added = append(added, id)
			} else if x, y := max(before[id], 1), max(after[id], 1); x != y {
				want = append(want, fmt.Sprintf("system s: weight of %s: %d -> %d", id, x, y))
			}
		}
		for _, id := range slices.Sorted(maps.Keys(before)) {
			if _, still := after[id]; !still {
				removed = append(removed, id)
			}
		}
		if len(removed) > 0 {
			want = slices.Insert(want, 0, "system s: data: removed "+strings.Join(removed, ", "))
		}
		if len(added) > 0 {
			want = slices.Insert(want, 0, "system s: data: added "+strings.Join(added, ", "))
		}
		if got := Diff(a, b); !slices.Equal(got, want) {
			rt.Errorf("got %q, want %q", got, want)
		}
	})
}

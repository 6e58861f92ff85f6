package placement

import (
	"fmt"
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// judgeExplanation says what is wrong with an explanation of where a slot is.
func judgeExplanation(v View, e Explanation, plan planner) (complaints []string) {
	complain := func(format string, args ...any) {
		complaints = append(complaints, fmt.Sprintf(format, args...))
	}
	r := newRules(v, v.State)
	slot, _ := v.State.Slot(e.Key)
	sys := v.State.Spec().Systems[e.System]
	if e.Owner != slot.Owner || slot.Home != "" && e.Home != slot.Home || e.Reason != slot.Reason {
		complain("it is with %q, home %q: %q", slot.Owner, slot.Home, slot.Reason)
	}
	var named []fsm.MemberID
	for _, c := range e.Candidates {
		named = append(named, c.Member)
		load := 0
		for s := range v.State.SlotsOf(e.System) {
			if item, in := itemOf(sys, s.Item); in && s.Owner == c.Member {
				load += item.Load()
			}
		}
		switch server := v.State.Spec().Servers[c.Member]; {
		case c.Load != load || c.Capacity != server.Capacity:
			complain("%s has %d of %d", c.Member, load, server.Capacity)
		case c.Can && !r.may(sys, e.Item, c.Member):
			complain("%s may not have it", c.Member)
		case c.Why == "":
			complain("nothing is said of %s", c.Member)
		}
	}
	slices.Sort(named)
	if want := slices.Sorted(slices.Values(r.serving(sys))); !slices.Equal(named, want) {
		complain("the candidates are %v, not %v", want, named)
	}
	res := plan(v)
	held := slices.ContainsFunc(res.Held, func(h Held) bool { return h.Key == e.Key })
	unplaced := slices.ContainsFunc(res.Unplaced, func(u Unplaced) bool { return u.Key == e.Key })
	if held != (e.Held != nil) || unplaced != (e.Unplaced != nil) {
		complain("held %v, unplaced %v", held, unplaced)
	}
	return complaints
}

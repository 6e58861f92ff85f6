package placement

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

// slotName is the item, and its rank if that is not the first.
func slotName(k fsm.Key) string {
	if k.Rank == 0 {
		return string(k.Item)
	}
	return string(k.Item) + "." + strconv.Itoa(k.Rank)
}

func slotPath(k fsm.Key) string { return string(k.System) + "/" + slotName(k) }

func orNobody(m fsm.MemberID) string {
	if m == "" {
		return "nobody"
	}
	return string(m)
}

// describe writes one line for each move.
func describe(moves []fsm.Move) string {
	var b strings.Builder
	for _, m := range moves {
		home := ""
		if m.Home != "" {
			home = ", home " + string(m.Home)
		}
		fmt.Fprintf(&b, "  %s -> %s%s: %s\n", slotPath(m.Key), orNobody(m.To), home, m.Reason)
	}
	return b.String()
}

// listing writes all of a plan.
func listing(res Result) string {
	var b strings.Builder
	b.WriteString(describe(res.Moves))
	for _, h := range res.Held {
		fmt.Fprintf(&b, "  held: %s -> %s: %s", slotPath(h.Key), orNobody(h.To), h.Why)
		if h.For > 0 {
			fmt.Fprintf(&b, " (for %v)", h.For)
		}
		b.WriteString("\n")
	}
	for _, u := range res.Unplaced {
		fmt.Fprintf(&b, "  unplaced: %s: %s\n", slotPath(u.Key), u.Why)
	}
	if res.Again > 0 {
		fmt.Fprintf(&b, "  again in %v\n", res.Again)
	}
	return b.String()
}

// holdings writes who owns what, one line for each member of a system; the weight of it
// where that is not the number.
func (c *cluster) holdings() string {
	var b strings.Builder
	spec := c.state.Spec()
	for _, id := range slices.Sorted(maps.Keys(spec.Systems)) {
		owned, weight := map[fsm.MemberID][]string{}, map[fsm.MemberID]int{}
		for slot := range c.state.SlotsOf(id) {
			item, _ := itemOf(spec.Systems[id], slot.Item)
			owned[slot.Owner] = append(owned[slot.Owner], slotName(slot.Key))
			weight[slot.Owner] += item.Load()
		}
		for _, m := range slices.Sorted(maps.Keys(owned)) {
			fmt.Fprintf(&b, "  %s: %s has %s", id, orNobody(m), strings.Join(owned[m], " "))
			if weight[m] != len(owned[m]) {
				fmt.Fprintf(&b, " (%d)", weight[m])
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// explained writes why a slot is where it is.
func explained(e Explanation) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %s is with %s, home %s: %s\n", slotPath(e.Key), orNobody(e.Owner), orNobody(e.Home), e.Reason)
	for _, c := range e.Candidates {
		can := "no"
		if c.Can {
			can = "yes"
		}
		fmt.Fprintf(&b, "  %s: %s, %s; it has %d", c.Member, can, c.Why, c.Load)
		if c.Capacity > 0 {
			fmt.Fprintf(&b, " of %d", c.Capacity)
		}
		b.WriteString("\n")
	}
	if e.Held != nil {
		fmt.Fprintf(&b, "  held: to %s: %s\n", orNobody(e.Held.To), e.Held.Why)
	}
	if e.Unplaced != nil {
		fmt.Fprintf(&b, "  unplaced: %s\n", e.Unplaced.Why)
	}
	return b.String()
}

// brakes writes what is not moved until somebody cleans up.
func (c *cluster) brakes() string {
	var b strings.Builder
	for _, brake := range c.state.Brakes() {
		fmt.Fprintf(&b, "  %s is braked: lost %v\n", brake.System, brake.Lost)
	}
	for slot := range c.state.Slots() {
		if slot.Braked {
			fmt.Fprintf(&b, "  %s is braked: with %s\n", slotPath(slot.Key), orNobody(slot.Owner))
		}
	}
	if b.Len() == 0 {
		return "  none\n"
	}
	return b.String()
}

// brakedSystem reports whether nothing of a system is moved for now.
func brakedSystem(s *fsm.State, id fsm.SystemID) bool {
	for _, brake := range s.Brakes() {
		if brake.System == id {
			return true
		}
	}
	return false
}

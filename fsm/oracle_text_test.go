package fsm

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// text is everything in words, sorted, to be compared with textOf a State.
func (o *oracle) text() string {
	lines := []string{fmt.Sprintf("cluster %q version %d ttl %v voters %d", o.cluster, o.spec.Version, o.maxTTL, o.voters)}
	lines = append(lines, o.key.text())
	for id := range o.maintained {
		lines = append(lines, maintainedText(id))
	}
	for _, b := range o.brakes {
		lines = append(lines, brakeText(b))
	}
	for id, m := range o.members {
		lines = append(lines, memberText(id, m))
	}
	for k, s := range o.slots {
		line := fmt.Sprintf("slot %+v home %s owner %s before %s token %d gated %v most %v acquired %d", k, s.home, s.owner,
			s.previous, s.token, s.gated, s.atMostOne, s.acquired)
		line += movedText(s.cause, s.moved, s.braked)
		if s.seen != nil {
			line += seenText(s.seenBy, s.seen.OK, s.seen.Answer)
		}
		for _, e := range s.entries {
			line += entryText(e.Entry, e.recipe)
		}
		lines = append(lines, line)
	}
	for k, f := range o.failures {
		lines = append(lines, fmt.Sprintf("failure %s %+v", k, f))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func maintainedText(id SystemID) string { return fmt.Sprintf("maintained %q", id) }

func memberText(id MemberID, m Member) string {
	kept := slices.SortedFunc(slices.Values(m.Kept), Key.Compare)
	m.Kept = nil
	return fmt.Sprintf("member %s %+v kept %+v", id, m, kept)
}

func entryText(e Entry, recipe string) string {
	e.Recipe = nil
	return fmt.Sprintf("\n  %+v by %s", e, recipe)
}

func seenText(by MemberID, ok bool, answer string) string {
	if ok {
		answer = "well"
	}
	return fmt.Sprintf(" seen by %s: %s", by, answer)
}

func textOf(s *State) string {
	lines := []string{fmt.Sprintf("cluster %q version %d ttl %v voters %d", s.Cluster(), s.Spec().Version, s.MaxTTL(), s.Voters().Index)}
	lines = append(lines, keyText(s))
	for _, id := range s.Maintenance() {
		lines = append(lines, maintainedText(id))
	}
	for _, b := range s.Brakes() {
		lines = append(lines, brakeText(b))
	}
	for id, m := range s.Members() {
		lines = append(lines, memberText(id, m))
	}
	for slot := range s.Slots() {
		line := fmt.Sprintf("slot %+v home %s owner %s before %s token %d gated %v most %v acquired %d", slot.Key, slot.Home, slot.Owner,
			slot.Previous, slot.Token, slot.Gated, slot.AtMostOne, slot.Acquired)
		line += movedText(slot.Cause, slot.Moved, slot.Braked)
		if s := slot.Seen; s != nil {
			line += seenText(s.By, s.OK, s.Answer)
		}
		for _, e := range slot.Outstanding {
			recipe := oracleRecipe(s.Spec().Systems[slot.System])
			if r := e.Recipe; r != nil {
				recipe = oracleRecipe(System{Action: r.Action, Down: r.Down, Config: r.Config, StopTimeout: r.StopTimeout})
			}
			line += entryText(e, recipe)
		}
		lines = append(lines, line)
	}
	for id, f := range s.Failures() {
		lines = append(lines, fmt.Sprintf("failure %s %+v", failureKey(id, f.Key), f))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

package placement

import (
	"fmt"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// maxReason keeps what a hook or the kernel said from filling the log.
const maxReason = 200

func (g *group) rehomedWhy() string { return "new home: " + string(g.sys.Name) + " was balanced anew" }

// reasons gives each step of an item its reason and its cause. What takes the place of
// something that moves on has the reason of that.
func (g *group) reasons(item int, steps []step) {
	first := -1
	for at := range steps {
		s := &steps[at]
		if s.home {
			continue
		}
		s.move.Reason, s.move.Cause = g.cause(item, s)
		if s.urgent = s.move.Reason != ""; s.urgent && first < 0 {
			first = at
		}
	}
	for at := range steps {
		s := &steps[at]
		switch {
		case s.home || s.move.Reason != "":
		case first >= 0:
			s.move.Reason, s.move.Cause = steps[first].move.Reason, steps[first].move.Cause
		default:
			s.move.Reason, s.move.Cause = g.wish(item, s)
		}
	}
}

// cause says why a slot cannot stay with its owner, or nothing.
func (g *group) cause(item int, s *step) (string, fsm.Cause) {
	unit := int32(g.unitOf(item))
	k := g.all[item*g.ranks+s.rank]
	switch {
	case k.owner == nobody && k.token == 0:
		return "first assignment", fsm.CauseFirst
	case k.owner == nobody:
		return "nobody had it", fsm.CauseFirst
	}
	owner := g.names[k.owner]
	if _, member := g.spec.Servers[owner]; !member {
		return string(owner) + " was removed from the configuration", fsm.CauseLeaving
	}
	if why, out := g.why[owner]; out {
		if why == string(owner)+" is down" {
			return why, fsm.CauseDown
		}
		return why, fsm.CauseLeaving
	}
	if s.from == nobody {
		return string(owner) + " serves " + string(g.sys.Name) + " no longer", fsm.CauseRule
	}
	if rule := g.seat[s.from].rule; rule != "" {
		return rule, fsm.CauseRule
	}
	if g.special(unit) && len(g.ties.with) > 0 && !g.allowed(unit, s.from) {
		return string(owner) + " does not have what goes with it", fsm.CauseRule
	}
	for rank := range g.ranks {
		for _, f := range g.failed[g.keyOf(item, rank)] {
			if f.member == owner && !keeps(g.grade(unit, s.from), g.top(unit)) {
				if f.unfit {
					return g.failedWhy(f), fsm.CauseUnfit
				}
				return g.failedWhy(f), fsm.CauseFailed
			}
		}
	}
	return "", fsm.CauseNone
}

func (g *group) failedWhy(f failure) string {
	text := strings.ToValidUTF8(f.text[:min(len(f.text), maxReason)], "")
	if f.unfit || g.sys.Action == fsm.ActionIP {
		return string(f.member) + " cannot hold it: " + text
	}
	return "the hook failed on " + string(f.member) + ": " + text
}

// wish says why a slot goes elsewhere although its owner could keep it.
func (g *group) wish(item int, s *step) (string, fsm.Cause) {
	unit := int32(g.unitOf(item))
	if s.to == nobody {
		return "others need the room on " + string(g.seat[s.from].id), fsm.CauseRule
	}
	to := &g.seat[s.to]
	at := int(unit)*g.ranks + s.rank
	if g.single() && s.from != g.own[s.rank] {
		return "together with the rest of " + string(g.sys.Name), fsm.CauseRule
	}
	switch {
	case g.preferred(unit, s.to) < g.preferred(unit, s.from):
		return "prefers " + string(to.id) + g.healthy(to), fsm.CauseHome
	case g.home[at] == s.to && s.move.Home != "":
		return g.rehomedWhy(), fsm.CauseBalance
	case g.home[at] == s.to:
		return "home again", fsm.CauseHome
	case to.company < g.seat[s.from].company:
		return "what goes with it can be on " + string(to.id), fsm.CauseRule
	case g.single():
		return "together with the rest of " + string(g.sys.Name), fsm.CauseRule
	}
	w := g.weight(unit)
	if has, gets := g.left[s.from]+w, g.left[s.to]-w; has*to.share > gets*g.seat[s.from].share {
		return fmt.Sprintf("balance: %d against %d", has, gets), fsm.CauseBalance
	}
	return "others need the room on " + string(g.seat[s.from].id), fsm.CauseRule
}

// healthy says for how long a member has been well, where that has been waited for.
func (g *group) healthy(s *seat) string {
	if g.v.Well == nil || g.sys.Failback <= 0 {
		return ""
	}
	return ", healthy for " + s.well.Truncate(time.Second).String()
}

// begins is the load that a seat has.
func (g *group) begins(m int32) int64 {
	if g.had == nil {
		g.had = make([]int64, len(g.seat))
		for at, own := range g.own {
			if own != nobody {
				g.had[own] += g.weight(int32(at / g.ranks))
			}
		}
	}
	return g.had[m]
}

// unplacedWhy says what stands against each member that serves the system.
func (g *group) unplacedWhy(unit int32, k kept) string {
	if len(g.seat) == 0 {
		return "nobody serves " + string(g.sys.Name)
	}
	const most = 3 // of the reasons that are told
	var whys []string
	can, more := 0, 0
	for m := range int32(len(g.seat)) {
		switch why := g.against(unit, m); {
		case why == "":
			can++
		case len(whys) < most:
			whys = append(whys, why)
		default:
			more++
		}
	}
	if more > 0 {
		whys = append(whys, fmt.Sprintf("and so on for %d more", more))
	}
	text := strings.Join(whys, "; ")
	if g.ranks > 1 && can > 0 {
		text = strings.TrimSuffix(fmt.Sprintf("%d of %d have it or can; %s", can, g.ranks, text), "; ")
	}
	if k.owner != nobody && text == "" {
		text = "no other member can have it"
	}
	return text
}

// against says what keeps a member from having a unit, "" if nothing does, or it has
// it.
func (g *group) against(unit, m int32) string {
	s := &g.seat[m]
	switch {
	case !s.usable:
		return s.why
	case s.rule != "":
		return s.rule
	case g.grade(unit, m) == useless:
		return string(s.id) + " does not have what goes with it"
	case contains(g.finalOf(unit), m):
		return ""
	case g.left[m]+g.weight(unit) > s.limit:
		return fmt.Sprintf("%s has %d of its capacity of %d", s.id, g.left[m], s.limit)
	default:
		return ""
	}
}

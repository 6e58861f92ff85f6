package placement

import (
	"maps"
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// Plan says which moves bring the cluster from what the State shows to what it
// should be; empty when nothing is to do. Applying them and planning again
// gives nothing, unless the budget cut the answer short.
func Plan(v View) []fsm.Move {
	p := newPlanner(v)
	groups := p.groups()
	var g *group // of the last slot: slots come ordered by system
	for slot := range v.State.Slots() {
		if g == nil || g.sys.Name != slot.System {
			g = groups[slot.System]
		}
		if g != nil { // else of an item that is gone: Apply has taken it from its owner
			g.take(slot)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(groups)) {
		switch g := groups[id]; g.sys.Split {
		case fsm.ChooseOne:
			g.chooseOne()
		default:
			g.shard()
		}
	}
	return append(p.urgent, p.later...)[:min(p.budget, len(p.urgent)+len(p.later))]
}

// failure is what a member could not do for an item.
type failure struct {
	member fsm.MemberID
	text   string
}

// planner is one call of Plan.
type planner struct {
	state  *fsm.State
	spec   *fsm.Spec
	order  []fsm.MemberID
	why    map[fsm.MemberID]string // of those that can hold nothing, in words
	failed map[fsm.Key][]failure
	budget int
	// urgent gives somebody what nobody usable has; later is all else. Neither
	// grows beyond the budget.
	urgent, later []fsm.Move
}

func newPlanner(v View) *planner {
	p := &planner{
		state: v.State, spec: v.State.Spec(),
		why: map[fsm.MemberID]string{}, failed: map[fsm.Key][]failure{}, budget: v.Budget,
	}
	if p.budget <= 0 || p.budget > fsm.MaxMoves {
		p.budget = fsm.MaxMoves
	}
	p.order = Order(p.spec.Servers)
	for _, id := range p.order {
		if why := unusable(v, id); why != "" {
			p.why[id] = string(id) + " " + why
		}
	}
	for m, f := range v.State.Failures() {
		p.failed[f.Key] = append(p.failed[f.Key], failure{m, f.Err})
	}
	return p
}

// unusable says why a server can hold nothing, or nothing.
func unusable(v View, id fsm.MemberID) string {
	if why, ok := v.Unusable[id]; ok {
		return why
	}
	m, registered := v.State.Member(id)
	switch {
	case v.State.Spec().Servers[id].Removing:
		return "is to leave the cluster"
	case !registered:
		return "has not registered yet"
	case !m.Up:
		return "is down"
	case m.Leaving:
		return "is leaving"
	default:
		return ""
	}
}

// groups makes a group of each system whose items have slots, but not of one
// under maintenance: of that nothing moves.
func (p *planner) groups() map[fsm.SystemID]*group {
	out := map[fsm.SystemID]*group{}
	for id, sys := range p.spec.Systems {
		if (sys.Split == fsm.Shard || sys.Split == fsm.ChooseOne) && !p.state.Maintained(id) {
			out[id] = newGroup(p, sys)
		}
	}
	return out
}

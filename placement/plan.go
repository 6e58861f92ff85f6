package placement

import (
	"maps"
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// Plan says which moves bring the cluster from what the State shows to what it
// should be. Who plans again and again asks a Planner.
func Plan(v View) Result { return new(Planner).Plan(v) }

// Planner makes plans, and remembers what of a State it need not look at again when
// the next one differs little. Its answers are those of Plan. The zero value is ready;
// it is not safe for concurrent use.
type Planner struct{}

// Plan is as the function.
func (*Planner) Plan(v View) Result {
	p := newPlanning(v)
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
	return Result{Moves: append(p.urgent, p.later...)[:min(p.budget, len(p.urgent)+len(p.later))], Urgent: len(p.urgent)}
}

// failure is what a member could not do for an item.
type failure struct {
	member fsm.MemberID
	text   string
}

// planning is one call of Plan.
type planning struct {
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

func newPlanning(v View) *planning {
	p := &planning{
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
func (p *planning) groups() map[fsm.SystemID]*group {
	out := map[fsm.SystemID]*group{}
	for id, sys := range p.spec.Systems {
		if (sys.Split == fsm.Shard || sys.Split == fsm.ChooseOne) && !p.state.Maintained(id) {
			out[id] = newGroup(p, sys)
		}
	}
	return out
}

package placement

import (
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Plan says which moves bring the cluster from what the State shows to what it
// should be. Who plans again and again asks a Planner.
func Plan(v View) Result { return new(Planner).Plan(v) }

// Planner makes plans, and remembers what of a State it need not look at again when
// the next one differs little. Its answers are those of Plan. The zero value is ready;
// it is not safe for concurrent use.
type Planner struct{ memory memory }

// Plan is as the function.
func (p *Planner) Plan(v View) Result {
	pl := p.planning(v)
	for _, id := range pl.systems() {
		g := pl.place(id)
		g.emit()
		g.waiting()
	}
	return pl.result()
}

// failure is what a member could not do for an item.
type failure struct {
	member fsm.MemberID
	text   string
	unfit  bool
}

// planning is one call of Plan.
type planning struct {
	*memory
	v      View
	spec   *fsm.Spec
	order  []fsm.MemberID
	why    map[fsm.MemberID]string // of those that can hold nothing, in words
	failed map[fsm.Key][]failure
	groups map[fsm.SystemID]*group // those placed already
	budget int
	// urgent gives somebody what nobody usable has; later is all else. None of the
	// lists grows beyond the budget.
	urgent, later queue
	held          []Held
	unplaced      []Unplaced
	again         time.Duration
}

func (p *Planner) planning(v View) *planning {
	p.memory.read(v.State)
	pl := &planning{
		memory: &p.memory, v: v, spec: v.State.Spec(), groups: map[fsm.SystemID]*group{},
		why: map[fsm.MemberID]string{}, failed: map[fsm.Key][]failure{}, budget: v.Budget,
	}
	if pl.budget <= 0 {
		pl.budget = fsm.MaxMoves
	}
	pl.order = Order(pl.spec.Servers)
	for _, id := range pl.order {
		if why := unusable(v, id); why != "" {
			pl.why[id] = string(id) + " " + why
		}
	}
	for m, f := range v.State.Failures() {
		pl.failed[f.Key] = append(pl.failed[f.Key], failure{m, f.Err, f.Unfit})
	}
	return pl
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

// result puts the lists together.
func (p *planning) result() Result {
	moves := p.urgent
	for rest := p.later; len(rest) > 0; {
		n := 1 // moves of one item
		for n < len(rest) && rest[n].System == rest[0].System && rest[n].Item == rest[0].Item {
			n++
		}
		moves.add(rest[:n], p.budget)
		rest = rest[n:]
	}
	return Result{
		Moves: moves, Urgent: len(p.urgent),
		Held: p.held, Unplaced: p.unplaced, Again: p.again,
	}
}

// systems are those of which anything may be moved, by name, but what others go with
// or apart from before those.
func (p *planning) systems() []fsm.SystemID {
	var names, out []fsm.SystemID
	for id, sys := range p.spec.Systems {
		if divided(&sys) && !p.state.Maintained(id) {
			names = append(names, id)
		}
	}
	slices.Sort(names)
	begun := map[fsm.SystemID]bool{}
	var visit func(id fsm.SystemID)
	visit = func(id fsm.SystemID) {
		if begun[id] || !slices.Contains(names, id) {
			return
		}
		begun[id] = true
		sys := p.spec.Systems[id]
		for _, other := range slices.Concat(sys.With, sys.Apart) {
			visit(other)
		}
		out = append(out, id)
	}
	for _, id := range names {
		visit(id)
	}
	return out
}

// company are the systems that go with another one.
func (p *planning) company(id fsm.SystemID) []fsm.SystemID {
	var out []fsm.SystemID
	for other, sys := range p.spec.Systems {
		if divided(&sys) && slices.Contains(sys.With, id) {
			out = append(out, other)
		}
	}
	return out
}

// soon notes when to plan anew.
func (p *planning) soon(in time.Duration) {
	if in > 0 && (p.again == 0 || in < p.again) {
		p.again = in
	}
}

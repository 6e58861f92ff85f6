package placement

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// planner is Plan, or what a test puts in its place.
type planner func(View) Result

// judgement is the oracle: it knows nothing of how Plan works, only what must be
// true of its answer and of the State after it. It collects complaints.
type judgement struct {
	*rules
	v             View
	plan          planner
	before, after *fsm.State
	done          bool // after is where everything is in the end
	complaints    []string
}

// newJudgement is about a plan that has led to a State.
func newJudgement(plan planner, v View, after *fsm.State) *judgement {
	return &judgement{rules: newRules(v, after), v: v, before: v.State, after: after, plan: plan}
}

// all judges everything but how evenly homes are dealt.
func (j *judgement) all(res Result) []string {
	v := j.v
	j.moves(res)
	budget := v.Budget
	if budget <= 0 || budget > fsm.MaxMoves {
		budget = fsm.MaxMoves
	}
	if len(res.Moves) > budget {
		j.complain("%d moves are more than the budget of %d", len(res.Moves), budget)
	}
	if j.cut(res) {
		return j.complaints // the rest comes with the next plan
	}
	j.finish()
	j.done = true
	j.lists(res)
	for _, sys := range j.before.Spec().Systems {
		if j.before.Maintained(sys.Name) {
			continue // nothing moves, however badly it stands
		}
		switch sys.Split {
		case fsm.Shard:
			j.homes(sys)
			j.shard(sys)
		case fsm.ChooseOne:
			j.chooseOne(sys)
		default:
			for slot := range j.after.SlotsOf(sys.Name) {
				if slot.Owner != "" {
					j.complain("%v has an owner although its system is %s", slot.Key, sys.Split)
				}
			}
		}
	}
	return j.complaints
}

// complain notes what is wrong.
func (j *judgement) complain(format string, args ...any) {
	j.complaints = append(j.complaints, fmt.Sprintf(format, args...))
}

// cut reports whether a plan was cut short, and looks whether it has all moves of an
// item, or none: half of them could cost it its warm copies.
func (j *judgement) cut(res Result) bool {
	if j.v.Budget == 0 {
		return len(res.Moves) > fsm.MaxMoves-8 // a plan has no more
	}
	v := j.v
	v.Budget = 0
	all := j.plan(v).Moves
	if len(all) == len(res.Moves) {
		return false
	}
	of := func(moves []fsm.Move) map[fsm.Key]int {
		out := map[fsm.Key]int{}
		for _, m := range moves {
			out[fsm.Key{System: m.System, Item: m.Item}]++
		}
		return out
	}
	whole := of(all)
	for k, n := range of(res.Moves) {
		if n != whole[k] {
			j.complain("%v: %d of its %d moves are made", k, n, whole[k])
		}
	}
	return true
}

// finish plans on until there is nothing left to do. One command cannot give a member
// one rank of an item and another member the one that it had, so that ranks are changed
// about in several; everything else is done after the first.
func (j *judgement) finish() {
	v := j.v
	v.Budget = 0
	for round := range fsm.Index(6) {
		v.State = j.after
		rest := j.plan(v).Moves
		if len(rest) == 0 {
			j.rules = newRules(j.v, j.after)
			return
		}
		for _, m := range rest {
			if sys := j.before.Spec().Systems[m.System]; sys.Ranks() == 1 {
				j.complain("after the moves there are still some:\n%s", describe(rest))
				return
			}
		}
		next, res, err := j.after.Apply(1<<40+round, fsm.Encode(fsm.Assign{Moves: rest, At: v.Now}))
		if err != nil || len(res.Dropped) > 0 {
			j.complain("what is left to do cannot be done: %v %+v", err, res)
			return
		}
		j.after = next
	}
	j.complain("the plans do not come to an end")
}

// moves looks at each move by itself.
func (j *judgement) moves(res Result) {
	seen := map[fsm.Key]bool{}
	if res.Urgent > len(res.Moves) {
		j.complain("%d of %d moves are urgent", res.Urgent, len(res.Moves))
	}
	for i, m := range res.Moves {
		slot, _ := j.before.Slot(m.Key)
		sys := j.before.Spec().Systems[m.System]
		switch {
		case seen[m.Key]:
			j.complain("%v is moved twice", m.Key)
		case m.Reason == "":
			j.complain("%v: no reason", m.Key)
		case m.Was != slot.Token:
			j.complain("%v: names token %d, it has %d", m.Key, m.Was, slot.Token)
		case m.To == slot.Owner && (m.Home == "" || m.Home == slot.Home):
			j.complain("%v: changes nothing", m.Key)
		case j.before.Maintained(m.System):
			j.complain("%v: its system is under maintenance", m.Key)
		case m.To == "" && sys.Ranks() == 1 && sys.Split == fsm.Shard && j.usable(slot.Owner) && j.may(sys, m.Item, slot.Owner) && j.noLimits(sys):
			j.complain("%v is taken from %s for nobody", m.Key, slot.Owner)
		case m.To != slot.Owner && j.fixed(sys, slot):
			j.complain("%v is to stay where it is, and goes to %q", m.Key, m.To)
		case m.To != slot.Owner && !slices.Contains(j.causes(sys, slot, m), m.Cause):
			j.complain("%v: %q is not a matter of %q, but of %v", m.Key, m.Reason, m.Cause, j.causes(sys, slot, m))
		case i >= res.Urgent && m.To != slot.Owner && sys.Ranks() == 1 && !j.usable(slot.Owner):
			j.complain("%v: nobody has it, and it is not urgent", m.Key)
		}
		seen[m.Key] = true
	}
}

// noLimits: no server has a capacity, so that what may be with somebody can be.
func (j *judgement) noLimits(sys fsm.System) bool {
	for _, m := range j.serving(sys) {
		if j.before.Spec().Servers[m].Capacity > 0 {
			return false
		}
	}
	return true
}

// causes are those that a move may give.
func (j *judgement) causes(sys fsm.System, slot fsm.Slot, m fsm.Move) []fsm.Cause {
	member, _ := j.before.Member(slot.Owner)
	server, listed := j.before.Spec().Servers[slot.Owner]
	_, out := j.v.Unusable[slot.Owner]
	switch {
	case slot.Owner == "":
		return []fsm.Cause{fsm.CauseFirst}
	case sys.Ranks() > 1 || sys.Split == fsm.ChooseOne: // another's loss may be the cause
		return []fsm.Cause{
			fsm.CauseFirst, fsm.CauseDown, fsm.CauseLeaving, fsm.CauseFailed, fsm.CauseRule, fsm.CauseHome, fsm.CauseBalance,
			fsm.CauseUnfit,
		}
	case out:
		return []fsm.Cause{fsm.CauseDown, fsm.CauseLeaving}
	case !listed, member.Leaving && member.Up, server.Removing && member.Up:
		return []fsm.Cause{fsm.CauseLeaving, fsm.CauseRule}
	case server.Removing: // down as well
		return []fsm.Cause{fsm.CauseLeaving, fsm.CauseDown}
	case !member.Up:
		return []fsm.Cause{fsm.CauseDown}
	case !j.may(sys, m.Item, slot.Owner):
		return []fsm.Cause{fsm.CauseRule}
	case j.rate(sys, m.Item, slot.Owner) == rateFailed:
		return []fsm.Cause{fsm.CauseFailed, fsm.CauseUnfit, fsm.CauseRule}
	case j.homely(sys, slot.Key, m.To):
		return []fsm.Cause{fsm.CauseHome, fsm.CauseBalance, fsm.CauseRule}
	default: // capacity, or somebody else's item that can be nowhere else
		return []fsm.Cause{fsm.CauseBalance, fsm.CauseRule}
	}
}

// homely reports whether a member is a slot's home, or preferred for it.
func (j *judgement) homely(sys fsm.System, k fsm.Key, m fsm.MemberID) bool {
	item, _ := itemOf(sys, k.Item)
	slot, _ := j.after.Slot(k)
	return slot.Home == m || slices.Contains(item.Prefer, m)
}

// lists looks at what is held back and what nobody can have.
func (j *judgement) lists(res Result) {
	told := map[fsm.Key]bool{}
	var soonest time.Duration
	for _, h := range res.Held {
		slot, _ := j.before.Slot(h.Key)
		switch {
		case h.Why == "":
			j.complain("%v is held back without a reason", h.Key)
		case h.To == slot.Owner && h.Home == "":
			j.complain("%v is held back from what it has", h.Key)
		case slices.ContainsFunc(res.Moves, func(m fsm.Move) bool { return m.Key == h.Key && m.To != slot.Owner }):
			j.complain("%v is held back, and moved", h.Key)
		}
		if h.For > 0 && (soonest == 0 || h.For < soonest) {
			soonest = h.For
		}
		told[h.Key] = true
	}
	if soonest > 0 && (res.Again == 0 || res.Again > soonest) {
		j.complain("something is held back for %v, and the next plan is in %v", soonest, res.Again)
	}
	for _, u := range res.Unplaced {
		slot, _ := j.after.Slot(u.Key)
		if u.Why == "" {
			j.complain("%v is unplaced without a reason", u.Key)
		}
		if slot.Owner != "" && j.usable(slot.Owner) && slices.Contains(j.serving(j.before.Spec().Systems[u.System]), slot.Owner) {
			j.complain("%v is said to be unplaced, and is with %s", u.Key, slot.Owner)
		}
		told[u.Key] = true
	}
	for _, sys := range j.before.Spec().Systems {
		if sys.Split != fsm.Shard && sys.Split != fsm.ChooseOne || j.before.Maintained(sys.Name) {
			continue
		}
		j.silent(sys, told)
	}
}

// silent looks for slots that nobody usable has and nobody speaks of.
func (j *judgement) silent(sys fsm.System, told map[fsm.Key]bool) {
	for _, item := range sys.Items {
		for rank := range sys.Ranks() {
			k := fsm.Key{System: sys.Name, Item: item.ID, Rank: rank}
			if slot, _ := j.after.Slot(k); !j.usable(slot.Owner) && !told[k] {
				j.complain("%v: nobody usable has it, and nothing is said of that", k)
			}
		}
	}
}

// shard compares where everything is with the best that there is.
func (j *judgement) shard(sys fsm.System) {
	j.strayed(sys)
	p := newProblem(j.rules, sys, j.after)
	is, chosen, l, why := p.of(j.after)
	if why != "" {
		j.complain("%s: %s", sys.Name, why)
		return
	}
	judged := j.judged(p, is)
	if p.unit && len(sys.Items)*sys.Ranks() <= fewSlots {
		best := p.best()
		// Which items do without when there is too little room is nobody's business, nor
		// which copy gives way when one must before its time.
		if best[costUnplaced]+best[costUnplaced1]+best[costUnplaced2] > 0 && !j.noLimits(sys) {
			judged = min(judged, costPrefer)
		}
		if best[costKeep] > 0 && sys.Ranks() > 1 {
			judged = min(judged, costOrder)
		}
		if worse, layer := best.less(is); worse && layer < judged {
			j.complain("%s: %s: %d, and %d would be possible", sys.Name, costNames[layer], is[layer], best[layer])
			return
		} else if better, layer := is.less(best); better {
			j.complain("the oracle is wrong: %s: %s: %d is better than %d", sys.Name, costNames[layer], is[layer], best[layer])
		}
	}
	if judged == costs {
		j.locally(p, chosen, l)
	}
}

// judged is how many layers count. Where a copy of several has failed, the others stand
// in for it, at home or not; where one must give way before its time, it is the
// engine's business which.
func (j *judgement) judged(p *problem, is cost) int {
	if p.sys.Ranks() == 1 {
		return costs
	}
	for _, item := range p.sys.Items {
		for _, m := range p.members {
			if j.rate(p.sys, item.ID, m) == rateFailed {
				return costKeep
			}
		}
	}
	if is[costKeep] > 0 {
		return costOrder
	}
	return costs
}

// fewSlots are so few that everything can be tried.
const fewSlots = 15

// locally looks whether one item elsewhere would be better: what weighs unequally need
// not be packed and spread as well as possible.
func (j *judgement) locally(p *problem, chosen []option, l burdens) {
	for i, item := range p.sys.Items {
		without := l
		for _, at := range chosen[i].ranks {
			if at >= 0 {
				without[at] -= uint8(item.Load())
			}
		}
		is := chosen[i].cost
		is[costBalance] = p.balance(l)
		for _, o := range p.options[i] {
			to, fits := p.add(without, o, item.Load())
			if !fits {
				continue
			}
			o.cost[costBalance] = p.balance(to)
			if better, layer := o.cost.less(is); better && (p.unit || layer <= costBalance) {
				j.complain("%s: %s with %sinstead of %swould be better: %s", p.sys.Name, item.ID, p.names(o.ranks), p.names(chosen[i].ranks), costNames[layer])
				return
			}
		}
	}
}

// referredTo reports whether another system goes with this one.
func (j *judgement) referredTo(id fsm.SystemID) bool {
	for _, other := range j.before.Spec().Systems {
		if slices.Contains(other.With, id) {
			return true
		}
	}
	return false
}

// strayed looks for slots that were given to somebody who may not have them, and for
// two ranks with one member.
func (j *judgement) strayed(sys fsm.System) {
	for _, item := range sys.Items {
		var who []string
		for rank := range sys.Ranks() {
			k := fsm.Key{System: sys.Name, Item: item.ID, Rank: rank}
			was, _ := j.before.Slot(k)
			is, _ := j.after.Slot(k)
			if is.Owner == "" {
				continue
			}
			if is.Owner != was.Owner && !j.may(sys, item.ID, is.Owner) {
				j.complain("%v was given to %s, who may not have it", k, is.Owner)
			}
			if slices.Contains(who, string(is.Owner)) {
				j.complain("%v: %s has two ranks of it: %s", k, is.Owner, strings.Join(who, " "))
			}
			who = append(who, string(is.Owner))
		}
	}
}

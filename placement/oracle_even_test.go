package placement

import (
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// dealt looks whether homes are dealt so that everything is spread as well as it can
// be: where they have just been dealt, and everybody is there to be dealt to.
func (j *judgement) dealt() []string {
	already := len(j.complaints)
	for _, sys := range j.before.Spec().Systems {
		if j.done && sys.Split == fsm.Shard && !j.before.Maintained(sys.Name) && j.dealtNow(sys) {
			j.evenly(sys)
		}
	}
	return j.complaints[already:]
}

// dealtNow reports whether all homes of a system may have changed, and each member is
// either ready for an item or never will be.
func (j *judgement) dealtNow(sys fsm.System) bool {
	if len(sys.With)+len(sys.Apart) > 0 || j.referredTo(sys.Name) || j.anyFixed(sys) || len(sys.Items)*sys.Ranks() > fewSlots {
		return false
	}
	fresh := true
	for slot := range j.before.SlotsOf(sys.Name) {
		fresh = fresh && slot.Home == ""
	}
	if !fresh && (!sys.Rehome || sys.Failback != 0) {
		return false
	}
	for _, item := range sys.Items {
		if item.Load() != sys.Items[0].Load() {
			return false
		}
		for _, m := range j.serving(sys) {
			if rate := j.rate(sys, item.ID, m); rate != rateFine && (rate != rateNone || !j.usable(m)) {
				return false
			}
		}
	}
	return true
}

// evenly compares the loads with the most even ones that there are when homes do not
// count.
func (j *judgement) evenly(sys fsm.System) {
	p := newProblem(j.rules, sys, j.after)
	is, _, _, why := p.of(j.after)
	if why != "" {
		return // somebody else says so
	}
	for i, options := range p.options {
		p.options[i] = slices.Clone(options)
		for o := range options {
			for layer := costHome; layer < costs; layer++ {
				p.options[i][o].cost[layer] = 0
			}
		}
	}
	if best := p.best(); best[costBalance] < is[costBalance] {
		j.complain("%s: homes are dealt so that balance is %d, and %d would be possible", sys.Name, is[costBalance], best[costBalance])
	}
}

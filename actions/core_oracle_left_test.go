package actions

import (
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// Adopt is what a former process left up: at-least-one hooks count as held.
func (o *oracle) Adopt(jobs []fsm.Job) {
	for _, j := range jobs {
		t := o.thing(j.Key)
		fresh := !t.up && !o.inFlight(j.Key) && len(t.undone) == 0
		if !fresh || j.AtMostOne || j.Action == fsm.ActionIP {
			o.leaves(j)
			continue
		}
		t.up, t.found, t.job = true, true, j
		t.counts(means(&j), j.Token)
	}
	o.Core.Adopt(jobs)
}

// Sweep is what else it left.
func (o *oracle) Sweep(jobs []fsm.Job) {
	for _, j := range jobs {
		o.leaves(j)
	}
	o.Core.Sweep(jobs)
}

func (o *oracle) leaves(j fsm.Job) {
	t, m := o.thing(j.Key), means(&j)
	if o.comes(j.Key) && SameWay(&t.job, &j) || t.undone[m] && !t.may(m, 0) {
		return // that became, or was brought down as, what this process did
	}
	t.by[m] = 0
	t.listed[m], t.most[m], t.gated[m] = true, j.AtMostOne, j.Gated
}

// comes says whether an item is up or on its way.
func (o *oracle) comes(k fsm.Key) bool {
	t := o.item[k]
	return t != nil && t.up && !t.lapsed || slices.ContainsFunc(o.flight, func(e Effect) bool {
		return e.Job.Key == k && e.Kind == Acquire && !o.slots[k].cancelled
	})
}

// startedLeft checks what is begun against what a former process left, and
// against maintenance.
func (o *oracle) startedLeft(t *thing, e Effect, j *fsm.Job) {
	k, m := e.Job.Key, means(&e.Job)
	listed := t.listed[m]
	if e.Kind == Release {
		early := !o.trusted() && o.mode != stopAll && o.known[k] == "" && jobKeep(j) && !t.going
		if early && (t.found || listed && !t.most[m]) {
			o.fail("%v released before the log can be trusted", k)
		}
		return
	}
	if t.found {
		o.fail("acquire of %v, which a former process left up", k)
	}
	tried := t.failedDown // service comes first
	for l := range t.listed {
		address := l == m && e.Job.Action == fsm.ActionIP
		if (t.most[l] && e.Job.AtMostOne || !tried && !address) && !o.forcedHere(k, l) {
			o.fail("acquire of %v before what a former process left is gone", k)
		}
	}
	if j != nil && j.Maintained && t.failed != 0 && t.failed == j.Token {
		o.fail("acquire of %v, which failed, under maintenance", k)
	}
}

// forcedHere says whether an operator has said that it is not up.
func (o *oracle) forcedHere(k fsm.Key, m string) bool {
	return slices.ContainsFunc(o.slice.Owe, func(w fsm.Owed) bool {
		return w.Void && w.Job.Key == k && means(&w.Job) == m
	})
}

// forgive forgets failures that another decision, or an operator, has made up
// for.
func (o *oracle) forgive(before fsm.Slice) {
	failed := map[fsm.Key]fsm.Token{}
	for _, j := range before.Want {
		if j.Failed {
			failed[j.Key] = j.Token
		}
	}
	for k, t := range o.item {
		j := o.wanted(k)
		if jobKeep(j) || j.Token != t.failed || failed[k] == j.Token && !j.Failed {
			t.failed = 0
		}
	}
}

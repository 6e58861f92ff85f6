package actions

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// oracle stands between a Core and its inputs and knows, in the dumbest way,
// what may be up on the machine. It finds whatever a Core may never do.
type oracle struct {
	*Core
	rule  Rule
	slice fsm.Slice
	lease bool
	now   time.Duration
	mode  mode
	epoch fsm.Epoch // the first one

	item   map[fsm.Key]*thing
	flight []Effect
	wrong  []string

	words map[fsm.Key]string // why it cannot be held here
	known map[fsm.Key]string // as it was at the last Step
	ever  map[fsm.Key]bool   // was wanted and unfit at some Step
	bets  map[bet]time.Duration
	won   map[fsm.Key][]fsm.Claim
}

// thing is one item on the machine.
type thing struct {
	// by is what may be up, by the `down` it needs: the lowest token that it counts
	// under, 0 for any.
	by map[string]fsm.Token
	// left: a former process may have left anything, but by the hooks whose `down`
	// has succeeded.
	left   bool
	undone map[string]bool
	doubt  map[string]bool // a clean-up that was asked for and has not succeeded
	gated  map[string]bool // of by: what is up, or may be, is behind the gate
	up     bool            // is up
	job    fsm.Job
	found  bool // is up since a former process left it so
	// listed: what else a former process left, by the `down` it needs.
	listed     map[string]bool
	most       map[string]bool // of listed: is at-most-one
	failedDown bool            // the last release failed
	failed     fsm.Token       // of the last acquire that failed, while that counts
	lapsed     bool            // at-most-one: it had to go since it was acquired
	going      bool            // a release has begun and none has succeeded since
}

func newOracle(cfg CoreConfig) *oracle {
	o := &oracle{
		rule: cfg.Without, item: map[fsm.Key]*thing{}, words: map[fsm.Key]string{}, known: map[fsm.Key]string{},
		ever: map[fsm.Key]bool{}, won: map[fsm.Key][]fsm.Claim{},
	}
	cfg.Unfit = func(j *fsm.Job) string { return o.words[j.Key] }
	o.Core = NewCore(cfg)
	return o
}

// means is by what an item is let go of.
func means(j *fsm.Job) string { return strings.Join(append([]string{j.Down}, j.Addrs...), " ") }

func (o *oracle) unfit(k fsm.Key, words string) {
	o.words[k] = words
	o.Recheck()
}

func (o *oracle) fail(format string, args ...any) {
	o.wrong = append(o.wrong, fmt.Sprintf(format, args...))
}

// thing is what may be up: at first anything a former process held.
func (o *oracle) thing(k fsm.Key) *thing {
	t := o.item[k]
	if t == nil {
		t = newThing()
		t.left = true
		o.item[k] = t
	}
	return t
}

func newThing(downs ...string) *thing {
	t := &thing{
		by: map[string]fsm.Token{}, undone: map[string]bool{}, doubt: map[string]bool{}, gated: map[string]bool{},
		listed: map[string]bool{}, most: map[string]bool{},
	}
	for _, d := range downs {
		t.by[d] = 0
	}
	return t
}

// maybe says whether anything may be up.
func (t *thing) maybe() bool { return len(t.by) > 0 || t.left }

// may says whether something may be up by these hooks under this token.
func (t *thing) may(down string, token fsm.Token) bool {
	floor, ok := t.by[down]
	return ok && token >= floor || !ok && t.left && !t.undone[down]
}

// counts is what has come up, or is held on, under a token.
func (t *thing) counts(down string, token fsm.Token) {
	t.by[down], t.undone[down] = max(t.by[down], token), true
	delete(t.doubt, down)
	delete(t.listed, down)
}

func (o *oracle) wanted(k fsm.Key) *fsm.Job {
	for i := range o.slice.Want {
		if o.slice.Want[i].Key == k {
			return &o.slice.Want[i]
		}
	}
	return nil
}

// mayHold is L3, word by word.
func (o *oracle) mayHold(j *fsm.Job) bool { return o.mayHoldUnder(j, o.lease) }

func (o *oracle) mayHoldUnder(j *fsm.Job, lease bool) bool {
	if j == nil || o.mode != serving && j.AtMostOne || o.mode == stopAll && !j.Maintained || o.known[j.Key] != "" {
		return false
	}
	return !j.AtMostOne || lease && !j.Barred && o.trusted() && !slices.ContainsFunc(j.Blocked, func(b fsm.Blocker) bool {
		return !slices.Contains(o.won[j.Key], claimOf(&b))
	})
}

func (o *oracle) trusted() bool {
	return o.slice.Epoch != 0 && o.slice.At >= fsm.Index(o.slice.Epoch)
}

func (o *oracle) Set(sl fsm.Slice) {
	before := o.slice
	if o.Core.Set(sl) {
		o.slice = sl
		o.forgive(before)
		if o.epoch == 0 {
			o.epoch = sl.Epoch
		}
	}
}

func (o *oracle) Clean(jobs []fsm.Job) {
	o.Core.Clean(jobs)
	for _, j := range jobs {
		if j.AtMostOne {
			o.thing(j.Key).doubt[means(&j)] = true
		}
	}
}

func (o *oracle) Stop(all bool) {
	o.Core.Stop(all)
	o.mode = max(o.mode, stopMost)
	if all {
		o.mode = stopAll
	}
}

func (o *oracle) Step(lease bool) (start, cancel []Effect, next time.Duration) {
	o.lease = lease
	o.look()
	for _, t := range o.item {
		t.lapsed = t.lapsed || t.up && t.job.AtMostOne && !o.mayHold(o.wanted(t.job.Key))
	}
	start, cancel, next = o.Core.Step(o.now, lease)
	if next <= o.now {
		o.fail("next wake %v is not after now %v", next, o.now)
	}
	for i, e := range start {
		o.started(e, start[i+1:])
	}
	for _, e := range cancel {
		j := o.wanted(e.Job.Key)
		if e.Kind != Acquire || o.mayHold(j) && sameDefinition(*j, e.Job) {
			o.fail("%v of %v cancelled although wanted", e.Kind, e.Job.Key)
		}
	}
	for _, e := range o.flight {
		if e.Kind == Acquire && !o.mayHold(o.wanted(e.Job.Key)) && !o.slots[e.Job.Key].cancelled {
			o.fail("acquire of %v runs on although nobody wants it", e.Job.Key)
		}
	}
	o.adopt()
	o.truthful()
	o.gate()
	return start, cancel, next
}

// adopt is what a newer decision makes of what is up, with no effect at all.
func (o *oracle) adopt() {
	for k, t := range o.item {
		if j := o.wanted(k); t.up && !t.lapsed && !jobKeep(j) && o.mayHold(j) && sameDefinition(t.job, *j) {
			t.counts(means(&t.job), j.Token)
			t.found = t.found && !o.trusted()
		}
	}
}

func (o *oracle) started(e Effect, rest []Effect) {
	k := e.Job.Key
	for _, f := range o.flight {
		if f.Job.Key == k {
			o.fail("two effects of %v", k)
		}
	}
	o.flight = append(o.flight, e)
	t, j := o.thing(k), o.wanted(k)
	o.startedLeft(t, e, j)
	if e.Kind == Release {
		if t.up && !t.lapsed && o.mayHold(j) && (j.Keep || sameDefinition(t.job, *j)) {
			o.fail("%v released although it may be held", k)
		}
		t.up, t.found, t.going = false, false, true
		return
	}
	switch {
	case o.mode != serving:
		o.fail("acquire of %v while stopping", k)
	case j == nil || j.Keep || !o.mayHold(j):
		o.fail("acquire of %v, which nobody allows", k)
	case t.up:
		o.fail("acquire of %v, which is up", k)
	}
	for _, r := range rest {
		if r.Kind == Release && r.Job.AtMostOne && e.Job.AtMostOne {
			o.fail("acquire of %v before release of %v", k, r.Job.Key)
		}
	}
	for other, x := range o.item {
		// Hooks wait for their turn, addresses for nothing.
		queued := e.Job.Action == fsm.ActionIP && x.job.Action == fsm.ActionHooks
		if e.Job.AtMostOne && x.up && x.job.AtMostOne && !queued && !o.mayHold(o.wanted(other)) {
			o.fail("acquire of %v while %v is still to be released", k, other)
		}
		if other != k && other.System == k.System && other.Item == k.Item && (x.up || o.inFlight(other)) {
			o.fail("acquire of %v while rank %d is up", k, other.Rank)
		}
	}
	m := means(&e.Job)
	if _, ok := t.by[m]; !ok {
		t.by[m] = 0
		if !t.left || t.undone[m] {
			t.by[m] = e.Job.Token
		}
		t.gated[m] = e.Job.Gated
	}
	t.gated[m] = t.gated[m] && e.Job.Gated
	t.job, t.lapsed = e.Job, false
}

func (o *oracle) inFlight(k fsm.Key) bool {
	return slices.ContainsFunc(o.flight, func(e Effect) bool { return e.Job.Key == k })
}

// end ends the effect in flight of a key.
func (o *oracle) end(k fsm.Key, err error) bool {
	i := slices.IndexFunc(o.flight, func(e Effect) bool { return e.Job.Key == k })
	if i < 0 {
		return false
	}
	e := o.flight[i]
	o.flight = slices.Delete(o.flight, i, i+1)
	t, m := o.thing(k), means(&e.Job)
	switch {
	case err != nil && e.Kind == Release:
		if t.may(m, 0) {
			t.by[m] = 0 // whatever is said of the rest: this may be up
		}
		t.failedDown = true
	case err != nil && !o.slots[k].cancelled:
		t.failed = e.Job.Token
	case err != nil:
	case e.Kind == Release:
		delete(t.by, m)
		delete(t.doubt, m)
		delete(t.listed, m)
		t.undone[m], t.lapsed, t.going, t.failedDown = true, false, false, false
	case !o.slots[k].cancelled:
		t.up, t.gated[m], t.failed = true, e.Job.Gated, 0
		t.counts(m, e.Job.Token)
	}
	o.Done(o.now, e, err)
	o.truthful()
	return true
}

// truthful checks every word of the report.
func (o *oracle) truthful() {
	r := o.Report()
	if r.Epoch != o.slice.Epoch {
		o.fail("report of epoch %d, the slice's is %d", r.Epoch, o.slice.Epoch)
	}
	for _, c := range r.Acquired {
		j, t := o.wanted(c.Key), o.thing(c.Key)
		if j == nil || j.Keep || j.Token != c.Token || c.Epoch != o.slice.Epoch || !t.up {
			o.fail("acquired %v@%d is not true", c.Key, c.Token)
		}
	}
	for _, c := range append(r.Released, r.Swept...) {
		t := o.thing(c.Key)
		i := slices.IndexFunc(o.slice.Owe, func(w fsm.Owed) bool {
			return w.Job.Key == c.Key && w.Token == c.Token && w.Epoch == c.Epoch && w.Member == c.Member
		})
		if i < 0 {
			o.fail("released %v@%d, which the log does not show", c.Key, c.Token)
			continue
		}
		// Under a token of its own time only this process brought anything up.
		own := c.Epoch >= o.epoch && fsm.Epoch(c.Token) >= o.epoch
		if m := means(&o.slice.Owe[i].Job); t.may(m, c.Token) && (t.by[m] > 0 || !own) {
			o.fail("released %v@%d is not true", c.Key, c.Token)
		}
	}
	for _, c := range r.Swept {
		if c.Epoch >= o.epoch {
			o.fail("swept %v of the own epoch %d", c.Key, c.Epoch)
		}
	}
	o.failures(r)
	kept, _ := o.Kept()
	for _, k := range kept {
		t := o.thing(k)
		idle := !t.going && len(t.by)+len(t.doubt) == 0 && len(t.undone) > 0
		for _, w := range o.slice.Owe {
			idle = idle && (w.Job.Key != k || t.undone[means(&w.Job)] && !t.may(means(&w.Job), w.Token))
		}
		// What was assigned to a former process that process may have brought up.
		w := o.wanted(k)
		if former := w != nil && !t.undone[means(w)] && (o.epoch == 0 || fsm.Epoch(w.Token) < o.epoch); idle && !former {
			o.fail("%v counts as kept and is down", k)
		}
	}
	for k, t := range o.item {
		for m := range t.listed {
			if t.most[m] && !slices.Contains(kept, k) {
				o.fail("%v was left by a former process and does not count as kept", k)
			}
		}
		if t.up && t.job.AtMostOne && !slices.Contains(kept, k) {
			o.fail("%v is up and does not count as kept", k)
		}
	}
}

func jobKeep(j *fsm.Job) bool { return j == nil || j.Keep }

package sim

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
)

// stuckMost is how long a call for an address stands in the kernel at the most.
const stuckMost = 500 * time.Millisecond

// start begins an effect in a thread of its own: it asks whether the effect is
// still wanted, notes it, and does it.
func (x *executor) start(e Effect) {
	p, w := x.p, x.p.w
	c := &effect{Effect: e, out: Outcome{Took: 5 * time.Millisecond}}
	if w.cfg.Hook != nil {
		c.out = w.cfg.Hook(w, p, e)
	}
	x.running[e.ID] = c
	if h := p.machine.letsGo(&e.Job); h != nil && e.Kind == actions.Release {
		w.checker.releasing(p, h)
	}
	p.then(BeforeNote, func() { x.note(c) })
}

// then goes on in the same thread, starved at a place as the World decides.
func (p *Process) then(at GateStep, fn func()) {
	var d time.Duration
	if p.w.cfg.Starve != nil {
		d = p.w.cfg.Starve(p.w, p, at)
	}
	if d == 0 {
		fn()
		return
	}
	p.w.Count.add(EffectsStarved)
	p.w.After(d, func() { p.resume(fn) })
}

// resume goes on where a thread stood, once the process runs.
func (p *Process) resume(fn func()) {
	switch {
	case p.dead:
	case p.Frozen():
		p.parked = append(p.parked, func() { p.resume(fn) })
	default:
		fn()
	}
}

func (x *executor) note(c *effect) {
	p := x.p
	if !x.permitted(c) {
		x.finish(c, context.Canceled)
		return
	}
	if h := p.machine.letsGo(&c.Job); h != nil && c.Kind == actions.Release {
		h.OK = false // as the list says from now on
	}
	id := ""
	if !p.w.cfg.Rules.ToldBefore {
		e := p.machine.list.begin(p.machine, c.Kind, c.Job)
		id = e.Run
		x.tell(e, true)
	}
	p.whenGuarded(func() {
		if !x.permitted(c) {
			x.finish(c, context.Canceled)
			return
		}
		p.then(BeforeEffect, func() { x.act(c, id) })
	})
}

// permitted says whether an effect may still be begun.
func (x *executor) permitted(c *effect) bool {
	if c.Kind == actions.Release {
		return true
	}
	_, leased := x.p.live.Lease(x.p.machine.Now())
	return !c.unwant && (leased || !c.Job.AtMostOne) && !x.p.pipeShut
}

// act does it: a hook is a process of its own, an address a call of this one.
func (x *executor) act(c *effect, id string) {
	p, w := x.p, x.p.w
	if c.Kind == actions.Acquire {
		w.Count.add(Acquires)
		if len(c.Job.Blocked) > 0 {
			w.Count.add(BetsWon)
		}
	} else {
		w.Count.add(Releases)
	}
	if w.cfg.Trace {
		w.tracef("%s: %s of %s/%s@%d for %v", p.ID(), verb(c.Kind), c.Job.System, c.Job.Item, c.Job.Token, c.out.Took)
	}
	if c.Job.Action == fsm.ActionHooks {
		x.hook(c, id)
	} else {
		x.call(c)
	}
}

// hook starts the hook and ends it at its deadline, as far as anybody watches.
func (x *executor) hook(c *effect, id string) {
	p, w := x.p, x.p.w
	limit := c.Job.StopTimeout
	if c.Kind == actions.Acquire {
		limit = c.Job.StartTimeout
	}
	if limit == 0 {
		limit = stopTimeout
	}
	late := false
	c.run = &run{id: id, kind: c.Kind, job: c.Job, member: p.Name, out: c.out, exit: func(err error) {
		if late {
			err = errTimeout
		}
		x.finish(c, err)
	}}
	r := c.run
	if c.out.Fork > 0 {
		p.machine.lock.take(r)
		p.forks++
	}
	p.machine.spawn(r, func() {
		p.machine.lock.leave(r)
		p.forks--
		p.lifeEnds()
	})
	if c.unwant {
		r.tell()
	}
	if c.out.Hang || c.out.Took > limit {
		w.After(limit, func() {
			p.resume(func() {
				if !r.over {
					w.Count.add(HooksHung)
					late = true
					r.tell()
				}
			})
		})
	}
}

// call plumbs or removes an address. A call that the kernel has lands whatever
// becomes of the process; that is really gone only then.
func (x *executor) call(c *effect) {
	p, w := x.p, x.p.w
	took := c.out.Took
	var err error
	switch {
	case c.out.Hang || took > stopTimeout:
		took, err = stopTimeout, errTimeout
		w.Count.add(HooksHung)
	case c.out.Fail:
		err = errHook
		w.Count.add(HooksFailed)
	}
	switch {
	case c.Kind == actions.Release:
	case c.out.Stuck > 0:
		took = max(took, c.out.Stuck)
		p.inKernel++
		w.After(c.out.Stuck, func() { x.lands(c) })
	default:
		c.landed = true
		p.machine.plumb(p.Name, c.Job, p.ttl(), false)
	}
	w.After(took, func() { x.called(c, err) })
}

// lands is a call that stood in the kernel.
func (x *executor) lands(c *effect) {
	p := x.p
	if p.boot != p.machine.boots {
		return
	}
	if p.dead {
		p.w.Count.add(StuckLanded)
		p.w.tracef("%s: the call for %s/%s lands, and its process is dead", p.machine.Name, c.Job.System, c.Job.Item)
	}
	p.machine.plumb(p.Name, c.Job, p.ttl(), false)
	p.inKernel--
	p.reap()
}

// called is the end of a call, in the kernel whether or not the daemon notices.
func (x *executor) called(c *effect, err error) {
	p := x.p
	if c.over || p.dead {
		return
	}
	if c.unwant {
		err = context.Canceled
	}
	switch h := p.machine.letsGo(&c.Job); {
	case h == nil || err != nil:
	case c.Kind == actions.Release:
		p.machine.drop(c.Job.Key)
	default:
		p.w.checker.acquired(p.machine, h)
	}
	x.finish(c, err)
}

// finish takes in how an effect ended.
func (x *executor) finish(c *effect, err error) {
	p := x.p
	if c.over || p.dead {
		return
	}
	c.over = true
	switch {
	case c.Kind == actions.Acquire && err != nil:
		p.failing[c.Job.Key] = true
	case err == nil:
		delete(p.failing, c.Job.Key)
	}
	p.do(func() { x.done(c, err) })
}

// done is the process's own thread of the effect at its end.
func (x *executor) done(c *effect, err error) {
	p := x.p
	c.over = true
	if _, still := x.running[c.ID]; !still {
		return
	}
	delete(x.running, c.ID)
	if p.w.cfg.Rules.ToldBefore {
		p.machine.list.begin(p.machine, c.Kind, c.Job)
	}
	x.tell(p.machine.list.end(c.Kind, &c.Job, err))
	if h := p.machine.letsGo(&c.Job); h != nil && c.Kind == actions.Acquire && err == nil {
		h.OK = true
	}
	p.core.Done(p.machine.Now(), c.Effect, err)
	x.adopt()
	x.due = true
}

// cancel ends an effect early: the process group is told to end.
func (x *executor) cancel(e Effect) {
	c := x.running[e.ID]
	switch {
	case c == nil:
	case c.run != nil:
		c.run.tell()
	default:
		c.unwant = true
		if c.landed {
			x.p.w.After(x.p.w.between(0, 3*time.Millisecond), func() { x.finish(c, context.Canceled) })
		}
	}
}

// endAll tells every hook to end, and says whether none runs.
func (x *executor) endAll() bool {
	none := true
	for _, id := range slices.Sorted(maps.Keys(x.running)) {
		if c := x.running[id]; c.run != nil && !c.run.over {
			none = false
			c.run.tell()
		}
	}
	return none
}

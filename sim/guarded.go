package sim

import (
	"time"

	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/fsm"
)

// told is what a daemon has said of its lease to its guard.
type told struct {
	leased   bool // one has run, and its end is not settled
	epoch    fsm.Epoch
	ends     time.Duration
	released bool
	until    time.Duration
	left     bool
}

// closePipe is a daemon that cannot go on, and may not even be able to end.
// Nothing is acquired from then on.
func (p *Process) closePipe() {
	p.pipeShut = true
	if g := p.guard; g != nil {
		g.do(func() { g.core.HungUp(g.m.Now()) })
	}
}

// lifeEnds shows the guard the end of the life line once nobody has it open.
func (p *Process) lifeEnds() {
	if g := p.guard; g != nil && p.forks == 0 && p.gone {
		g.do(func() { g.core.PipeClosed(g.m.Now()) })
	}
}

// tell shows the guard what the list says. Who has no guard waits for one.
func (x *executor) tell(e ledger.Entry, there bool) {
	if g := x.p.guard; g != nil && e.ID != 0 && !x.p.pipeShut {
		g.tell(e, there)
	}
}

// whenGuarded goes on once there is a guard that was told.
func (p *Process) whenGuarded(fn func()) {
	if !p.w.cfg.Guard || p.guard != nil {
		fn()
		return
	}
	p.w.Count.add(GuardWaits)
	p.unguarded = append(p.unguarded, func() { p.resume(fn) })
}

// tellLease says until when the lease runs, or what is done about its end.
func (p *Process) tellLease(now time.Duration) {
	if !p.w.cfg.Guard {
		return
	}
	t := &p.told
	was := *t
	left, ok := p.live.Lease(now)
	switch {
	case ok:
		*t = told{leased: true, epoch: p.live.Epoch(), ends: now + left}
	case !t.leased:
	case !p.machine.list.most():
		t.leased, t.released = false, true
	case t.until == 0:
		t.until = now + stopTimeout + hookGrace
	}
	if *t != was {
		p.tellGuard()
	}
}

// tellGuard hands on the newest state, once.
func (p *Process) tellGuard() {
	g := p.guard
	switch {
	case g == nil || g.news || p.pipeShut:
	case g.busy || g.Frozen() || len(g.inbox) > 0 || g.timer == 0 || p.told.left:
		g.news = true
		g.do(g.lease)
	default:
		g.lease() // its timer wakes it no later than before
	}
}

// dismiss tells the guard that it is not needed any more, unless something is
// still held.
func (p *Process) dismiss() {
	if !p.machine.list.most() {
		p.told.left = true
		p.tellGuard()
	}
}

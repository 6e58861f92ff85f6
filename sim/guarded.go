package sim

import (
	"time"

	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/fsm"
)

// told is what a daemon has said of its lease to its guard.
type told struct {
	epoch    fsm.Epoch
	ends     time.Duration
	released bool
	until    time.Duration
	left     bool
}

// tell shows the guard what the list says. Who has no guard waits for one.
func (x *executor) tell(e ledger.Entry, there bool) {
	if g := x.p.guard; g != nil && e.ID != 0 {
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

// tellLease keeps the guard informed of the lease, and of what follows from its
// end.
func (p *Process) tellLease(now time.Duration) {
	if !p.w.cfg.Guard {
		return
	}
	t := &p.told
	was := *t
	left, ok := p.live.Lease(now)
	if epoch := p.live.Epoch(); epoch >= t.epoch {
		if ok && (epoch > t.epoch || now+left > t.ends) {
			t.released, t.until = false, 0
		}
		t.epoch = epoch
		if ok {
			t.ends = now + left
		}
	}
	if !ok && t.ends != 0 && !t.released {
		if p.exec.lettingGo() {
			if t.until == 0 {
				t.until = now + stopTimeout + hookGrace
			}
		} else {
			t.released = true
		}
	}
	if *t != was {
		p.tellGuard()
	}
}

// tellGuard hands on the newest state, once.
func (p *Process) tellGuard() {
	g := p.guard
	switch {
	case g == nil || g.news:
	case g.busy || g.Frozen() || len(g.inbox) > 0 || g.timer == 0 || p.told.left:
		g.news = true
		g.do(g.lease)
	default:
		g.lease() // its timer wakes it no later than before
	}
}

// lettingGo says whether an at-most-one item is up, or on its way, that the
// executor may still let go of.
func (x *executor) lettingGo() bool {
	for _, c := range x.running {
		if c.Job.AtMostOne {
			return true
		}
	}
	for _, j := range x.p.core.Held() {
		if j.AtMostOne {
			return true
		}
	}
	return false
}

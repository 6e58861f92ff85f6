package sim

import (
	"time"

	"github.com/flip-ha/flip/fsm"
)

// What the gate is made of (ACTIONS.md 4).
const (
	gateFuse = 15 * time.Millisecond // from setting the fuse to the last call that counts
	gateTick = 4 * time.Millisecond  // the kernel's timers at HZ 250
)

// gate is the kernel's side: the lease element ends by the machine's own clock,
// whatever becomes of the process that set it.
type gate struct {
	epoch fsm.Epoch     // for which it was opened; the kernel does not know
	until time.Duration // the lease element's end; 0: there is none
	fuse  time.Duration // the fuse's end; 0: there is none
}

// open says whether gated items answer.
func (m *Machine) open() bool { return m.Now() < m.gate.until }

// GateStep is a place in an opening or renewal of the gate, or in an effect, at
// which its thread may be starved.
type GateStep int

// The places, in order.
const (
	BeforeFuse GateStep = iota // decided, with the lease read
	BeforeRead                 // the fuse is set
	BeforeCall                 // the clock is read

	BeforeNote   // an effect was decided on
	BeforeEffect // it is permitted, and noted
	BeforeAct    // of a guard, another done
)

// keeper is a process's side: it opens the gate in an epoch as soon as nothing
// is in the way, and renews it whenever a third of it is used up.
type keeper struct {
	epoch   fsm.Epoch     // for which this process has opened it; 0: it is to be opened
	renewed time.Duration // when, by the machine's clock
	length  time.Duration
	again   time.Duration // not before: the last call gave nothing
	busy    bool          // a call is on its way
	closed  bool          // for good
}

// call is one opening or renewal on its way into the kernel.
type call struct {
	p       *Process
	epoch   fsm.Epoch
	opening bool
	left    time.Duration
	// user: its thread dies with the process; else the kernel has it already.
	user bool
}

// step begins what is due; the answer is when to look again.
func (k *keeper) step(p *Process, now time.Duration) time.Duration {
	if !p.gate || k.busy || k.closed {
		return 0
	}
	left, ok := p.live.Lease(now)
	if !ok {
		return 0
	}
	c := &call{p: p, epoch: p.live.Epoch(), left: left, user: true}
	c.opening = k.epoch != c.epoch
	due := k.again
	if !c.opening {
		due = max(due, k.renewed+k.length/3)
	}
	switch {
	case now < due:
		return due
	case c.opening && !c.clear():
		p.w.Count.add(GateWaits)
		return 0 // woken by whatever ends it
	}
	k.busy = true
	c.then(BeforeFuse, c.setFuse)
	return 0
}

// clear says whether nothing is in the gate's way in the call's epoch.
func (c *call) clear() bool {
	if c.p.w.cfg.Rules.GateClear {
		return true
	}
	epoch, ok := c.p.core.Clear()
	return ok && epoch == c.epoch
}

// then goes on after as long as the thread is starved at one place.
func (c *call) then(at GateStep, fn func()) {
	w, d := c.p.w, 10*time.Microsecond
	if w.cfg.Starve != nil {
		d += w.cfg.Starve(w, c.p, at)
	}
	if d > gateFuse {
		w.Count.add(Starved)
		if w.cfg.Trace {
			w.tracef("%s: the gate's thread is starved for %v, step %d", c.p.ID(), d, at)
		}
	}
	w.After(d, func() { c.resume(fn) })
}

// resume runs the next step, unless the process is stopped or gone.
func (c *call) resume(fn func()) {
	switch p := c.p; {
	case c.user && p.dead || p.boot != p.machine.boots:
	case c.user && p.Frozen():
		p.parked = append(p.parked, func() { c.resume(fn) })
	default:
		fn()
	}
}

func (c *call) setFuse() {
	m := c.p.machine
	if !c.p.gate {
		c.end(false)
		return
	}
	m.gate.fuse = m.Now() + gateFuse
	c.then(BeforeRead, c.read)
}

// read asks the clock, the lease, and for an opening what is in the way, for the
// same epoch, with the fuse burning.
func (c *call) read() {
	p := c.p
	if !p.w.cfg.Rules.GateReread {
		left, ok := p.live.Lease(p.machine.Now())
		if !ok || p.live.Epoch() != c.epoch || c.opening && !c.clear() {
			c.end(false)
			return
		}
		c.left = left
	}
	if c.user = p.w.chance(0.5); !c.user {
		p.inKernel++
		c.then(BeforeCall, func() {
			p.inKernel--
			c.commit()
			p.reap()
		})
		return
	}
	c.then(BeforeCall, c.commit)
}

// commit is the transaction: all of it or nothing.
func (c *call) commit() {
	p, m, w := c.p, c.p.machine, c.p.w
	g := &m.gate
	now, burnt := m.Now(), m.Now() >= g.fuse
	left := c.left - 2*gateTick
	if w.cfg.Rules.GateFuse {
		burnt = false
	} else {
		left -= gateFuse
	}
	left = left.Truncate(gateTick)
	switch {
	case burnt || !p.gate || m.owner != p || !c.opening && !m.open():
		w.Count.add(GateRefused)
		c.end(false)
		return
	case left < 2*gateTick: // 0 on the wire means permanent
		c.end(false)
		return
	}
	was := m.open()
	*g = gate{epoch: c.epoch, until: now + left}
	if c.opening {
		w.Count.add(GateOpened)
		w.tracef("%s: the gate opens for epoch %d, %v", m.Name, c.epoch, left)
	} else {
		w.Count.add(GateRenewed)
	}
	if !was {
		m.watchGate(c.epoch)
		for _, k := range sortedKeys(m.holds) {
			w.checker.held(m, m.holds[k])
		}
	}
	p.keeper.epoch, p.keeper.renewed, p.keeper.length = c.epoch, now, left
	c.end(true)
}

// end lets the keeper go on. After a refusal it is to be opened: from the start,
// with all that this asks for.
func (c *call) end(done bool) {
	p := c.p
	p.keeper.busy = false
	if !done {
		p.keeper.epoch, p.keeper.again = 0, p.machine.Now()+gateTick
	}
	p.do(nil)
}

// own is a process that builds the tables, shut, and owns them from now on: what
// a former one has on its way is refused.
func (m *Machine) own(p *Process) {
	m.owner = p
	m.shut()
}

// shut flushes lease and fuse: a call on its way is refused.
func (m *Machine) shut() { m.gate = gate{} }

// watchGate counts the gates that the kernel shut with something behind them.
func (m *Machine) watchGate(epoch fsm.Epoch) {
	m.w.At(m.clock.when(m.gate.until), func() {
		if m.gate.epoch != epoch {
			return
		}
		if m.open() {
			m.watchGate(epoch)
			return
		}
		for _, h := range m.holds {
			if h.Gated {
				m.w.Count.add(GateShut)
				if m.w.cfg.Trace {
					m.w.tracef("%s: the kernel shuts the gate of epoch %d", m.Name, epoch)
				}
				return
			}
		}
	})
}

package sim

import (
	"slices"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
)

// Start starts a process of a member on a machine with a data directory.
func (w *World) Start(name fsm.MemberID, m *Machine, d *disk) *Process {
	w.Count.add(Starts)
	w.started++
	p := &Process{
		w: w, Name: name, Instance: d.instance, machine: m, disk: d,
		nonce:   w.nonceOf('p', uint64(w.started)),
		waiting: map[fsm.Index]func(fsm.Result, error){},
		failing: map[fsm.Key]bool{},
	}
	p.boot = m.boots
	m.starting = append(m.starting, p)
	switch {
	case w.cfg.Rules.Lock || len(m.lock.holders) == 0:
		p.locked()
	default:
		w.Count.add(LockWaits)
		w.tracef("%s waits for the lock of its data directory", p.ID())
		m.lock.waiting = append(m.lock.waiting, p)
	}
	return p
}

// locked has the data directory: what a former process left running ends first.
func (p *Process) locked() {
	p.machine.lock.take(p)
	l := &p.machine.list
	if rules := p.w.cfg.Rules; rules.ListLost || rules.ListOfInstance && l.instance != p.Instance {
		l.entries = nil
	}
	l.instance = p.Instance
	if p.w.cfg.Rules.OrphansRun {
		p.begin()
		return
	}
	p.machine.endRuns(running(l.entries), p.begin)
}

// begin is the daemon's own start.
func (p *Process) begin() {
	w, m, d := p.w, p.machine, p.disk
	if p.dead {
		return
	}
	m.starting = slices.DeleteFunc(m.starting, func(o *Process) bool { return o == p })
	p.started, p.gate = m.Now(), w.cfg.Gate
	p.seed, p.keys = w.seed(), d.keys
	votes := p.openLog()
	m.own(p) // then what was left behind the gate goes
	m.sweepAddresses()
	serial := uint64(w.started) << 32
	p.live = liveness.New(liveness.Config{
		Self: p.Name, Instance: d.instance, Host: m.host(d.instance), Process: p.nonce, Gate: w.cfg.Gate,
		Started: m.Now(), Seed: p.seed, Voter: votes, Without: w.cfg.Rules.Liveness, Wire: [2]uint16{1, 1},
		NewNonce: func() fsm.Nonce {
			p.nonces++
			return w.nonceOf('r', serial+p.nonces)
		},
	})
	p.exec.init(p)
	if w.cfg.Guard {
		p.startGuard()
	}
	p.exec.sweep()
	w.procs = append(w.procs, p)
	w.tracef("%s starts on %s, applied %d", p.ID(), m.Name, p.at)
	w.After(0, func() { p.do(func() { p.lead(false, "") }) })
}

// Kill ends a process as SIGKILL does: what its kernel holds stays.
func (p *Process) Kill() {
	if p.dead {
		return
	}
	p.w.Count.add(Kills)
	p.end("is killed")
}

func (p *Process) end(why string) {
	w := p.w
	w.tracef("%s %s", p.ID(), why)
	p.dead = true
	p.inbox, p.parked, p.unguarded = nil, nil, nil
	// A new slice: whoever goes through the old one may have ended this process.
	w.procs = slices.DeleteFunc(slices.Clone(w.procs), func(o *Process) bool { return o == p })
	p.machine.starting = slices.DeleteFunc(slices.Clone(p.machine.starting), func(o *Process) bool { return o == p })
	for _, c := range p.exec.running {
		if c.run != nil {
			c.run.orphan = true
		}
	}
	p.hangUp()
	p.machine.forsaken(p)
	if w.cfg.Dying == nil {
		p.reap()
		return
	}
	p.inKernel++ // its memory is freed
	w.After(w.cfg.Dying(w), func() {
		p.inKernel--
		p.reap()
	})
}

// reap is the end of the last thread of a dead process: its files are closed,
// but for those that its children between fork and exec have open.
func (p *Process) reap() {
	if !p.dead || p.inKernel > 0 || p.boot != p.machine.boots {
		return
	}
	p.machine.lock.leave(p)
	if !p.gone {
		p.gone = true
		if g := p.guard; g != nil {
			g.do(func() { g.core.Died(g.m.Now()) })
		}
	}
	p.lifeEnds()
}

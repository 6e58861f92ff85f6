package sim

import (
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Adversary makes everything go wrong that a seed draws, until it heals all at
// one instant.
type Adversary struct {
	w    *World
	base fsm.Spec // as founded: removed items come back from it
	end  time.Duration
	slow bool // hooks may take long, fail or hang
	torn []*Link
	// broken says until when every hook on a member fails.
	broken map[fsm.MemberID]time.Duration
}

// fault is one thing that may go wrong, and how often compared with the others.
type fault struct {
	weight int
	do     func(*Adversary)
}

// faults is a function: as a variable it would refer to itself.
func faults() []fault {
	return []fault{
		{14, (*Adversary).kill},
		{14, (*Adversary).squeeze},
		{8, (*Adversary).freeze},
		{12, (*Adversary).cutOne},
		{8, (*Adversary).isolate},
		{5, (*Adversary).storm},
		{6, (*Adversary).late},
		{6, (*Adversary).cutLog},
		{6, (*Adversary).elect},
		{5, (*Adversary).stall},
		{5, (*Adversary).lag},
		{3, (*Adversary).reboot},
		{3, (*Adversary).wipe},
		{2, (*Adversary).replace},
		{6, (*Adversary).leave},
		{2, (*Adversary).total},
		{2, (*Adversary).killAll},
		{1, (*Adversary).dropGate},
		{4, (*Adversary).carrier},
		{5, (*Adversary).coma},
		{4, (*Adversary).guarantee},
		{3, (*Adversary).ttl},
		{5, (*Adversary).items},
		{3, (*Adversary).force},
		{3, (*Adversary).breakHooks},
		{6, (*Adversary).killGuard},
		{4, (*Adversary).freezeGuard},
		{4, (*Adversary).killBoth},
		{3, (*Adversary).freezeBoth},
		{2, (*Adversary).closePipe},
		{4, (*Adversary).replicas},
		{4, (*Adversary).prefer},
		{2, (*Adversary).cleanup},
	}
}

// Torment begins at once and heals everything at a true time.
func (w *World) Torment(until time.Duration) *Adversary {
	a := &Adversary{w: w, base: w.cfg.Spec, end: until, slow: true, broken: map[fsm.MemberID]time.Duration{}}
	for _, from := range w.names {
		for _, to := range w.names {
			l := w.Link(from, to)
			l.Loss, l.Twice = 0.01*w.rng.Float64(), 0.01
			l.Late, l.LateBy = 0.003, 2*w.cfg.Spec.Timing.Lease
			l.Max = w.between(l.Min, w.cfg.Spec.Timing.Heartbeat/2)
			a.torn = append(a.torn, l)
		}
	}
	w.After(a.pause(), a.next)
	w.At(until, a.heal)
	return a
}

func (a *Adversary) pause() time.Duration {
	return a.w.between(a.w.cfg.Spec.Timing.Heartbeat, 2*a.w.cfg.Spec.Timing.Lease)
}

func (a *Adversary) over() bool { return a.w.now >= a.end }

func (a *Adversary) next() {
	if a.over() {
		return
	}
	all := faults()
	if a.w.comesAndGoes() {
		all = append(all, onlineFaults()...)
	}
	sum := 0
	for _, f := range all {
		sum += f.weight
	}
	n := a.w.rng.IntN(sum)
	for _, f := range all {
		if n -= f.weight; n < 0 {
			f.do(a)
			break
		}
	}
	a.w.After(a.pause(), a.next)
}

// later undoes a fault, unless all was healed before.
func (a *Adversary) later(within time.Duration, fn func()) {
	a.w.After(a.w.between(0, within), func() {
		if !a.over() {
			fn()
		}
	})
}

func (a *Adversary) ttlNow() time.Duration { return a.w.checker.newest().MaxTTL() }

func (a *Adversary) name() fsm.MemberID { return a.w.names[a.w.rng.IntN(len(a.w.names))] }

func (a *Adversary) process() *Process {
	if len(a.w.procs) == 0 {
		return nil
	}
	return a.w.procs[a.w.rng.IntN(len(a.w.procs))]
}

func (a *Adversary) kill() {
	if p := a.process(); p != nil {
		p.Kill()
		a.later(3*a.ttlNow(), func() { a.w.Launch(p.Name) })
	}
}

func (a *Adversary) freeze() {
	if p := a.process(); p != nil {
		p.Freeze(a.w.between(time.Millisecond, 3*a.ttlNow()))
	}
}

func (a *Adversary) cutOne() {
	from, to := a.name(), a.name()
	if from == to {
		return
	}
	l := a.w.Link(from, to)
	l.Cut = true
	l.CutTCP = a.w.chance(0.3)
	if a.w.chance(0.3) {
		a.w.Link(to, from).Cut = true
	}
	a.w.tracef("cut %s -> %s", from, to)
	a.later(5*a.ttlNow(), func() { l.Cut, l.CutTCP, a.w.Link(to, from).Cut = false, false, false })
}

func (a *Adversary) isolate() {
	m, log := a.name(), a.w.chance(0.6)
	a.w.tracef("%s is isolated, log too: %v", m, log)
	a.w.Isolate(m, true)
	if !log {
		a.w.CutLog(m, false)
	}
	a.later(5*a.ttlNow(), func() { a.w.Isolate(m, false) })
}

func (a *Adversary) storm() {
	loss := a.w.rng.Float64() * 0.6
	a.w.tracef("%.0f %% of datagrams are lost", 100*loss)
	for _, l := range a.torn {
		l.Loss = loss
	}
	a.later(4*a.ttlNow(), func() {
		for _, l := range a.torn {
			l.Loss = 0.005
		}
	})
}

func (a *Adversary) late() {
	m := a.name()
	a.w.tracef("datagrams of %s are late", m)
	for _, o := range a.w.names {
		l := a.w.Link(m, o)
		l.Late, l.LateBy = a.w.rng.Float64(), 3*a.ttlNow()
		a.later(4*a.ttlNow(), func() { l.Late = 0.003 })
	}
}

func (a *Adversary) cutLog() {
	m := a.name()
	a.w.tracef("%s is cut from the log", m)
	a.w.CutLog(m, true)
	a.later(6*a.ttlNow(), func() { a.w.CutLog(m, false) })
}

func (a *Adversary) elect() {
	if p := a.process(); p != nil && a.w.log.up(p) {
		ids, _ := a.w.log.config()
		if slices.Contains(ids, p.ID()) {
			a.w.Elect(p)
		}
	}
}

func (a *Adversary) stall() { a.w.Stall(a.w.between(0, 6*a.ttlNow())) }

func (a *Adversary) lag() {
	m := a.name()
	a.w.Lag(m, a.w.between(0, 2*a.ttlNow()))
	a.later(6*a.ttlNow(), func() { a.w.Lag(m, -1) })
}

func (a *Adversary) reboot() {
	s := a.w.seat(a.name())
	a.w.Reboot(s.machine)
	a.later(4*a.ttlNow(), func() { a.w.Launch(s.name) })
}

func (a *Adversary) wipe() {
	// One at a time: a majority of wiped disks is a lost cluster.
	ids, committed := a.w.log.config()
	if want := a.voters(); len(ids) != want || !committed {
		return
	}
	for _, id := range ids {
		if a.w.seat(id.Member()).disk.instance != id.Instance() {
			return
		}
	}
	m := a.name()
	if a.w.chance(0.4) {
		a.w.Replace(m)
	} else {
		a.w.Wipe(m)
	}
	a.later(3*a.ttlNow(), func() { a.w.Launch(m) })
}

// voters is how many there are to be.
func (a *Adversary) voters() int {
	if a.w.comesAndGoes() {
		return len(a.w.checker.newest().Spec().Staying())
	}
	return len(a.w.names)
}

func (a *Adversary) replace() { a.wipe() }

func (a *Adversary) leave() {
	if p := a.process(); p != nil {
		p.Stop(func() { a.later(3*a.ttlNow(), func() { a.w.Launch(p.Name) }) })
	}
}

func (a *Adversary) total() {
	a.w.tracef("total partition")
	for _, m := range a.w.names {
		a.w.Isolate(m, true)
	}
	a.later(6*a.ttlNow(), func() {
		for _, m := range a.w.names {
			a.w.Isolate(m, false)
		}
	})
}

func (a *Adversary) killAll() {
	for _, p := range slices.Clone(a.w.procs) {
		p.Kill()
	}
	for _, m := range a.w.names {
		a.later(2*a.ttlNow(), func() { a.w.Launch(m) })
	}
}

func (a *Adversary) dropGate() {
	if p := a.process(); p != nil && p.gate {
		p.do(p.dropGate)
	}
}

func (a *Adversary) carrier() {
	m := a.w.seat(a.name()).machine
	a.w.SetCarrier(m, false)
	a.later(4*a.ttlNow(), func() { a.w.SetCarrier(m, true) })
}

// coma leaves a holder to its kernel for so long that what it does not refresh
// is removed, and others bet on that.
func (a *Adversary) coma() {
	p := a.w.running(a.holder())
	if p == nil {
		return
	}
	if d := a.w.between(time.Second, 7*time.Second); a.w.chance(0.5) {
		p.Freeze(d)
	} else {
		g := p.guard
		p.Kill()
		if g != nil && a.w.chance(0.7) { // else it speaks for the dead at once
			g.Kill()
		}
		a.w.After(d, func() { a.w.Launch(p.Name) })
	}
}

func (a *Adversary) guard() *Guard {
	if len(a.w.guards) == 0 {
		return nil
	}
	return a.w.guards[a.w.rng.IntN(len(a.w.guards))]
}

func (a *Adversary) killGuard() {
	if g := a.guard(); g != nil {
		g.Kill()
	}
}

func (a *Adversary) freezeGuard() {
	if g := a.guard(); g != nil {
		g.Freeze(a.w.between(time.Millisecond, 4*a.ttlNow()))
	}
}

// killBoth leaves a machine to itself, with a moment between the two at times.
func (a *Adversary) killBoth() {
	p := a.w.running(a.holder())
	if p == nil {
		return
	}
	g := p.guard
	p.Kill()
	if g != nil {
		a.later(50*time.Millisecond, g.Kill)
	}
	a.later(3*a.ttlNow(), func() { a.w.Launch(p.Name) })
}

// freezeBoth stops a holder and its guard, the one for longer than the other.
func (a *Adversary) freezeBoth() {
	p := a.w.running(a.holder())
	if p == nil {
		return
	}
	p.Freeze(a.w.between(a.ttlNow(), 4*a.ttlNow()))
	if p.guard != nil {
		p.guard.Freeze(a.w.between(time.Millisecond, 4*a.ttlNow()))
	}
}

// closePipe is a daemon that gives up, and may not even be able to end.
func (a *Adversary) closePipe() {
	p := a.process()
	if p == nil || p.guard == nil {
		return
	}
	a.w.Count.add(PipesClosed)
	p.closePipe()
	a.later(3*a.ttlNow(), func() { a.w.Launch(p.Name) })
}

func (a *Adversary) breakHooks() {
	if a.w.chance(0.3) { // whoever is given an item fails too
		a.w.tracef("hooks fail everywhere")
		until := a.w.now + a.w.between(time.Second, 3*time.Second)
		for _, m := range a.w.names {
			a.broken[m] = until
		}
		return
	}
	m := a.name()
	a.w.tracef("hooks fail on %s", m)
	a.broken[m] = a.w.now + a.w.between(0, time.Second)
}

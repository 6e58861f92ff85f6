package sim

import (
	"slices"
	"time"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/guard"
	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
)

// guardAnswer is how long a guard may be silent before its daemon replaces it.
const guardAnswer = time.Second

// Guard is the process beside a daemon: the shipped guard.Core with virtual
// duties. It has a share in the data directory's lock.
type Guard struct {
	w    *World
	m    *Machine
	p    *Process // the daemon
	core *guard.Core
	dead bool

	frozenUntil time.Duration
	busy        bool     // it carries out acts
	inbox       []func() // what came in while it did, or was frozen
	parked      []func() // where its thread stood
	news        bool     // a change of the lease is in the inbox
	timer       time.Duration
	runs        []*run
	// strikes are addresses that were removed, to be taken off the list.
	strikes []fsm.Job
}

// startGuard starts a guard that is told all that there is.
func (p *Process) startGuard() {
	g := &Guard{w: p.w, m: p.machine, p: p, core: guard.NewCore(guard.CoreConfig{
		Heartbeat: p.beat(), Grace: hookGrace, RetryFirst: 100 * time.Millisecond, RetryMax: time.Second,
	})}
	p.w.Count.add(Guards)
	p.w.guards = append(p.w.guards, g)
	p.machine.lock.take(g)
	for _, e := range p.machine.list.entries {
		g.core.Put(e)
	}
	g.lease()
	p.guard = g
	g.next()
	waiting := p.unguarded
	p.unguarded = nil
	for _, fn := range waiting {
		fn()
	}
}

// Kill ends a guard as SIGKILL does.
func (g *Guard) Kill() {
	if !g.dead {
		g.w.Count.add(GuardKills)
		g.end("is killed")
	}
}

// end is a guard's; its daemon, if that lives, starts another.
func (g *Guard) end(why string) {
	g.w.tracef("guard of %s on %s %s", g.p.ID(), g.m.Name, why)
	g.dead, g.inbox, g.parked = true, nil, nil
	g.w.guards = slices.DeleteFunc(slices.Clone(g.w.guards), func(o *Guard) bool { return o == g })
	g.m.forsaken(g.p)
	for _, r := range g.runs {
		r.orphan = true
	}
	if p := g.p; p.guard == g && !p.dead {
		p.guard = nil
		g.w.After(g.w.between(time.Millisecond, 20*time.Millisecond), func() { p.resume(p.startGuard) })
	}
	g.m.lock.leave(g)
}

// Freeze stops a guard for a time. One that does not answer is replaced.
func (g *Guard) Freeze(d time.Duration) {
	g.w.Count.add(GuardFreezes)
	g.w.tracef("guard of %s is frozen for %v", g.p.ID(), d)
	g.frozenUntil = max(g.frozenUntil, g.w.now+d)
	g.w.At(g.frozenUntil, g.thaw)
	if d > guardAnswer {
		g.w.After(guardAnswer, func() {
			g.p.resume(func() {
				if !g.dead && g.Frozen() {
					g.end("does not answer")
				}
			})
		})
	}
}

// Frozen says whether it stands still.
func (g *Guard) Frozen() bool { return g.w.now < g.frozenUntil }

func (g *Guard) thaw() {
	if g.dead || g.Frozen() {
		return
	}
	g.m.excuse()
	parked := g.parked
	g.parked = nil
	for _, fn := range parked {
		fn()
	}
	g.next()
}

// do has the guard take something in, in the order in which it came.
func (g *Guard) do(fn func()) {
	if g.dead {
		return
	}
	g.inbox = append(g.inbox, fn)
	g.next()
}

// next takes in all that has come, asks the core and does what it says, until
// there is nothing more.
func (g *Guard) next() {
	for !g.dead && !g.busy && !g.Frozen() {
		for len(g.inbox) > 0 {
			fn := g.inbox[0]
			g.inbox = g.inbox[1:]
			fn()
		}
		if g.dead {
			return
		}
		acts, next := g.core.Step(g.m.Now())
		if len(acts) == 0 {
			g.wakeAt(next)
			return
		}
		g.perform(acts)
	}
}

func (g *Guard) wakeAt(local time.Duration) {
	if local == guard.Never {
		return
	}
	at := g.m.clock.when(max(local, g.m.Now()+time.Microsecond))
	if g.timer > g.w.now && g.timer <= at {
		return
	}
	g.timer = at
	g.w.At(at, func() {
		if g.timer == at && !g.dead {
			g.timer = 0
			g.do(func() {})
		}
	})
}

// perform carries out acts in their order; between two of them the thread may be
// starved.
func (g *Guard) perform(acts []guard.Act) {
	g.busy = true
	for i, a := range acts {
		if g.dead {
			return
		}
		var d time.Duration
		if g.w.cfg.Starve != nil && i > 0 {
			d = g.w.cfg.Starve(g.w, g.p, BeforeAct)
		}
		if d > 0 {
			g.w.Count.add(GuardsStarved)
			g.w.After(d, func() { g.resume(func() { g.act(a); g.perform(acts[i+1:]); g.next() }) })
			return
		}
		g.act(a)
	}
	g.busy = false
}

func (g *Guard) resume(fn func()) {
	switch {
	case g.dead:
	case g.Frozen():
		g.parked = append(g.parked, func() { g.resume(fn) })
	default:
		fn()
	}
}

func (g *Guard) done(a guard.Act, err error) { g.core.Done(g.m.Now(), a, err) }

func (g *Guard) act(a guard.Act) {
	if g.w.cfg.Trace && a.Kind != guard.Look {
		g.w.tracef("guard of %s: %v %s", g.p.ID(), a.Kind, entriesOf(a))
	}
	switch a.Kind {
	case guard.Kill:
		switch {
		case g.w.cfg.Rules.GuardKill:
			g.core.PipeClosed(g.m.Now())
			g.core.Died(g.m.Now())
		case !g.p.dead:
			g.w.Count.add(KillsByGuard)
			g.p.end("is killed by its guard")
		}
		g.done(a, nil)
	case guard.Shut:
		if g.m.owner == g.p {
			g.m.shut()
		}
		g.done(a, nil)
	case guard.Remove:
		g.remove(a)
	case guard.EndRuns:
		g.endRuns(a)
	case guard.Down:
		g.down(a)
	case guard.Goodbye:
		g.goodbye(a)
	case guard.Unlock, guard.Look, guard.Lock:
		g.done(a, g.lock(a.Kind))
	case guard.Exit:
		g.w.Count.add(GuardExits)
		g.end("exits")
	}
}

// lock works on its share of the data directory's lock.
func (g *Guard) lock(k guard.Kind) error {
	l := &g.m.lock
	switch {
	case k == guard.Unlock:
		g.strike()
		l.leave(g)
	case len(l.holders) > 0:
		return guard.ErrTaken
	case k == guard.Lock:
		l.take(g)
	}
	return nil
}

func (g *Guard) remove(a guard.Act) {
	for _, e := range a.Entries {
		if g.m.letsGo(&e.Job) != nil {
			g.w.Count.add(GuardRemoves)
			g.m.drop(e.Job.Key)
		}
		g.strikes = append(g.strikes, e.Job)
	}
	g.done(a, nil)
}

func (g *Guard) strike() {
	for i := range g.strikes {
		g.m.list.end(actions.Release, &g.strikes[i], nil)
	}
	g.strikes = nil
}

func (g *Guard) endRuns(a guard.Act) {
	if g.w.cfg.Rules.GuardEndRuns {
		g.done(a, nil)
		return
	}
	g.m.endRuns(running(a.Entries), func() { g.do(func() { g.done(a, nil) }) })
}

// down runs `down` of one item under its deadline.
func (g *Guard) down(a guard.Act) {
	w, job := g.w, a.Entries[0].Job
	e := g.m.list.begin(g.m, actions.Release, job)
	out := Outcome{Took: 5 * time.Millisecond}
	if w.cfg.Hook != nil {
		out = w.cfg.Hook(w, g.p, Effect{Kind: actions.Release, Job: job})
	}
	w.Count.add(GuardDowns)
	if h := g.m.letsGo(&job); h != nil {
		h.OK = false
	}
	var r *run
	late := false
	r = &run{id: e.Run, kind: actions.Release, job: job, member: g.p.Name, out: out, exit: func(err error) {
		if late {
			err = errTimeout
		}
		g.runs = slices.DeleteFunc(g.runs, func(o *run) bool { return o == r })
		g.do(func() {
			g.m.list.end(actions.Release, &job, err)
			g.done(a, err)
		})
	}}
	g.runs = append(g.runs, r)
	if out.Fork > 0 {
		g.m.lock.take(r)
	}
	g.m.spawn(r, func() { g.m.lock.leave(r) })
	limit := job.StopTimeout
	if limit == 0 {
		limit = stopTimeout
	}
	if out.Hang || out.Took > limit {
		w.After(limit, func() {
			g.resume(func() {
				if !r.over {
					w.Count.add(HooksHung)
					late = true
					r.tell()
				}
			})
		})
	}
}

// goodbye says to all voters what is released (L8).
func (g *Guard) goodbye(a guard.Act) {
	p := g.p
	msg := liveness.Goodbye{Dead: true, Goodbye: fsm.Goodbye{
		Member: p.Name, Host: g.m.host(p.Instance), Process: p.nonce, Epoch: g.core.Epoch(), Kept: a.Kept,
	}}
	for _, id := range p.state.Voters().IDs {
		if to := id.Member(); to != p.Name {
			g.w.Count.add(GuardGoodbyes)
			g.w.net.send(p, to, msg)
		}
	}
	g.done(a, nil)
}

// receive is a datagram that arrives at the dead daemon's port.
func (g *Guard) receive(msg liveness.Message) {
	if ack, ok := msg.(liveness.GoodbyeAck); ok && ack.Process == g.p.nonce {
		g.do(func() { g.core.Acked(g.m.Now(), ack.Kept) })
	}
}

// lease hands on what the daemon has said of its lease last.
func (g *Guard) lease() {
	l := &g.p.told
	g.news = false
	g.core.Lease(l.epoch, l.ends)
	if l.until > 0 {
		g.core.Releasing(l.until)
	}
	if l.released {
		g.core.Released()
	}
	if l.left {
		g.core.Leave()
	}
}

func entriesOf(a guard.Act) string {
	s := ""
	for _, e := range a.Entries {
		s += " " + string(e.Job.System) + "/" + string(e.Job.Item)
	}
	for _, k := range a.Kept {
		s += " but " + string(k.System) + "/" + string(k.Item)
	}
	return s
}

// tell shows the guard a change of the list.
func (g *Guard) tell(e ledger.Entry, there bool) {
	g.do(func() {
		if there {
			g.core.Put(e)
		} else {
			g.core.Drop(e.ID)
		}
	})
}

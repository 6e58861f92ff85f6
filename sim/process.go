package sim

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
)

// Process is one run of the daemon: the shipped liveness.Process, fsm.State and
// actions.Core with virtual surroundings.
type Process struct {
	w        *World
	Name     fsm.MemberID
	Instance string
	machine  *Machine
	disk     *disk
	nonce    fsm.Nonce
	nonces   uint64

	dead        bool
	frozenUntil time.Duration // true time
	inbox       []func()      // what came in while frozen
	parked      []func()      // threads that go on where they stood
	timer       time.Duration // true time of the next wake; 0: none

	live    *liveness.Process
	core    *actions.Core
	state   *fsm.State // what it has read: of its own log, or of a voter's stream
	at      fsm.Index
	raft    *replica      // its own log; nil: an agent's process
	stream  *stream       // what it reads instead; nil: its own log
	lines   []*line       // to the agents that it serves
	asks    time.Duration // when to ask why nobody sends the log
	keys    keyring
	turning turning
	leading bool
	leader  fsm.VoterID
	waiting map[fsm.Index]func(fsm.Result, error) // a leader's proposals on their way

	exec   executor
	keeper keeper
	member member
	reign  *reign
	stop   stop
	watch  watch

	boot     int  // of its machine
	gone     bool // dead, and its last thread has left the kernel
	inKernel int  // calls that land whatever becomes of it
	forks    int  // children between fork and exec, which have the life line
	pipeShut bool // by the daemon itself

	guard     *Guard // nil: none
	told      told
	unguarded []func() // threads that wait for a guard

	seed    fsm.Spec         // what its file says
	started time.Duration    // machine's clock
	gate    bool             // the kernel gate stands
	failing map[fsm.Key]bool // `alive` failed; `down` will follow
}

// disk is a data directory: what survives a process.
type disk struct {
	instance string
	snap     *fsm.State
	at       fsm.Index
	role     fsm.Role // that its last process had; 0: none has run
	keys     keyring
	cluster  string // once known
}

// replica is a log as far as one process has applied it.
type replica struct {
	state *fsm.State
	at    fsm.Index
	since time.Duration // the machine's clock when it was opened
}

func instanceName(m fsm.MemberID, n int) string { return fmt.Sprintf("%s.%d", m, n) }

// nonceOf makes nonces that are never equal and need no randomness.
func (w *World) nonceOf(kind byte, n uint64) fsm.Nonce {
	var b fsm.Nonce
	b[0] = kind
	binary.BigEndian.PutUint64(b[8:], n)
	return b
}

// Freeze stops a process for a time, as SIGSTOP or a starved machine does; its
// clock and its kernel go on.
func (p *Process) Freeze(d time.Duration) {
	p.w.Count.add(Freezes)
	p.w.tracef("%s is frozen for %v", p.ID(), d)
	p.frozenUntil = max(p.frozenUntil, p.w.now+d)
	p.w.At(p.frozenUntil, p.thaw)
}

// Frozen says whether the process stands still.
func (p *Process) Frozen() bool { return p.w.now < p.frozenUntil }

func (p *Process) thaw() {
	if p.dead || p.Frozen() {
		return
	}
	inbox, parked := p.inbox, p.parked
	p.inbox, p.parked = nil, nil
	for _, fn := range parked {
		fn()
	}
	for _, fn := range inbox {
		p.do(fn)
	}
	p.do(nil)
}

// Dead says whether the process has ended.
func (p *Process) Dead() bool { return p.dead }

// ID is the process as a Raft server.
func (p *Process) ID() fsm.VoterID { return fsm.NewVoterID(p.Name, p.Instance) }

// Machine is where it runs.
func (p *Process) Machine() *Machine { return p.machine }

// State is what it has applied.
func (p *Process) State() (*fsm.State, fsm.Index) { return p.state, p.at }

// Lease says whether it may hold at-most-one items.
func (p *Process) Lease() bool {
	_, ok := p.live.Lease(p.machine.Now())
	return ok
}

// byID is the newest process of a Raft server.
func (w *World) byID(id fsm.VoterID) *Process {
	for i := len(w.procs) - 1; i >= 0; i-- {
		p := w.procs[i]
		if p.Instance == id.Instance() && p.Name == id.Member() {
			return p
		}
	}
	return nil
}

// running is the newest process of a member.
func (w *World) running(m fsm.MemberID) *Process {
	for i := len(w.procs) - 1; i >= 0; i-- {
		if w.procs[i].Name == m {
			return w.procs[i]
		}
	}
	return nil
}

// on are the processes of a machine, those that only start included.
func (w *World) on(m *Machine) []*Process {
	ps := slices.Clone(m.starting)
	for _, p := range w.procs {
		if p.machine == m {
			ps = append(ps, p)
		}
	}
	return ps
}

// do runs something in the process now, or when it is no longer frozen, and
// then all that follows from it.
func (p *Process) do(fn func()) {
	switch {
	case p.dead || p.live == nil:
	case p.Frozen():
		if fn != nil {
			p.inbox = append(p.inbox, fn)
		}
	default:
		if fn != nil {
			fn()
		}
		p.wake()
	}
}

// receive is a datagram that arrives.
func (p *Process) receive(from liveness.From, msg liveness.Message) {
	p.do(func() {
		outs := p.live.Receive(p.machine.Now(), from, msg)
		p.watch.received(p, from, msg, outs)
		p.send(outs)
	})
}

func (p *Process) send(outs []liveness.Out) {
	for _, o := range outs {
		p.watch.sent(p, o)
		p.w.net.send(p, o.To, o.Msg)
	}
}

// lead is Raft telling the process who leads.
func (p *Process) lead(leading bool, leader fsm.VoterID) {
	if leading != p.leading {
		p.reign = nil
		if leading {
			p.reign = newReign(p)
		}
	}
	p.leading, p.leader = leading, leader
	p.read()
}

// read shows the log to liveness and the executor.
func (p *Process) read() {
	p.send(p.live.Read(p.machine.Now(), p.state, p.at, p.leading, p.leader))
	p.exec.dirty = true
	if id := p.state.Cluster(); id != "" {
		p.disk.cluster = id
	}
	p.serve()
}

// catchUp applies what is committed up to an index.
func (p *Process) catchUp(to fsm.Index) {
	r := p.raft
	if r == nil || r.at >= to {
		return
	}
	for r.at < to {
		e := p.w.log.entries[r.at]
		r.at++
		before := r.state
		var res fsm.Result
		known := p.w.checker.at(r.at)
		switch {
		case known != nil && !p.w.checker.due(r.at):
			r.state, res = known.state, known.res
		case e.voters != nil:
			r.state = r.state.WithVoters(fsm.Voters{Index: r.at, IDs: e.voters})
		case e.state != nil:
			r.state = e.state
		case e.cmd != nil:
			next, applied, err := r.state.Apply(r.at, e.cmd)
			if err != nil {
				p.w.checker.fail(BadState, "apply at index %d: %v", r.at, err)
				return
			}
			r.state, res = next, applied
		}
		p.show()
		p.w.watchApplied(p, before, e, res)
		if done := p.waiting[r.at]; done != nil {
			delete(p.waiting, r.at)
			done(res, nil)
		}
		if p.w.chance(0.02) {
			p.disk.snap, p.disk.at = r.state, r.at
		}
	}
	if p.stream == nil {
		p.read()
	}
}

// show makes what the own log says what this process has read, as soon as it is no
// older than what a stream has said.
func (p *Process) show() {
	if p.stream != nil {
		if p.raft.at < p.at {
			return
		}
		p.w.tracef("%s reads its own log from index %d on", p.ID(), p.raft.at)
		p.stream.end()
		p.stream = nil
	}
	p.state, p.at = p.raft.state, p.raft.at
}

// wake runs everything that may be due.
func (p *Process) wake() {
	now := p.machine.Now()
	outs, next := p.live.Tick(now)
	p.send(outs)
	_, ok := p.live.Lease(now)
	p.watch.lease(p, ok)
	p.tellLease(now)
	next = earlier(next, p.exec.step(now, ok))
	next = earlier(next, p.keeper.step(p, now))
	next = earlier(next, p.member.step(p, now))
	next = earlier(next, p.online(now))
	if p.leading && p.reign != nil {
		next = earlier(next, p.reign.step(p, now))
	}
	if p.stop.begun {
		next = earlier(next, p.stop.step(p, now))
	}
	if !p.dead {
		next = earlier(next, p.leave(now))
	}
	if next > 0 && !p.dead {
		if next <= now { // waits for something else; a look now and then does no harm
			next = now + time.Millisecond
		}
		p.wakeAt(next)
	}
}

// earlier is the earlier of two wakes; 0 means never.
func earlier(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// wakeAt arms the timer for an instant of the machine's clock.
func (p *Process) wakeAt(local time.Duration) {
	at := p.machine.clock.when(local)
	if p.timer > p.w.now && p.timer <= at {
		return
	}
	p.timer = at
	p.w.At(at, func() {
		if p.timer == at {
			p.timer = 0
			p.do(nil)
		}
	})
}

// dropGate is the kernel gate failing on this host.
func (p *Process) dropGate() {
	p.w.tracef("%s: its gate fails", p.ID())
	p.gate = false
	p.machine.shut()
	p.live.DropGate(p.machine.Now())
}

// leave ends a process that another machine has superseded, once it holds
// nothing more; and has a voter take over from a leader that said goodbye.
func (p *Process) leave(now time.Duration) time.Duration {
	if p.live.Superseded() && !p.stop.begun {
		p.w.Count.add(Superseded)
		p.w.tracef("%s is superseded", p.ID())
		p.stop = stop{begun: true, until: now, silent: true}
		return now + time.Millisecond
	}
	if l := &p.w.log; l.leader != nil && l.leader != p && l.up(p) && p.live.TakeOver(now) {
		p.w.Count.add(TakeOvers)
		l.elect(p)
	}
	return 0
}

package sim

import (
	"time"

	"github.com/flip-ha/flip/fsm"
)

// askEvery is how often a process that nobody sends the log to asks others why.
const askEvery = 100 * time.Millisecond

// comesAndGoes says whether members are added and removed, and change their roles.
func (w *World) comesAndGoes() bool { return len(w.cfg.Others) > 0 }

// seed is what the files say: where members come and go, the newest that was agreed.
func (w *World) seed() fsm.Spec {
	if s := w.checker.newest().Spec(); w.comesAndGoes() && s.Version != 0 {
		return *s
	}
	return w.cfg.Spec
}

// named says whether a process of that name would do more than wait.
func (w *World) named(m fsm.MemberID) bool {
	_, in := w.seed().Servers[m]
	return in || !w.comesAndGoes()
}

// openLog has a process read its own log, or as an agent nothing yet; it says which.
func (p *Process) openLog() (votes bool) {
	role := p.disk.role
	if role == 0 {
		role = p.seed.Servers[p.Name].Role
	}
	p.disk.role = role
	if (fsm.Server{Role: role}).Votes() || !p.w.comesAndGoes() {
		p.openRaft()
		p.state, p.at = p.raft.state, p.raft.at
		return true
	}
	p.state, p.stream = fsm.New().Without(p.w.cfg.Rules.FSM), newStream(p)
	return false
}

// openRaft has it take part in the log from its last snapshot on.
func (p *Process) openRaft() {
	p.raft = &replica{state: p.disk.snap, at: p.disk.at, since: p.machine.Now()}
	if p.raft.state == nil {
		p.raft.state = fsm.New().Without(p.w.cfg.Rules.FSM)
	}
}

// online follows what the configuration makes of this process, and the streams it
// reads and serves; the answer is when to look again.
func (p *Process) online(now time.Duration) time.Duration {
	if !p.w.comesAndGoes() {
		return 0
	}
	next := earlier(p.place(now), p.turn(now))
	if p.stream != nil {
		next = earlier(next, p.stream.step(now))
	}
	return earlier(next, p.signs(now))
}

// place looks whether this process is still a member, and of which role.
func (p *Process) place(now time.Duration) time.Duration {
	spec := p.state.Spec()
	server, named := spec.Servers[p.Name]
	switch {
	case p.stop.begun:
	case spec.Version == 0 && p.raft == nil:
	case !named && p.raft == nil:
		p.removed(now)
	case named && server.Votes() && p.raft == nil:
		p.promoted(now, server.Role)
	case p.w.log.takes(p): // its own log ends where it has a vote: what it has read is older
	case named && !server.Votes() && p.raft != nil && p.stream == nil && !p.state.Voters().Has(p.ID()):
		p.beginStream()
	case p.raft != nil && p.stream == nil:
		return p.ask(now)
	}
	return 0
}

// ask asks others why nobody sends the log: one that has read no less of it than
// this process knows whether it was taken out.
func (p *Process) ask(now time.Duration) time.Duration {
	if now < p.asks {
		return p.asks
	}
	p.asks = now + min(askEvery, p.ttl()/4)
	for _, o := range p.w.procs {
		if o == p || o.raft == nil || o.raft.at < p.at || !p.reaches(o) {
			continue
		}
		server, named := o.raft.state.Spec().Servers[p.Name]
		switch {
		case !named:
			p.removed(now)
			return now
		case !server.Votes() && !o.raft.state.Voters().Has(p.ID()):
			p.beginStream()
			return now
		}
	}
	return p.asks
}

// beginStream is a voter that looks for another one to read from. It serves nobody any
// more: of what it will have read there is no Part for others.
func (p *Process) beginStream() {
	p.w.tracef("%s is to be an agent, and looks for a voter to read from", p.ID())
	p.hangUp()
	p.stream = newStream(p)
}

// removed ends a process whose member was taken out: it lets go of what it holds
// nevertheless, and exits.
func (p *Process) removed(now time.Duration) {
	if p.live.Epoch() == 0 {
		return // not taken in yet
	}
	p.w.Count.add(RemovedExits)
	p.w.tracef("%s is no member any more", p.ID())
	p.stop = stop{begun: true, until: now, silent: true}
}

// promoted opens the log beside what an agent reads.
func (p *Process) promoted(now time.Duration, role fsm.Role) {
	p.w.Count.add(Promotions)
	p.w.tracef("%s is to be a voter", p.ID())
	p.disk.role = role
	p.openRaft()
	p.live.SetVoter(now, true)
}

// demoted closes the log once a voter's stream says no less than it.
func (p *Process) demoted(now time.Duration) {
	p.w.Count.add(Demotions)
	p.w.tracef("%s is an agent from index %d on", p.ID(), p.at)
	p.disk.role = fsm.RoleAgent
	p.raft = nil
	p.live.SetVoter(now, false)
}

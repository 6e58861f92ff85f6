package sim

import (
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/raftnode"
)

// probeEvery is how long a leader goes without a commit (DESIGN.md 4).
const probeEvery = 500 * time.Millisecond

// reign is what a process does while it leads, or believes so: the shipped
// decisions of raftnode.Next, one proposal at a time, and the voters.
type reign struct {
	agenda   raftnode.Agenda
	batch    [][]byte // members' commands since the last wake
	busy     bool     // a proposal of Next's is on its way
	changing bool     // so is a change of voters
	looked   *fsm.State
	next     time.Duration
	commit   time.Duration // when anything last committed
	voters   time.Duration // when to look at the voters again
	hastened fsm.Keys      // the phase of a rotation that a rule's script acknowledged
}

func newReign(p *Process) *reign { return &reign{commit: p.machine.Now()} }

func (r *reign) step(p *Process, now time.Duration) time.Duration {
	r.flush(p)
	r.hasten(p)
	if !r.busy {
		r.decide(p, now)
	}
	if p.w.cfg.Manual && !p.w.cfg.Changes {
		return r.next
	}
	if now >= r.voters {
		r.voters = now + 20*time.Millisecond
		r.changeVoters(p, now)
	}
	if p.w.cfg.Manual {
		return earlier(r.next, r.voters)
	}
	if now >= r.commit+probeEvery {
		r.commit = now
		p.propose(fsm.Encode(fsm.Probe{}), nil)
	}
	return earlier(earlier(r.next, r.voters), r.commit+probeEvery)
}

// flush puts the members' commands into the log, several as one entry.
func (r *reign) flush(p *Process) {
	batch := r.batch
	r.batch = nil
	switch len(batch) {
	case 0:
	case 1:
		p.propose(batch[0], nil)
	default:
		p.propose(fsm.Encode(fsm.Batch{Commands: batch}), nil)
	}
}

// decide asks raftnode.Next, whenever something changed.
func (r *reign) decide(p *Process, now time.Duration) {
	downs, byes := p.live.Downs(now), p.live.Goodbyes(now)
	due := r.next != 0 && now >= r.next
	if r.looked == p.state && len(downs) == 0 && len(byes) == 0 && !due {
		return
	}
	r.looked = p.state
	cmd, next := raftnode.Next(&r.agenda, raftnode.Look{
		State: p.state, Now: now, Unix: p.w.now.Milliseconds(), Downs: downs, Goodbyes: byes,
	})
	r.next = next
	if _, planned := cmd.(fsm.Assign); cmd == nil || planned && p.w.cfg.Manual {
		return
	}
	r.busy = true
	if p.w.cfg.Trace {
		p.w.tracef("%s proposes %s", p.ID(), describe(cmd))
	}
	p.propose(fsm.Encode(cmd), func(res fsm.Result, err error) {
		r.busy, r.commit = false, p.machine.Now()
		if err != nil || !res.Applied {
			r.next = p.machine.Now() + p.beat()
			return
		}
		r.looked = nil
	})
}

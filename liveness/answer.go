package liveness

import (
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Register is the registration to send now: when the process starts, when its
// lease has ended or is overdue, when the log calls its epoch down (L6). It is
// the same one, nonce included, until the log shows it or it is overdue; the
// first call that returns it counts as its first sending. At is left 0.
func (p *Process) Register(now time.Duration) (fsm.Register, bool) {
	now = p.advance(now)
	return p.member.register(now)
}

// Settled is the command to propose once an unsettled member's slack after its
// first lease is over (L6); it is returned until the log shows it.
func (p *Process) Settled(now time.Duration) (fsm.Settle, bool) {
	now = p.advance(now)
	return p.member.settled(now)
}

// Lease is how long this process may still hold at-most-one items without
// hearing more; false: it may hold none (L2, L3).
func (p *Process) Lease(now time.Duration) (time.Duration, bool) {
	now = p.advance(now)
	return p.member.left(now)
}

// Epoch is this process's own newest epoch in the log; 0: none.
func (p *Process) Epoch() fsm.Epoch { return p.member.own }

// Superseded reports whether a registration from another machine has taken this
// member's name over: release, report and exit (L6). It never changes back.
func (p *Process) Superseded() bool { return p.member.superseded }

// DropGate says that the kernel gate has failed: the lease ends at once, and the
// process registers again without it (L9).
func (p *Process) DropGate(now time.Duration) {
	p.advance(now)
	if !p.member.gate {
		return
	}
	p.member.gate = false
	p.member.abandon()
	p.member.reg = registration{}
}

// Downs are the members that may be called down now: enough votes were counted,
// or their process said goodbye. The leader proposes each with its moves. A Down
// is returned until the log shows it, so that one whose proposal failed is
// proposed again; a second one of the same epoch is refused by Apply.
func (p *Process) Downs(now time.Duration) []fsm.Down {
	p.advance(now)
	list, logged := p.view.loggedList()
	if !p.view.leading || !logged || len(p.byes.heard)+len(p.poller.downs) == 0 {
		return nil
	}
	downs := p.byes.downs(list)
	for id, counted := range p.poller.downs {
		if bye, both := downs[id]; both {
			counted.Goodbye = bye.Goodbye
		}
		downs[id] = counted
	}
	return sortedDowns(downs)
}

// Goodbyes are those that come after their epoch's Down: the leader proposes
// them as they are, and they clear entries (L8). Each is returned until the log
// shows it.
func (p *Process) Goodbyes(now time.Duration) []fsm.Goodbye {
	p.advance(now)
	if !p.view.leading {
		return nil
	}
	return p.byes.late()
}

// MayChangeVoters reports whether the leader may start the next change of voters
// (L7). At founding, before the first assignment, it always may.
func (p *Process) MayChangeVoters(now time.Duration) bool {
	now = p.advance(now)
	opens, known := p.spaced.opensAt()
	return known && now >= opens
}

// Goodbye begins to say that this process has let go of every at-most-one item
// but kept, or that kept has become smaller (L8). From then on it has no lease
// and never registers again.
func (p *Process) Goodbye(now time.Duration, kept []fsm.Key) {
	now = p.advance(now)
	if p.own.said && slices.Equal(p.own.kept, kept) {
		return
	}
	p.own = farewell{said: true, kept: slices.Clone(kept), next: now}
	p.member.stopping = true
	p.member.abandon()
}

// GoodbyeDone reports whether the goodbye was acknowledged as it was said last,
// naming as many items, or there is none to say: the process never had an epoch,
// or is unsettled.
func (p *Process) GoodbyeDone() bool {
	return p.own.said && (p.own.done || p.member.own == 0 || p.unsettled())
}

// Ready reports whether this process does its full part: its voter grants again
// after its start (L7), and its log has caught up with what was acknowledged.
func (p *Process) Ready(now time.Duration) bool {
	now = p.advance(now)
	if p.member.own == 0 {
		return false
	}
	if since, behind := p.member.trail.since(); behind && now-since > p.view.ttl()/2 {
		return false
	}
	return !p.view.votes || p.voter.grants(now)
}

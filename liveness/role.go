package liveness

import (
	"time"

	"github.com/flip-ha/flip/fsm"
)

// SetVoter begins or ends this process's voter's side: the member was promoted, or
// demoted. Its epoch and its lease run on.
//
// One that begins is like a voter that has just started: it may have been one before,
// and does not know what it granted and promised. It grants nothing and votes for
// nothing until its own registration is read and slack is over (L7). One that ends
// forgets everything: what it promised not to acknowledge it acknowledges no more than
// anything else. Call it with false only when the committed list is without this
// process.
func (p *Process) SetVoter(now time.Duration, on bool) {
	now = p.advance(now)
	if on == p.view.votes {
		return
	}
	p.view.votes = on
	p.view.leading = p.view.leading && on
	leases := p.voter.leases
	p.beginVoter(now)
	p.voter.leases = leases + 1
	if on {
		// In this process it may have granted by a ttl that came after its registration.
		p.voter.least = p.view.slack()
		p.voter.relisted(now)
		p.voter.read(now, fsm.New())
	}
	p.advance(now)
}

// Behind reports whether what this agent has read of the log has trailed what the
// voters acknowledge for ttl: it is to read from another voter (L3). A Raft server's
// lease ends then, an agent's does not.
func (p *Process) Behind(now time.Duration) bool {
	now = p.advance(now)
	return !p.view.votes && p.member.trails(now)
}

package liveness

import "time"

// wake is when something becomes due by time alone, at the latest a lease time
// from now.
func (p *Process) wake(now time.Duration) time.Duration {
	next := now + p.view.ttl()
	at := func(t time.Duration, known bool) {
		if known && t > now {
			next = min(next, t)
		}
	}
	p.wakeMember(at)
	if p.view.votes {
		p.wakeVoter(now, at)
	}
	at(p.own.next, p.own.said && !p.own.done)
	opens, known := p.spaced.opensAt()
	at(opens, known)
	return next
}

// wakeMember names the times of the member's side.
func (p *Process) wakeMember(at func(time.Duration, bool)) {
	m := &p.member
	if since, behind := m.trail.since(); behind {
		at(since+m.ttl(), m.lease.began || !m.votes)
	}
	at(m.backoff.until, true)
	at(m.reg.first+firstLeaseTTLs*m.maxTTL()+1, m.reg.pending())
	if !m.lease.live() {
		return
	}
	at(m.nextBeat, !p.own.said)
	at(m.lease.bound+1, !m.lease.began)
	at(m.lease.end(m.list))
	at(m.lease.since+m.slack(), m.lease.began)
}

// wakeVoter names the times of the voter's side.
func (p *Process) wakeVoter(now time.Duration, at func(time.Duration, bool)) {
	at(p.voter.pauseEnds())
	at(p.voter.lookAt, len(p.voter.held) > 0)
	at(p.poller.next(p.silentSince))
	at(p.takesOverAt(now))
}

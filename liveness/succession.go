package liveness

import (
	"time"

	"github.com/flip-ha/flip/fsm"
)

// TakeOver reports whether this voter should make itself leader: the leader's
// process has said goodbye and the log does not show it (L8). The first live
// voter by name does so at once, each further one a step later: the first may be
// cut off, or its log too short to be elected.
func (p *Process) TakeOver(now time.Duration) bool {
	now = p.advance(now)
	at, ok := p.takesOverAt(now)
	return ok && now >= at
}

// takesOverAt is when this voter makes itself leader if nobody else does.
func (p *Process) takesOverAt(now time.Duration) (time.Duration, bool) {
	if !p.view.votes || p.view.leading || p.own.said {
		return 0, false
	}
	gone, ok := p.byes.of(p.view.lastLeader.Member())
	if !ok {
		return 0, false
	}
	rank, ok := p.rank(now)
	if !ok {
		return 0, false
	}
	if p.view.leader == "" {
		// Somebody is being elected: another candidate would only disturb him.
		gone = max(gone, p.view.leaderless+p.view.election())
	}
	return gone + time.Duration(rank)*max(p.view.beat(), p.view.election()/2), true
}

// rank is how many live voters come before this one by name; false: it has no
// vote.
func (p *Process) rank(now time.Duration) (int, bool) {
	rank := 0
	for _, id := range p.view.list.IDs {
		if id == p.view.self() {
			return rank, true
		}
		_, stopped := p.byes.of(id.Member())
		if id != p.view.lastLeader && !stopped && p.heardLately(now, id.Member()) {
			rank++
		}
	}
	return 0, false
}

// heardLately reports whether a member's heartbeats arrive.
func (p *Process) heardLately(now time.Duration, m fsm.MemberID) bool {
	seen, ok := p.voter.peers[m]
	return ok && seen.ever && now-seen.heard <= (missedBeats+1)*p.view.beat()
}

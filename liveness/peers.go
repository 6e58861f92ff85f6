package liveness

import (
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Peer is what this process knows of one server, for status.
type Peer struct {
	Member   fsm.MemberID
	Epoch    fsm.Epoch     // newest one the log shows; 0: never registered
	Up       bool          // as the log shows it
	Heard    time.Duration // ago, a heartbeat; negative: never
	Acked    time.Duration // ago, one of ours; negative: never
	Promised bool          // by a vote: its epoch is not acknowledged
}

// never marks what has not happened yet.
const never time.Duration = -1

// Peers describes every other server and registered member, by name.
func (p *Process) Peers(now time.Duration) []Peer {
	now = p.advance(now)
	names := slices.Clone(p.view.voters())
	for id := range p.view.state.Members() {
		if id != p.cfg.Self {
			names = append(names, id)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	out := make([]Peer, 0, len(names))
	for _, id := range names {
		shown := p.view.member(id)
		peer := Peer{Member: id, Epoch: shown.Epoch, Up: shown.Up, Heard: never, Acked: never}
		if at, ok := p.acks[id]; ok {
			peer.Acked = now - at
		}
		if seen, ok := p.voter.peers[id]; ok {
			if seen.ever {
				peer.Heard = now - seen.heard
			}
			peer.Promised = p.voter.promiseHolds(now, seen, shown.Epoch)
		}
		out = append(out, peer)
	}
	return out
}

// Hears reports whether every member that is up in the log was heard within the
// last heartbeats, and has been granted a lease: a newcomer becomes a voter only then
// (L7).
func (p *Process) Hears(now time.Duration) bool {
	now = p.advance(now)
	if p.view.votes && !p.voter.granting(now) {
		return false
	}
	for id, shown := range p.view.state.Members() {
		if id == p.cfg.Self || !shown.Up {
			continue
		}
		if !p.heardLately(now, id) {
			return false
		}
	}
	return true
}

// Leased reports whether the newest heartbeat of a member's epoch said that its
// lease runs, and came lately. It is a hint of when to move an item, no promise.
func (p *Process) Leased(now time.Duration, m fsm.MemberID, e fsm.Epoch) bool {
	now = p.advance(now)
	if m == p.cfg.Self {
		_, ok := p.Lease(now)
		return ok && p.Epoch() == e
	}
	peer := p.voter.peers[m]
	return peer != nil && peer.leased && peer.epoch == e && p.heardLately(now, m)
}

// Hails reports whether a server is to be told that this one is there, so that each
// can tell a blocked port before anybody is registered: all that vote, and whom
// nobody knows yet. There may be a thousand agents, and they speak by themselves.
func (p *Process) Hails(m fsm.MemberID) bool {
	server, known := p.view.spec().Servers[m]
	return !known || server.Votes()
}

// LeasesSeen grows with each change of what members say of their leases.
func (p *Process) LeasesSeen() uint64 { return p.voter.leases }

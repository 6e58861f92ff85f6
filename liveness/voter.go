package liveness

import (
	"math"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// voter is the voter's side: what it heard, what it granted, what it promised
// (L1, L4, L7).
type voter struct {
	*view
	peers map[fsm.MemberID]*peer
	held  map[question]*heldPoll

	// since is when this side began: at the start of the process, or when the member
	// was promoted. What was before it has forgotten.
	since      time.Duration
	least      time.Duration // a pause not shorter than this
	registered bool          // this process's registration was read in the log …
	readAt     time.Duration // … at this time …
	pause      time.Duration // … and this is the slack of its start (L7)
	listed     bool          // the newest list names this voter
	listedFrom time.Duration // since when
	runsFrom   time.Duration // since when this process has not been late
	firstRead  bool          // a log with members in it was read
	leases     uint64        // how often what a member says of its lease has changed

	// When the held polls are to be looked at again, if this process's own lease is as
	// it was.
	lookAt   time.Duration
	ownRuns  bool
	ownSince time.Duration

	swept electors // by which the members forgotten were looked for
}

// peer is what a voter remembers of one member.
type peer struct {
	epoch   fsm.Epoch // newest one seen, in a heartbeat or in the log
	heard   time.Duration
	ever    bool // a heartbeat was heard at all
	leased  bool // the newest one of epoch said that a lease runs
	granted []granted

	shown     fsm.Epoch // the one the log shows
	shownFrom time.Duration

	promised   fsm.Epoch // no epoch up to this one is acknowledged …
	promisedAt time.Duration
}

// granted is a lease time and when it was granted last.
type granted struct{ ttl, at time.Duration }

func newVoter(v *view, since time.Duration) voter {
	return voter{view: v, since: since, peers: map[fsm.MemberID]*peer{}, held: map[question]*heldPoll{}}
}

// peer is the record of a member, made when there is none. A member never heard
// counts as heard at the start: nothing before it is known.
func (v *voter) peer(m fsm.MemberID) *peer {
	p, ok := v.peers[m]
	if !ok {
		p = &peer{heard: v.atStart()}
		v.peers[m] = p
	}
	return p
}

// atStart is how long ago counts what was so when this process started.
func (v *voter) atStart() time.Duration {
	if v.without.has(RuleStartPause) {
		return v.since - 2*MaxTTL
	}
	return v.since
}

// read follows the log from an older State on. A new epoch in it counts as having
// heard the member.
func (v *voter) read(now time.Duration, was *fsm.State) {
	v.lookAt = 0
	from := now
	if !v.firstRead && v.without.has(RuleStartPause) {
		from = v.atStart()
	}
	for id := range v.state.ChangedMembers(was) {
		shown, registered := v.state.Member(id)
		if !registered {
			v.swept = electors{}
			continue
		}
		p := v.peer(id)
		p.epoch = max(p.epoch, shown.Epoch)
		if p.shown != shown.Epoch {
			p.shown, p.shownFrom = shown.Epoch, from
		}
		v.firstRead = true
	}
	v.sweep()
	if own := v.member(v.cfg.Self); !v.registered && own.Process == v.cfg.Process && own.Epoch != 0 {
		// What the former process granted and promised, it did by a log that ended
		// before this index: a larger ttl that comes later is no reason to wait.
		v.registered, v.readAt, v.pause = true, now, fsm.Slack(bounded(own.FirstTTL))
	}
	for q, h := range v.held {
		if shown := v.member(q.of); shown.Epoch != h.poll.Epoch || !shown.Up {
			delete(v.held, q)
		}
	}
}

// sweep forgets members that nobody knows any more.
func (v *voter) sweep() {
	if v.swept.spec == v.spec() && v.swept.list == v.list.Index {
		return
	}
	v.swept = electors{spec: v.spec(), list: v.list.Index}
	for id := range v.peers {
		if !v.knows(id) {
			delete(v.peers, id)
		}
	}
}

// relisted follows a change of the newest list of voters.
func (v *voter) relisted(now time.Duration) {
	clear(v.held)
	has := v.list.Has(v.self())
	if has && !v.listed {
		v.listedFrom = now
		if !v.firstRead && v.without.has(RuleStartPause) {
			v.listedFrom = v.atStart()
		}
	}
	v.listed = has
}

// pauseEnds is when this voter grants and votes (again): slack after its beginning,
// once it has read its own registration (L7); false: not known yet.
func (v *voter) pauseEnds() (time.Duration, bool) {
	if v.without.has(RuleStartPause) {
		return v.since, true
	}
	return v.since + max(v.pause, v.least), v.registered
}

// grantedLately is how long a voter has granted when each member has a grant of it,
// unless three heartbeats in a row were lost.
const grantedLately = missedBeats + 1

// granting reports whether this voter has granted for a while. Whoever it was given a
// vote before would lose its lease at once, if the others are just too few.
func (v *voter) granting(now time.Duration) bool {
	ends, known := v.pauseEnds()
	return known && now >= max(ends, v.readAt)+grantedLately*v.beat()
}

// grants reports whether this voter is past its pause.
func (v *voter) grants(now time.Duration) bool {
	ends, known := v.pauseEnds()
	return known && now >= ends
}

// promiseHolds reports whether a vote keeps this voter from acknowledging an
// epoch of a member.
func (v *voter) promiseHolds(now time.Duration, p *peer, e fsm.Epoch) bool {
	if v.without.has(RulePromise) {
		return false
	}
	return p.promised != 0 && e <= p.promised && now < p.promisedAt+v.slack()
}

// heartbeat accepts a member's heartbeat, or refuses it (L1). One refused only
// for the pause or a promise counts as heard all the same.
func (v *voter) heartbeat(now time.Duration, from From, hb Heartbeat) (Ack, bool) {
	if hb.Epoch == 0 || !v.knows(from.Member) {
		return Ack{}, false
	}
	v.dropHeld(from.Member)
	p, shown := v.peer(from.Member), v.member(from.Member)
	if hb.Epoch < p.epoch || (hb.Epoch == shown.Epoch && !shown.Up) {
		return Ack{}, false
	}
	if p.leased != hb.Leased || p.epoch != hb.Epoch {
		v.leases++
	}
	p.epoch, p.heard, p.ever, p.leased = hb.Epoch, now, true, hb.Leased
	if !v.grants(now) || v.promiseHolds(now, p, hb.Epoch) {
		return Ack{}, false
	}
	ttl := v.ttl()
	p.grant(now, ttl)
	ack := Ack{Epoch: hb.Epoch, Sent: hb.Sent, TTL: ttl, Voters: fsm.Voters{Index: v.list.Index}, Applied: v.at}
	if hb.Voters < v.list.Index {
		ack.Voters.IDs = slices.Clone(v.list.IDs)
	}
	return ack, true
}

// grant notes the newest grant of each length.
func (p *peer) grant(now, ttl time.Duration) {
	for i := range p.granted {
		if p.granted[i].ttl == ttl {
			p.granted[i].at = now
			return
		}
	}
	p.granted = append(p.granted, granted{ttl: ttl, at: now})
}

// longest is the longest lease time granted whose slack is not over. Those whose
// slack is over bind nobody any more and are forgotten: else a cluster made
// faster would find failures slowly until its voters are restarted.
func (p *peer) longest(now time.Duration) time.Duration {
	p.granted = slices.DeleteFunc(p.granted, func(g granted) bool { return now >= g.at+fsm.Slack(g.ttl) })
	var ttl time.Duration
	for _, g := range p.granted {
		ttl = max(ttl, g.ttl)
	}
	return ttl
}

// fades is when a grant stops to bind, so that the longest may become shorter; valid
// right after longest.
func (p *peer) fades() time.Duration {
	at := time.Duration(math.MaxInt64)
	for _, g := range p.granted {
		at = min(at, g.at+fsm.Slack(g.ttl))
	}
	return at
}

// silentSince is since when nothing was heard of the epoch that the log shows.
func (p *peer) silentSince() time.Duration { return max(p.heard, p.shownFrom) }

package udp

import (
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// observed is what Changed tells about: all that can be asked without the
// asking changing anything.
type observed struct {
	leased, ready, superseded, done, settled, voters, takeOver, behind bool
	epoch                                                              fsm.Epoch
	downs                                                              []downed
	goodbyes                                                           int
	leases                                                             uint64
}

// downed is a member that can be called down.
type downed struct {
	member fsm.MemberID
	epoch  fsm.Epoch
}

// observe tells Changed when something did. Called under the lock.
func (e *Endpoint) observe(now time.Duration) {
	_, leased := e.process.Lease(now)
	_, settled := e.process.Settled(now)
	sees := observed{
		leased: leased, settled: settled,
		ready:      e.process.Ready(now),
		superseded: e.process.Superseded(),
		done:       e.process.GoodbyeDone(),
		voters:     e.process.MayChangeVoters(now),
		takeOver:   e.process.TakeOver(now),
		behind:     e.process.Behind(now),
		epoch:      e.process.Epoch(),
		goodbyes:   len(e.process.Goodbyes(now)),
		leases:     e.process.LeasesSeen(),
	}
	for _, d := range e.process.Downs(now) {
		sees.downs = append(sees.downs, downed{d.Member, d.Epoch})
	}
	if e.seen.leased && !leased {
		e.cfg.Measure.Lapse()
	}
	same := sees.equal(e.seen)
	e.seen = sees
	// Without a lease a registration may fall due at any tick; to ask whether
	// one has would begin it.
	if !same || !leased {
		e.notify()
	}
}

func (o observed) equal(p observed) bool {
	return o.leased == p.leased && o.ready == p.ready && o.superseded == p.superseded &&
		o.done == p.done && o.settled == p.settled && o.voters == p.voters && o.takeOver == p.takeOver && o.behind == p.behind &&
		o.epoch == p.epoch && o.goodbyes == p.goodbyes && o.leases == p.leases && slices.Equal(o.downs, p.downs)
}

func (e *Endpoint) notify() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// Changed receives when what the other methods answer may have changed. Its
// capacity is one: who reads it has missed nothing, who asks anew sees all.
func (e *Endpoint) Changed() <-chan struct{} { return e.changed }

// Read tells the process what the log says now and who leads. It is called
// after every applied entry and every change of leadership.
func (e *Endpoint) Read(s *fsm.State, at fsm.Index, leading bool, leader fsm.VoterID) {
	e.mu.Lock()
	now := e.cfg.Clock()
	if s != nil && s.Spec() != e.spec {
		e.spec = s.Spec()
		e.stats.know(e.servers(), e.cfg.Self, e.cfg.Resolve)
	}
	batch := e.address(e.process.Read(now, s, at, leading, leader))
	e.observe(now)
	e.mu.Unlock()
	e.send(batch)
	e.wake()
}

// Lease is how long this process's lease still runs; false: it has none.
func (e *Endpoint) Lease() (left time.Duration, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.process.Lease(e.cfg.Clock())
}

// Epoch is this process's own newest epoch in the log; 0: none.
func (e *Endpoint) Epoch() fsm.Epoch {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.process.Epoch()
}

// Register is the registration to be proposed now, if one is due.
func (e *Endpoint) Register() (fsm.Register, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.process.Register(e.cfg.Clock())
}

// Settled is the report that an unsettled member's slack is over, once it is.
func (e *Endpoint) Settled() (fsm.Settle, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.process.Settled(e.cfg.Clock())
}

// Downs are the members that can be called down now, when leading.
func (e *Endpoint) Downs() []fsm.Down {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.process.Downs(e.cfg.Clock())
}

// Goodbyes are those to be proposed as they are, when leading.
func (e *Endpoint) Goodbyes() []fsm.Goodbye {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.process.Goodbyes(e.cfg.Clock())
}

// TakeOver reports whether this voter should make itself leader: the leader's
// process has stopped.
func (e *Endpoint) TakeOver() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.process.TakeOver(e.cfg.Clock())
}

// Leased reports whether a member has said lately that its lease runs in epoch.
func (e *Endpoint) Leased(m fsm.MemberID, epoch fsm.Epoch) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.process.Leased(e.cfg.Clock(), m, epoch)
}

// Hears reports whether every member that is up in the log is heard.
func (e *Endpoint) Hears() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.process.Hears(e.cfg.Clock())
}

// DropGate says that the kernel gate has failed: the lease ends at once.
func (e *Endpoint) DropGate() {
	e.mu.Lock()
	now := e.cfg.Clock()
	e.process.DropGate(now)
	e.observe(now)
	e.mu.Unlock()
	e.wake()
}

// Behind reports whether what this agent reads trails what the voters acknowledge: it
// is to read from another one.
func (e *Endpoint) Behind() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.process.Behind(e.cfg.Clock())
}

// SetVoter begins or ends the voter's side: the member was promoted, or demoted and
// is not on the committed list any more. Its epoch and its lease run on.
func (e *Endpoint) SetVoter(on bool) {
	e.mu.Lock()
	now := e.cfg.Clock()
	e.process.SetVoter(now, on)
	e.observe(now)
	e.mu.Unlock()
	e.wake()
}

// MayChangeVoters reports whether the leader may begin the next change.
func (e *Endpoint) MayChangeVoters() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.process.MayChangeVoters(e.cfg.Clock())
}

// Goodbye begins to say goodbye, naming the at-most-one items not released yet,
// or says it again with fewer.
func (e *Endpoint) Goodbye(kept []fsm.Key) {
	e.mu.Lock()
	now := e.cfg.Clock()
	e.observe(now)
	e.process.Goodbye(now, kept)
	e.seen.leased = false // given up: that is no lapse
	e.observe(now)
	e.mu.Unlock()
	e.wake()
}

// GoodbyeDone reports whether the goodbye was acknowledged as it was said last.
func (e *Endpoint) GoodbyeDone() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.process.GoodbyeDone()
}

// Ready reports whether a voter grants again and has caught up.
func (e *Endpoint) Ready() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.process.Ready(e.cfg.Clock())
}

// Superseded reports whether another machine has taken this member's name.
func (e *Endpoint) Superseded() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.process.Superseded()
}

// Peers is what is known of the other servers, by name.
func (e *Endpoint) Peers() []PeerStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.cfg.Clock()
	e.stats.know(e.servers(), e.cfg.Self, e.cfg.Resolve)
	return e.stats.list(now, e.process.Peers(now))
}

// Drops counts all datagrams that were not taken in, strangers' included.
func (e *Endpoint) Drops() Drops {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stats.total
}

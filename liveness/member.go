package liveness

import (
	"time"

	"github.com/flip-ha/flip/fsm"
)

// member is the member's side: registrations, the lease of the present epoch,
// and what ends it (L2, L3, L6).
type member struct {
	*view
	lease    lease
	trail    trail
	reg      registration
	backoff  backoff
	gate     bool
	own      fsm.Epoch // the newest epoch in the log that is this process's
	nextBeat time.Duration
	beats    uint64 // heartbeats sent

	superseded bool // by another machine: never registers again
	stopping   bool // a goodbye is being said: never registers again
}

func newMember(v *view) member { return member{view: v, gate: v.cfg.Gate} }

// advance ends what time has ended.
func (m *member) advance(now time.Duration) {
	was := m.lease.live()
	m.lease.advance(now, m.list, m.without)
	if m.votes && m.lease.began && m.trails(now) {
		m.lease.finish(m.without)
	}
	if m.lease.began {
		m.backoff = backoff{}
	}
	if was && !m.lease.live() && !m.lease.began {
		m.backoff.failed(now)
	}
	if m.reg.pending() && now > m.reg.first+firstLeaseTTLs*m.maxTTL() {
		m.reg = registration{}
	}
}

// read follows the log: an epoch begins, or is called down or superseded.
func (m *member) read(now time.Duration) {
	m.trail.read(m.at)
	shown := m.member(m.cfg.Self) // the zero Member once it was removed
	mine := shown.Epoch != 0 && shown.Process == m.cfg.Process
	if mine && shown.Epoch > m.own {
		m.own = shown.Epoch
		m.begin(now, shown)
	}
	if m.lease.epoch != 0 && (shown.Epoch != m.lease.epoch || !shown.Up) {
		m.close(now)
	}
	if m.own != 0 && shown.Epoch > m.own && !mine && shown.Host.Machine != m.cfg.Host.Machine {
		m.superseded = true
	}
	if m.reg.pending() && m.reg.replaces != shown.Epoch {
		m.reg = registration{} // Apply refuses it from now on
	}
}

// begin starts an epoch that the log shows to be this process's. A registration
// given up before it was committed is dead on arrival: committed in vain.
func (m *member) begin(now time.Duration, shown fsm.Member) {
	m.close(now)
	if m.reg.nonce != shown.Nonce {
		m.reg = registration{}
		m.backoff.failed(now)
		return
	}
	m.reg.epoch = shown.Epoch
	m.lease = newLease(shown.Epoch, m.reg.first+firstLeaseTTLs*bounded(shown.FirstTTL))
	m.nextBeat = now
}

// trails reports whether what was read of the log has trailed what the voters
// acknowledge for ttl (L3). A Raft server's lease has ended then; an agent reads from
// another voter, and its lease runs on.
func (m *member) trails(now time.Duration) bool {
	since, behind := m.trail.since()
	return behind && now-since >= m.ttl()
}

// close ends the present epoch for good.
func (m *member) close(now time.Duration) {
	if m.lease.live() && !m.lease.began {
		m.backoff.failed(now)
	}
	m.lease = lease{}
}

// abandon ends the lease at once, whatever was granted.
func (m *member) abandon() { m.lease.over = true }

// acked counts an acknowledgement that names this epoch and a time it sent;
// any other is void (L0).
func (m *member) acked(now time.Duration, by fsm.VoterID, a Ack) bool {
	if a.Epoch == 0 || a.Epoch != m.lease.epoch || !m.lease.sent.has(a.Sent) {
		return false
	}
	if a.TTL <= 0 || a.TTL > MaxTTL {
		return false
	}
	ttl := a.TTL
	if m.without.has(RuleGrantTTL) {
		ttl = m.ttl()
	}
	m.lease.grant(by, a.Sent, ttl)
	m.trail.acked(now, a.Applied, m.at)
	return true
}

// register is the registration to be sent now, if one is due and a leader known.
func (m *member) register(now time.Duration) (fsm.Register, bool) {
	if m.superseded || m.stopping || m.lease.live() || now < m.backoff.until {
		return fsm.Register{}, false
	}
	if m.leader == "" && !m.leading {
		return fsm.Register{}, false
	}
	if !m.reg.pending() {
		m.reg = registration{
			nonce:    m.cfg.NewNonce(),
			replaces: m.member(m.cfg.Self).Epoch,
			gate:     m.gate,
			first:    now,
		}
	}
	return fsm.Register{
		Member:   m.cfg.Self,
		Nonce:    m.reg.nonce,
		Process:  m.cfg.Process,
		Replaces: m.reg.replaces,
		Host:     m.cfg.Host,
		Gate:     m.reg.gate,
		Wire:     m.cfg.Wire,
	}, true
}

// settled is the report that an unsettled member's slack after its first lease
// is over (L6).
func (m *member) settled(now time.Duration) (fsm.Settle, bool) {
	shown := m.member(m.cfg.Self)
	if !m.lease.running() || shown.Settled || now < m.lease.since+m.slack() {
		return fsm.Settle{}, false
	}
	return fsm.Settle{Member: m.cfg.Self, Epoch: m.lease.epoch}, true
}

// left is how long the lease still runs.
func (m *member) left(now time.Duration) (time.Duration, bool) {
	end, granted := m.lease.end(m.list)
	if !granted || !m.lease.running() || end <= now {
		return 0, false
	}
	return end - now, true
}

// heartbeat is what is sent at a beat, and notes it. Without a lease, and without
// the prospect of one, it names no epoch and nobody accepts it.
func (m *member) heartbeat(now time.Duration, polls []Poll) Heartbeat {
	m.beats++
	hb := Heartbeat{Sent: now, Voters: m.list.Index, Applied: m.at, Seq: m.beats, Polls: polls}
	if m.lease.live() {
		m.lease.sent.add(now, 2*m.maxTTL())
		hb.Epoch = m.lease.epoch
		_, hb.Leased = m.left(now)
	}
	return hb
}

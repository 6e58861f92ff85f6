package liveness

import (
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Process is one daemon's part in the protocol: its member's side and, unless it is
// an agent, its voter's side.
//
// It does nothing by itself. The caller calls Tick when the time it named has
// come and after every other method; it hands on what was received and read, and
// sends what is returned. Times passed in never go back (one that does counts as
// the latest).
type Process struct {
	cfg    *Config
	now    time.Duration
	view   view
	member member
	voter  voter
	poller poller
	byes   goodbyes
	spaced spacing
	own    farewell
	acks   map[fsm.MemberID]time.Duration // when each last acknowledged
	asked  time.Duration                  // when Tick asked to be called again; 0: not yet, or it was late
}

// New makes a Process; it starts nothing.
func New(cfg Config) *Process {
	p := &Process{cfg: &cfg, now: cfg.Started, view: newView(&cfg), acks: map[fsm.MemberID]time.Duration{}}
	p.member = newMember(&p.view)
	p.beginVoter(cfg.Started)
	return p
}

// beginVoter makes a voter's side that knows nothing of what was before.
func (p *Process) beginVoter(now time.Duration) {
	p.voter = newVoter(&p.view, now)
	p.poller = newPoller(&p.view)
	p.byes = newGoodbyes(&p.view)
	p.spaced = newSpacing(&p.view)
}

// advance lets time pass: a lease that has ended by now has ended before
// anything else happens.
func (p *Process) advance(now time.Duration) time.Duration {
	p.now = max(p.now, now)
	if p.asked != 0 && p.now-p.asked > p.view.late() {
		p.voter.runsFrom, p.asked = p.now, 0
	}
	p.member.advance(p.now)
	p.spaced.advance(p.now)
	return p.now
}

// Tick sends what is due and says when to call again, at the latest.
func (p *Process) Tick(now time.Duration) ([]Out, time.Duration) {
	now = p.advance(now)
	out := p.due(now)
	p.asked = p.wake(now)
	return out, p.asked
}

// Read takes in the State at an index of the log, after each Apply. leading says
// that this process leads and its Barrier is over; leader is the Raft server
// that leads, "" when unknown.
func (p *Process) Read(now time.Duration, s *fsm.State, at fsm.Index, leading bool, leader fsm.VoterID) []Out {
	now = p.advance(now)
	p.view.lead(now, leading, leader)
	was := p.view.state
	if !p.view.read(s, at) {
		p.poller.read()
		return p.due(now)
	}
	p.adopt(now, s.Voters())
	p.member.read(now)
	p.voter.read(now, was)
	p.poller.read()
	p.byes.fresh = true
	p.advance(now)
	return p.due(now)
}

// Latest feeds in a list of voters that need not be committed. It is ignored:
// only committed lists may be named (L1). Tests leave that rule out.
func (p *Process) Latest(now time.Duration, list fsm.Voters) {
	if p.view.without.has(RuleCommittedLists) {
		p.adopt(p.advance(now), list)
	}
}

// adopt follows a newer list of voters.
func (p *Process) adopt(now time.Duration, list fsm.Voters) {
	if p.view.adopt(now, list) {
		p.voter.relisted(now)
		p.poller.read()
	}
}

// Receive takes in a message whose sender the sealed datagram vouches for.
func (p *Process) Receive(now time.Duration, from From, msg Message) []Out {
	now = p.advance(now)
	var out []Out
	switch msg := msg.(type) {
	case Heartbeat:
		out = p.heartbeat(now, from, msg)
	case Ack:
		p.ack(now, from, msg)
	case Ballot:
		p.poller.count(now, from.Voter(), msg)
	case Goodbye:
		if p.view.votes {
			p.byes.receive(now, from, msg)
		}
	case GoodbyeAck:
		if msg.Process == p.cfg.Process && p.own.said && msg.Kept == len(p.own.kept) {
			p.own.done = true
		}
	}
	p.advance(now)
	return append(out, p.due(now)...)
}

// heartbeat hands a heartbeat, and the polls it carries, to the voter's side.
func (p *Process) heartbeat(now time.Duration, from From, hb Heartbeat) []Out {
	if !p.view.votes {
		return nil
	}
	var out []Out
	if ack, ok := p.voter.heartbeat(now, from, hb); ok {
		out = append(out, Out{To: from.Member, Msg: ack})
	}
	if seen, known := p.voter.peers[from.Member]; known && p.view.leading && seen.silentSince() >= now {
		p.poller.heard(from.Member)
	}
	p.spaced.reported(from.Voter(), hb.Applied)
	for _, poll := range hb.Polls {
		p.voter.hold(now, from, poll)
	}
	return out
}

// ack hands an acknowledgement to the member's side.
func (p *Process) ack(now time.Duration, from From, a Ack) {
	if !p.view.knows(from.Member) || !p.member.acked(now, from.Voter(), a) {
		return
	}
	p.acks[from.Member] = now
	p.adopt(now, a.Voters)
}

// due does all that is due: heartbeats with polls, votes, goodbyes and their
// acknowledgements.
func (p *Process) due(now time.Duration) []Out {
	out := p.beat(now)
	if p.view.votes {
		for _, b := range p.voter.answers(now, &p.member.lease) {
			if b.Poll.By == p.view.self() {
				p.poller.count(now, b.Voter, b)
				continue
			}
			out = append(out, Out{To: b.Poll.By.Member(), Msg: b})
		}
	}
	out = append(out, p.sayGoodbye(now)...)
	for _, ack := range p.byes.acks() {
		if ack.To == p.cfg.Self {
			p.own.done = p.own.said && len(p.own.kept) == 0
			continue
		}
		out = append(out, ack)
	}
	return out
}

// beat sends a heartbeat to every voter, when one or a poll is due, and accepts
// this process's own at once. Once the lease has ended, nothing is sent under
// its epoch any more: who cannot register again must be found silent. A leader's
// polls then go under no epoch.
func (p *Process) beat(now time.Duration) []Out {
	if p.own.said {
		return nil
	}
	live := p.member.lease.live()
	polls := p.poller.due(now, p.member.own, p.silentSince)
	if len(polls) == 0 && (!live || now < p.member.nextBeat) {
		return nil
	}
	if live && now >= p.member.nextBeat {
		p.member.nextBeat += p.view.beat()
		if p.member.nextBeat <= now {
			p.member.nextBeat = now + p.view.beat() // late: those missed are not made up for
		}
	}
	var out []Out
	for first := true; first || len(polls) > 0; first = false {
		n := min(len(polls), pollsPerBeat)
		out = append(out, p.send(now, p.member.heartbeat(now, polls[:n:n]))...)
		polls = polls[n:]
	}
	return out
}

// send addresses a heartbeat to every voter, this one included.
func (p *Process) send(now time.Duration, hb Heartbeat) []Out {
	var out []Out
	for _, to := range p.view.voters() {
		out = append(out, Out{To: to, Msg: hb})
	}
	self := From{Member: p.cfg.Self, Instance: p.cfg.Instance}
	for _, mine := range p.heartbeat(now, self, hb) {
		if ack, ok := mine.Msg.(Ack); ok {
			p.ack(now, self, ack)
		}
	}
	p.advance(now)
	return out
}

// silentSince is since when a member has been silent.
func (p *Process) silentSince(m fsm.MemberID) time.Duration { return p.voter.peer(m).silentSince() }

// sayGoodbye repeats this process's goodbye to every voter.
func (p *Process) sayGoodbye(now time.Duration) []Out {
	if !p.own.said || p.own.done || now < p.own.next {
		return nil
	}
	if p.member.own == 0 || p.unsettled() {
		return nil
	}
	p.own.next = now + p.view.beat()
	bye := fsm.Goodbye{
		Member: p.cfg.Self, Host: p.cfg.Host, Process: p.cfg.Process, Epoch: p.member.own, Kept: p.own.kept,
	}
	msg := Goodbye{Goodbye: bye}
	var out []Out
	for _, to := range p.view.voters() {
		out = append(out, Out{To: to, Msg: msg})
	}
	if p.view.votes {
		p.byes.receive(now, From{Member: p.cfg.Self, Instance: p.cfg.Instance}, msg)
	}
	return out
}

// unsettled reports whether this process may not say goodbye yet (L6).
func (p *Process) unsettled() bool {
	shown := p.view.member(p.cfg.Self)
	return shown.Process == p.cfg.Process && !shown.Settled
}

package liveness

import (
	"cmp"
	"iter"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// poller is the leader's side: it asks about members that have gone silent and
// counts the answers (L4, L5).
type poller struct {
	*view
	asked map[fsm.MemberID]*inquiry
	downs map[fsm.MemberID]fsm.Down // counted; kept until the log shows them
	// lookAt is before when nothing is due: a member is only ever heard later than it
	// was. 0: look. To look at a thousand members for each of their heartbeats would
	// be work for a processor.
	lookAt time.Duration
}

// inquiry is what the leader asked about one epoch of a member.
type inquiry struct {
	epoch fsm.Epoch
	next  time.Duration // when to ask again
	polls []*openPoll   // oldest first, none older than ttl
	ever  openPoll      // all answers; counted only without RuleOldPolls
}

// openPoll is one poll and the answers to it.
type openPoll struct {
	poll    Poll
	answers map[fsm.VoterID]answer
}

// answer is what a voter said: for how long the member was silent, and until
// when its promise stands for certain.
type answer struct{ silent, until time.Duration }

func newPoller(v *view) poller {
	return poller{view: v, asked: map[fsm.MemberID]*inquiry{}, downs: map[fsm.MemberID]fsm.Down{}}
}

// read forgets what the log has settled, and all of it when another one leads or
// the voters have changed: a ballot names its list.
func (p *poller) read() {
	p.lookAt = 0
	if !p.leading {
		clear(p.asked)
		clear(p.downs)
		return
	}
	for id, q := range p.asked {
		if !p.open(id, q.epoch) {
			delete(p.asked, id)
		}
	}
	for id, d := range p.downs {
		if !p.open(id, d.Epoch) || d.Voters != p.list.Index {
			delete(p.downs, id)
		}
	}
}

// open reports whether the log shows that epoch of a member, up.
func (p *poller) open(id fsm.MemberID, e fsm.Epoch) bool {
	shown := p.member(id)
	return shown.Epoch == e && shown.Up
}

// due are the polls to send now. heard tells when a member was heard last, by
// message or by its registration in the log.
func (p *poller) due(now time.Duration, self fsm.Epoch, heard func(fsm.MemberID) time.Duration) []Poll {
	if !p.leading || now < p.lookAt {
		return nil
	}
	var polls []Poll
	for id, epoch := range p.suspects() {
		if now < heard(id)+missedBeats*p.beat() {
			p.heard(id)
			continue
		}
		q := p.asked[id]
		if q == nil {
			q = &inquiry{epoch: epoch, next: now, ever: openPoll{answers: map[fsm.VoterID]answer{}}}
			p.asked[id] = q
		}
		if now >= q.next {
			poll := Poll{By: p.self(), ByEpoch: self, Of: id, Epoch: epoch, At: now}
			q.add(now, p.ttl(), poll)
			q.next = now + p.beat()
			polls = append(polls, poll)
		}
	}
	p.lookAt = p.look(heard)
	return polls
}

// heard forgets what was asked about a member: it is answered.
func (p *poller) heard(id fsm.MemberID) {
	if !p.without.has(RuleOldPolls) {
		delete(p.asked, id)
	}
}

// next is when the next poll may be due.
func (p *poller) next(heard func(fsm.MemberID) time.Duration) (at time.Duration, any bool) {
	if p.leading && p.lookAt == 0 {
		p.lookAt = p.look(heard)
	}
	return p.lookAt, p.leading && p.lookAt < math.MaxInt64
}

// look is when the next poll is due if nobody is heard.
func (p *poller) look(heard func(fsm.MemberID) time.Duration) time.Duration {
	at := time.Duration(math.MaxInt64)
	for id := range p.suspects() {
		due := heard(id) + missedBeats*p.beat()
		if q := p.asked[id]; q != nil {
			due = max(due, q.next)
		}
		at = min(at, due)
	}
	return at
}

// suspects yields the members that the leader may have to ask about.
func (p *poller) suspects() iter.Seq2[fsm.MemberID, fsm.Epoch] {
	return func(yield func(fsm.MemberID, fsm.Epoch) bool) {
		if !p.leading {
			return
		}
		for id, shown := range p.state.Members() {
			_, counted := p.downs[id]
			if !counted && id != p.cfg.Self && shown.Up && shown.Epoch != 0 && !yield(id, shown.Epoch) {
				return
			}
		}
	}
}

// add opens a poll and closes those whose time is over.
func (q *inquiry) add(now, ttl time.Duration, poll Poll) {
	q.polls = slices.DeleteFunc(q.polls, func(o *openPoll) bool { return now-o.poll.At > ttl })
	q.polls = append(q.polls, &openPoll{poll: poll, answers: map[fsm.VoterID]answer{}})
}

// count takes an answer in; enough answers to one poll are a Down (L5).
func (p *poller) count(now time.Duration, from fsm.VoterID, b Ballot) {
	list, logged := p.loggedList()
	q := p.asked[b.Poll.Of]
	if !p.leading || !logged || q == nil || q.epoch != b.Poll.Epoch || !p.open(b.Poll.Of, q.epoch) {
		return
	}
	if b.Voter != from || b.Voters != list.Index || !list.Has(from) || from.Member() == b.Poll.Of {
		return
	}
	answered := q.find(now, p.ttl(), b.Poll)
	if p.without.has(RuleOldPolls) {
		answered = &q.ever
	}
	if answered == nil {
		return
	}
	answered.answers[from] = answer{silent: bounded(b.Silent), until: b.Poll.At + bounded(b.TTL)}
	if answered.standing(now, p.without) < p.needed(list) {
		return
	}
	p.downs[b.Poll.Of] = fsm.Down{
		Member: b.Poll.Of, Epoch: q.epoch, Voters: list.Index, Evidence: answered.evidence(),
	}
	delete(p.asked, b.Poll.Of)
}

// find is the open poll that an answer names; nil when it was never sent or its
// time is over.
func (q *inquiry) find(now, ttl time.Duration, poll Poll) *openPoll {
	for _, o := range q.polls {
		if o.poll == poll && now-poll.At <= ttl {
			return o
		}
	}
	return nil
}

// standing drops the answers whose promise may be over, and counts the others. A
// voter promises by the largest ttl that it has read; the leader may have read a
// larger one and take answers for longer.
func (o *openPoll) standing(now time.Duration, without Rule) int {
	if !without.has(RulePromiseWindow) && !without.has(RuleOldPolls) {
		maps.DeleteFunc(o.answers, func(_ fsm.VoterID, a answer) bool { return now > a.until })
	}
	return len(o.answers)
}

// needed is how many answers call a member down.
func (p *poller) needed(list fsm.Voters) int { return p.spec().VotesNeeded(list) }

// evidence lists the answers by voter.
func (o *openPoll) evidence() []fsm.Vote {
	votes := make([]fsm.Vote, 0, len(o.answers))
	for _, id := range slices.Sorted(maps.Keys(o.answers)) {
		votes = append(votes, fsm.Vote{Voter: id, Silent: o.answers[id].silent.Milliseconds()})
	}
	return votes
}

// sortedDowns lists downs by member.
func sortedDowns(downs map[fsm.MemberID]fsm.Down) []fsm.Down {
	return slices.SortedFunc(maps.Values(downs), func(a, b fsm.Down) int { return cmp.Compare(a.Member, b.Member) })
}

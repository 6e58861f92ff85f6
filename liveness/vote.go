package liveness

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// question is what a voter holds at most one poll for.
type question struct{ by, of fsm.MemberID }

// heldPoll is a poll that waits until this voter may answer it (L4).
type heldPoll struct {
	poll  Poll
	got   time.Duration
	heard time.Duration // when the member had been heard last as the poll came
}

// hold keeps the newest poll of each poller and member; a delayed one never
// takes a newer one's place.
func (v *voter) hold(now time.Duration, from From, poll Poll) {
	shown := v.member(poll.Of)
	if poll.By != from.Voter() || !v.knows(from.Member) || poll.Of == v.cfg.Self {
		return
	}
	if shown.Epoch == 0 || shown.Epoch != poll.Epoch || !shown.Up {
		return
	}
	q := question{by: from.Member, of: poll.Of}
	if h := v.held[q]; h != nil && h.poll.By == poll.By && !newer(poll, h.poll) {
		return
	}
	v.held[q] = &heldPoll{poll: poll, got: now, heard: v.peer(poll.Of).heard}
	v.lookAt = 0
}

// newer compares two polls of one poller about one member.
func newer(a, b Poll) bool {
	return cmp.Or(cmp.Compare(a.ByEpoch, b.ByEpoch), cmp.Compare(a.At, b.At)) > 0
}

// dropHeld drops the polls held about a member that was heard, refused or not.
func (v *voter) dropHeld(m fsm.MemberID) {
	if v.without.has(RuleHeldPoll) {
		return
	}
	for q := range v.held {
		if q.of == m {
			delete(v.held, q)
		}
	}
}

// answers are the held polls that may be answered now, each a promise made. own
// is this process's own lease.
func (v *voter) answers(now time.Duration, own *lease) []Ballot {
	if len(v.held) == 0 || (now < v.lookAt && v.ownRuns == own.running() && v.ownSince == own.since) {
		return nil
	}
	v.ownRuns, v.ownSince = own.running(), own.since
	v.lookAt = math.MaxInt64
	var out []Ballot
	for _, q := range v.questions() {
		h := v.held[q]
		if now-h.got > v.ttl() {
			delete(v.held, q)
			continue
		}
		at, ok := v.mayVoteAt(now, h, own)
		if !ok || now < at {
			v.lookAt = min(v.lookAt, h.got+v.ttl()+1, v.peer(q.of).fades())
			if ok {
				v.lookAt = min(v.lookAt, at)
			}
			continue
		}
		delete(v.held, q)
		p := v.peer(q.of)
		p.promised, p.promisedAt = max(p.promised, h.poll.Epoch), now
		out = append(out, Ballot{
			Poll: h.poll, Voter: v.self(), Voters: v.list.Index, Silent: now - p.heard, TTL: v.maxTTL(),
		})
	}
	return out
}

// questions lists the held polls in a fixed order.
func (v *voter) questions() []question {
	all := make([]question, 0, len(v.held))
	for q := range v.held {
		all = append(all, q)
	}
	slices.SortFunc(all, func(a, b question) int {
		return cmp.Or(cmp.Compare(a.of, b.of), cmp.Compare(a.by, b.by))
	})
	return all
}

// mayVoteAt is when all conditions of L4 hold for a held poll if nothing else
// happens; false: waiting alone does not help.
func (v *voter) mayVoteAt(now time.Duration, h *heldPoll, own *lease) (time.Duration, bool) {
	shown, p := v.member(h.poll.Of), v.peer(h.poll.Of)
	pause, known := v.pauseEnds()
	if !known || !v.listed || shown.Epoch != h.poll.Epoch || !shown.Up || p.shown != h.poll.Epoch {
		return 0, false
	}
	slack := fsm.Slack(max(p.longest(now), v.ttl()))
	heard := p.heard
	if v.without.has(RuleHeldPoll) {
		heard = h.heard
	}
	// A member never heard counts as heard at the start: heard is never before it.
	at := max(pause, p.shownFrom+v.slack(), heard+slack, v.listedFrom+slack)
	if !v.without.has(RuleRunning) {
		at = max(at, v.runsFrom+slack)
	}
	if v.without.has(RuleUnbrokenLease) {
		return at, true
	}
	if !own.running() {
		return 0, false
	}
	if v.without.has(RuleStartPause) {
		return at, true
	}
	return max(at, own.since+slack), true
}

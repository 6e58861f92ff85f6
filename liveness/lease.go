package liveness

import (
	"math"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// lease is the lease of one epoch (L2): what each voter granted, and whether it
// has begun or ended. The zero lease belongs to no epoch and never runs.
type lease struct {
	epoch fsm.Epoch
	bound time.Duration // the last moment at which it may begin
	sent  sentTimes
	until map[fsm.VoterID]time.Duration // per voter: sent + ttl as granted

	began, over bool
	since       time.Duration // when it began

	known *leaseEnd // computed once for a list and what was granted
}

// leaseEnd is when a lease ends by one list of voters.
type leaseEnd struct {
	list    fsm.Index
	at      time.Duration
	granted bool
}

func newLease(epoch fsm.Epoch, bound time.Duration) lease {
	return lease{epoch: epoch, bound: bound, until: map[fsm.VoterID]time.Duration{}}
}

// grant counts an acknowledgement of a heartbeat sent at `sent`. A voter's
// shorter grant does not take back a longer one: it waits for the longest.
func (l *lease) grant(by fsm.VoterID, sent, ttl time.Duration) {
	if _, known := l.until[by]; !known && len(l.until) >= maxVoters {
		return
	}
	l.until[by] = max(l.until[by], sent+ttl)
	l.known = nil
}

// end is when the lease ends by a list of voters; false when too few granted.
func (l *lease) end(list fsm.Voters) (time.Duration, bool) {
	if l.known == nil || l.known.list != list.Index {
		ends := make([]time.Duration, 0, len(list.IDs))
		for _, id := range list.IDs {
			if until, ok := l.until[id]; ok {
				ends = append(ends, until)
			}
		}
		at, granted := nthLargest(ends, list.Majority())
		l.known = &leaseEnd{list: list.Index, at: at, granted: granted}
	}
	return l.known.at, l.known.granted
}

// nthLargest is the n-th largest of ends, n counted from 1; false when there
// are fewer. It sorts ends.
func nthLargest(ends []time.Duration, n int) (time.Duration, bool) {
	if n < 1 || n > len(ends) {
		return 0, false
	}
	slices.Sort(ends)
	return ends[len(ends)-n], true
}

// advance lets the lease begin or end. It runs before and after every change of
// what the lease is computed from, so that an end is never missed.
func (l *lease) advance(now time.Duration, list fsm.Voters, without Rule) {
	if l.epoch == 0 || l.over {
		return
	}
	end, granted := l.end(list)
	runs := granted && end > now
	switch {
	case l.began && !runs:
		l.finish(without)
	case !l.began && now > l.bound && !without.has(RuleFirstLease):
		l.over = true
	case !l.began && runs:
		l.began, l.since = true, now
	}
}

// finish ends the lease: it never revives in its epoch.
func (l *lease) finish(without Rule) {
	if without.has(RuleNoRevival) {
		l.began, l.bound = false, math.MaxInt64
		return
	}
	l.over = true
}

// running reports whether the lease runs; valid right after advance.
func (l *lease) running() bool { return l.began && !l.over }

// live reports whether the lease runs or may still begin.
func (l *lease) live() bool { return l.epoch != 0 && !l.over }

// sentTimes are the times at which heartbeats of one epoch were sent, oldest
// first: an acknowledgement must echo one of them (L0).
type sentTimes struct{ at []time.Duration }

// maxSent is far more than one lease time's worth of heartbeats; older ones
// could not grant anything any more.
const maxSent = 1024

// add notes a time, and forgets those too old to matter.
func (s *sentTimes) add(now, keep time.Duration) {
	if n := len(s.at); n > 0 && s.at[n-1] == now {
		return
	}
	old := 0
	for old < len(s.at) && (s.at[old]+keep < now || len(s.at)-old >= maxSent) {
		old++
	}
	s.at = append(slices.Delete(s.at, 0, old), now)
}

// has reports whether a heartbeat was sent at that time.
func (s *sentTimes) has(at time.Duration) bool {
	_, found := slices.BinarySearch(s.at, at)
	return found
}

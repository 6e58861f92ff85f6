package udp

import (
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
	"github.com/flip-ha/flip/secure"
)

const (
	// span is how far back round trips and losses are counted, at least; twice
	// this at most.
	span = 5 * time.Second
	// overdue is when a heartbeat counts as lost: any useful lease has ended by
	// then, and a round trip around the world has not.
	overdue = time.Second
	// fewest heartbeats make a share of losses: four are two seconds of `wan`.
	fewest = 4
	// most heartbeats are kept per span: ten times the rate of `fast`.
	most = 5000
)

// gave notes what is about to be sent. A heartbeat that names no epoch is
// answered by nobody.
func (s *statistics) gave(out liveness.Out) {
	hb, ok := out.Msg.(liveness.Heartbeat)
	if p := s.peers[out.To]; ok && p != nil && hb.Epoch != 0 {
		p.out.add(hb.Sent)
	}
}

// took notes what came from a server.
func (s *statistics) took(from secure.Sender, msg liveness.Message, now time.Duration) {
	p := s.peers[from.Name]
	if p == nil {
		return
	}
	switch m := msg.(type) {
	case liveness.Heartbeat:
		p.in.add(from.Process, m.Seq, now)
	case liveness.Ack:
		p.out.answered(m.Sent, now)
	}
}

// echo is a heartbeat sent, and how long its acknowledgement took; 0: none yet.
type echo struct{ sent, took time.Duration }

// echoes are the heartbeats sent to one server in the present span and the one
// before it, oldest first.
type echoes struct{ before, present []echo }

func (e *echoes) add(sent time.Duration) {
	if n := len(e.present); n > 0 {
		switch first, last := e.present[0].sent, e.present[n-1].sent; {
		case sent <= last:
			return // one that asks more under the same time
		case sent-first >= span || n >= most:
			e.before, e.present = e.present, e.before[:0]
		}
	}
	e.present = append(e.present, echo{sent: sent})
}

// answered notes an acknowledgement of what was sent at that time.
func (e *echoes) answered(sent, now time.Duration) {
	for _, all := range [][]echo{e.present, e.before} {
		i, found := slices.BinarySearchFunc(all, sent, func(x echo, at time.Duration) int { return int(x.sent - at) })
		if found {
			if all[i].took == 0 {
				all[i].took = max(now-sent, 1)
			}
			return
		}
	}
}

// measured is the median and the least round trip, and the share that was lost.
func (e *echoes) measured(now time.Duration) (median, least time.Duration, loss float64) {
	var trips []time.Duration
	lost := 0
	for _, all := range [][]echo{e.before, e.present} {
		for _, x := range all {
			switch {
			case now-x.sent > 2*span:
			case x.took > 0:
				if len(trips) == 0 {
					lost = 0 // it may have been starting: a voter grants nothing at first
				}
				trips = append(trips, x.took)
			case now-x.sent >= overdue:
				lost++
			}
		}
	}
	loss = share(lost, lost+len(trips))
	if len(trips) == 0 {
		return 0, 0, loss
	}
	slices.Sort(trips)
	return trips[len(trips)/2], trips[0], loss
}

// share is lost of all, or -1 if that says nothing.
func share(lost, all int) float64 {
	if all < fewest {
		return -1
	}
	return float64(lost) / float64(all)
}

// arrivals count the heartbeats of one process of a server in the present span
// and the one before it.
type arrivals struct {
	process         fsm.Nonce
	before, present count
}

// count is how many came of those numbered first to last.
type count struct {
	from        time.Duration // when the first one came
	first, last uint64
	came        int
}

// add notes the heartbeat with that number; 0: of a release that does not count.
func (a *arrivals) add(process fsm.Nonce, seq uint64, now time.Duration) {
	c := &a.present
	switch {
	case seq == 0:
		return
	case process != a.process || c.came == 0 || seq > c.last+most:
		*a = arrivals{process: process, present: count{from: now, first: seq, last: seq, came: 1}}
		return
	case seq >= c.first && now-c.from < span:
	case seq > c.last:
		a.before = *c
		*c = count{from: now, first: c.last + 1}
	case seq < c.first: // late
		if a.before.came > 0 && seq >= a.before.first {
			a.before.came++
		}
		return
	}
	c.last = max(c.last, seq)
	c.came++
}

// loss is the share that did not come; -1: unknown, or the last one is so long
// ago that it says nothing.
func (a *arrivals) loss(now time.Duration) float64 {
	if now-a.present.from > 2*span {
		return -1
	}
	all, came := a.present.all()+a.before.all(), a.present.came+a.before.came
	return share(max(0, all-came), all)
}

// all is how many were sent, as far as the numbers tell.
func (c *count) all() int {
	if c.came == 0 {
		return 0
	}
	return int(min(c.last-c.first+1, 2*most)) //nolint:gosec // bounded
}

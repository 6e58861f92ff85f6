package actions

import (
	"errors"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// unlimited says whether a job's effects count in no limit: addresses are
// batched by their driver, and the more it is given at once the better; a program
// sees to that itself.
func unlimited(j *fsm.Job) bool { return j.Action == fsm.ActionIP || j.Action == fsm.ActionClient }

// urgent says whether a release waits for no other: others wait only for so long,
// for what they bet on and for all that may stand without a lease. Nobody waits
// for a clean-up, which has no token.
func (c *Core) urgent(j *fsm.Job) bool {
	return unlimited(j) || j.AtMostOne && j.Token != 0 && (j.Bet || !c.lease)
}

// startReleases starts what is to go, up to the limit. Acquires in flight do
// not count: a lost lease must not wait for hooks that hang.
func (c *Core) startReleases(start []Effect) []Effect {
	for _, s := range c.queues[freeRelease] {
		start = append(start, c.begin(s, Release, s.next.job))
	}
	c.queues[freeRelease] = nil
	q := c.queues[queueRelease]
	for len(q) > 0 && c.releases < c.cfg.MaxParallel {
		s := q[0]
		q = q[1:]
		start = append(start, c.begin(s, Release, s.next.job))
	}
	c.queues[queueRelease] = q
	return start
}

// startAcquires starts what is to come, as far as the limit allows. Releases in
// flight count: while one waits for a place, no acquire that counts starts
// before it.
func (c *Core) startAcquires(start []Effect) []Effect {
	for _, from := range []place{freeAcquire, queueAcquire} {
		var later []*slot
		q := c.queues[from]
		for len(q) > 0 && (from == freeAcquire || c.running < c.cfg.MaxParallel) {
			s := q[0]
			q = q[1:]
			if c.rankInTheWay(s) {
				later = append(later, s)
				continue
			}
			s.starting(s.want)
			s.tried = s.want.Token
			start = append(start, c.begin(s, Acquire, *s.want))
		}
		c.queues[from] = append(later, q...)
	}
	return start
}

// rankInTheWay says whether another rank of the same item is still up, or on
// its way, on this machine: its hooks name the item alone, so that its `down`
// must have ended first.
func (c *Core) rankInTheWay(s *slot) bool {
	i, _ := slices.BinarySearchFunc(c.order, fsm.Key{System: s.key.System, Item: s.key.Item, Rank: minRank},
		func(o *slot, k fsm.Key) int { return o.key.Compare(k) })
	for ; i < len(c.order) && c.order[i].key.System == s.key.System && c.order[i].key.Item == s.key.Item; i++ {
		o := c.order[i]
		if o == s {
			continue
		}
		if o.running != nil || o.state == held || o.state == spoiled || o.place == queueRelease || len(o.left) > 0 {
			return true
		}
	}
	return false
}

const minRank = -1 << 31

// begin records that something is being done: from here on it may be up.
func (c *Core) begin(s *slot, kind Kind, job fsm.Job) Effect {
	c.lastID++
	s.job, s.place = job, nowhere
	s.former, s.state, s.why = s.state, spoiled, ""
	if kind == Release {
		s.why = job.Reason
	} else {
		s.outside = false
	}
	s.cancelled, s.found = false, false
	s.running, s.begun = &Effect{ID: c.lastID, Kind: kind, Job: job}, c.epoch
	s.counted = !unlimited(&job) && (kind == Acquire || !c.urgent(&job))
	c.count(s, s.running, 1)
	return *s.running
}

// count keeps the limits' numbers.
func (c *Core) count(s *slot, e *Effect, by int) {
	if !s.counted {
		return
	}
	c.running += by
	if e.Kind == Release {
		c.releases += by
	}
}

// Done takes in how an effect ended; every effect of Step ends here once. What
// follows from it the next Step decides, under the lease of that moment.
func (c *Core) Done(now time.Duration, e Effect, err error) {
	s := c.slots[e.Job.Key]
	if s == nil || s.running == nil || s.running.ID != e.ID {
		return
	}
	c.count(s, s.running, -1)
	s.running = nil
	if e.Kind == Release {
		c.released(s, now, e, err)
	} else {
		c.acquired(s, now, e, err)
	}
	s.since = now
	c.ended = append(c.ended, s)
}

func (c *Core) acquired(s *slot, now time.Duration, e Effect, err error) {
	s.releaseAt, s.downFails = 0, 0
	switch {
	case s.cancelled || withdrawn(err): // it may have ended either way: down follows
		if !s.cancelled {
			s.why = err.Error()
		}
		s.cancelled, s.state = false, spoiled
	case err != nil:
		s.state, s.err = spoiled, err.Error()
		s.fails++
		s.acquireAt = now + c.pause(s.fails, c.cfg.Attempts)
		if s.fails >= c.cfg.Attempts {
			delete(c.blamed, s.key) // what the log remembers now is another failure
		}
	default:
		s.state = held
		s.fails, s.acquireAt, s.err = 0, 0, ""
		s.counts(&e.Job)
		if s.clean != nil && SameWay(s.clean, &e.Job) {
			s.clean, s.dirty = nil, false // what it was to undo counts as held now
		}
		s.notLeft(&e.Job)
	}
}

func (c *Core) released(s *slot, now time.Duration, e Effect, err error) {
	switch {
	case err == nil:
		s.state, s.way(&e.Job).truth = down, down
		s.downFails, s.releaseAt, s.outside = 0, 0, false
		s.notLeft(&e.Job)
		if s.clean != nil && SameWay(s.clean, &e.Job) {
			s.clean, s.dirty = nil, false
		}
		if s.fails == 0 {
			s.err = ""
		}
		s.let = e.Job.Token
	case s.next.once: // perhaps nothing was up: what is assigned later is tried all the same
		s.state, s.err = s.former, err.Error()
		if s.dirty = e.Job.AtMostOne; !s.dirty {
			s.clean = nil
		}
	default:
		s.state, s.err, s.outside = spoiled, err.Error(), errors.Is(err, ErrOutsideGate)
		s.downFails++
		s.releaseAt = now + c.pause(s.downFails, 0)
		if s.downFails == 1 && e.Job.AtMostOne {
			c.cfg.Note(s.key, e.Job.Token, "withheld until it is released")
		}
	}
}

// pause is how long to wait after the n-th failure in a row: RetryFirst, twice
// that and so on, and RetryMax from the given number of attempts on.
func (c *Core) pause(n, attempts int) time.Duration {
	if attempts > 0 && n >= attempts {
		return c.cfg.RetryMax
	}
	d := c.cfg.RetryFirst
	for ; n > 1 && d < c.cfg.RetryMax; n-- {
		d *= 2
	}
	return min(d, c.cfg.RetryMax)
}

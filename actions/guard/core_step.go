package guard

import (
	"errors"
	"slices"
	"time"

	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/fsm"
)

// Step says what is to be done now, in this order, and when to call again, at the
// latest.
func (c *Core) Step(now time.Duration) (acts []Act, next time.Duration) {
	switch {
	case c.over:
		return nil, Never
	case c.lock.taken:
		return c.exit(nil)
	}
	if c.left && c.why == "" {
		if c.gone || c.hungUp || c.closed {
			return c.exit(nil)
		}
		return nil, Never
	}
	if c.why == "" {
		if c.why, next = c.alarm(now); c.why == "" {
			return nil, next
		}
		c.began = now
	}
	if !c.gone && c.kill.due(now) {
		c.kill.busy = true
		acts = append(acts, Act{Kind: Kill})
	}
	if c.shut.due(now) {
		c.shut.busy = true
		acts = append(acts, Act{Kind: Shut})
	}
	if c.wait(now) {
		acts = c.release(acts, now)
		acts = c.farewell(acts, now)
		acts = c.hand(acts, now)
		if c.finished(now) {
			return c.exit(acts)
		}
	}
	return acts, c.wake(now)
}

func (c *Core) exit(acts []Act) ([]Act, time.Duration) {
	c.over = true
	return append(acts, Act{Kind: Exit}), Never
}

// wait reports whether the daemon is dead, or has been waited for long enough; a
// child of it that is just becoming a hook too.
func (c *Core) wait(now time.Duration) bool {
	c.waited = c.waited || c.sure() || c.stuck && !c.gone || now >= c.began+c.cfg.DeathWait
	return c.waited
}

// release begins what can be begun.
func (c *Core) release(acts []Act, now time.Duration) []Act {
	if c.lock.asking {
		return acts
	}
	var due []*item
	for _, it := range c.sorted() {
		if it.due(now) {
			due = append(due, it)
		}
	}
	if len(due) > 0 && c.lock.open {
		c.lock.asking = true
		return append(acts, Act{Kind: Lock})
	}
	var remove, end, downs []ledger.Entry
	sure := c.sure()
	for _, it := range due {
		switch {
		case it.plumbed():
			remove = append(remove, it.entry)
		case it.state != ready && it.entry.Run != "":
			end = append(end, it.entry)
		case c.occupied(it):
			continue
		default:
			downs = append(downs, it.entry)
		}
		it.begin(sure)
	}
	if len(remove) > 0 {
		acts = append(acts, Act{Kind: Remove, Entries: remove})
	}
	if len(end) > 0 {
		acts = append(acts, Act{Kind: EndRuns, Entries: end})
	}
	for i := range downs {
		acts = append(acts, Act{Kind: Down, Entries: downs[i : i+1 : i+1]})
	}
	return acts
}

// occupied reports whether something is being done for the same item in another
// entry: hooks name the item alone.
func (c *Core) occupied(it *item) bool {
	k := it.entry.Job.Key
	for _, o := range c.items {
		if o != it && o.state == busy && !o.plumbed() && o.entry.Job.System == k.System && o.entry.Job.Item == k.Item {
			return true
		}
	}
	return false
}

// farewell says goodbye once all that the kernel gates is held back or gone, for
// that is what the log forgets with the epoch.
func (c *Core) farewell(acts []Act, now time.Duration) []Act {
	if c.epoch == 0 || !c.gone && !c.kill.done {
		return acts
	}
	for _, it := range c.items {
		gone := it.state == done && it.final
		if it.entry.Job.Gated && !gone && (!it.tried || !c.shut.done) {
			return acts
		}
	}
	kept := c.Kept()
	if fewer := !c.bye.said || !slices.Equal(kept, c.bye.kept); !fewer && (c.bye.acked || now < c.bye.next) {
		return acts
	} else if fewer {
		c.bye.acked = false
	}
	c.bye.said, c.bye.kept, c.bye.next = true, kept, now+c.cfg.Heartbeat
	return append(acts, Act{Kind: Goodbye, Kept: kept})
}

// hand lets a new daemon in once everything was tried and nothing runs: what
// has failed it finds in the list. As long as the old one is not gone for sure it
// must not start.
func (c *Core) hand(acts []Act, now time.Duration) []Act {
	if !c.sure() || !c.shut.tried || c.lock.asking {
		return acts
	}
	if c.lock.open {
		if now >= c.lock.next {
			c.lock.asking, c.lock.next = true, now+min(c.cfg.Heartbeat, lookEvery)
			acts = append(acts, Act{Kind: Look})
		}
		return acts
	}
	for _, it := range c.items {
		if it.state != done && it.state != failed || !it.proven {
			return acts
		}
	}
	c.lock.open, c.lock.next = true, now+min(c.cfg.Heartbeat, lookEvery)
	return append(acts, Act{Kind: Unlock})
}

// finished: nothing is held and everybody knows, or need not: what the kernel gates
// goes with the silence too.
func (c *Core) finished(now time.Duration) bool {
	if !c.sure() || !c.lock.open || c.lock.asking || len(c.Kept()) > 0 {
		return false
	}
	for _, it := range c.items {
		if it.state != done {
			return false
		}
	}
	waitedFor := slices.ContainsFunc(c.sorted(), func(it *item) bool { return !it.entry.Job.Gated })
	return c.epoch == 0 || c.bye.acked && len(c.bye.kept) == 0 || !waitedFor && now >= c.began+goodbyeFor
}

// wake is when something falls due by itself.
func (c *Core) wake(now time.Duration) time.Duration {
	next := Never
	if !c.waited {
		next = c.began + c.cfg.DeathWait
	}
	for _, t := range []*task{&c.kill, &c.shut} {
		if !t.busy && !t.done && (t != &c.kill || !c.gone) {
			next = min(next, t.next)
		}
	}
	for _, it := range c.items {
		if it.state == failed && !c.lock.asking {
			next = min(next, it.next)
		}
	}
	if c.bye.said && !c.bye.acked {
		next = min(next, c.bye.next)
	}
	if c.lock.open && !c.lock.asking {
		next = min(next, c.lock.next)
	}
	return max(next, now)
}

// Done takes in how an act ended, for all of its Entries.
func (c *Core) Done(now time.Duration, a Act, err error) {
	switch a.Kind {
	case Kill:
		c.kill.ended(now, &c.cfg, err)
	case Shut:
		c.shut.ended(now, &c.cfg, err)
	case Remove, Down:
		for _, e := range a.Entries {
			if it := c.items[e.ID]; it != nil {
				it.ended(now, &c.cfg, err)
			}
		}
	case EndRuns:
		for _, e := range a.Entries {
			if it := c.items[e.ID]; it != nil {
				it.runsEnded(err)
			}
		}
	case Look, Lock:
		c.lock.asking = false
		if errors.Is(err, ErrTaken) {
			c.lock.taken = true
		} else if a.Kind == Lock {
			c.lock.open = false
		}
	case Goodbye, Unlock, Exit:
	}
}

// runsEnded goes on with `down`, also when the daemon's hook could not be ended:
// then the item is not released, and all is done again later.
func (it *item) runsEnded(err error) {
	if it.state != busy {
		return
	}
	if it.again {
		it.state, it.again = todo, false
		return
	}
	it.state, it.dirty = ready, err != nil
}

// Held lists the at-most-one entries that are not known to be released.
func (c *Core) Held() []ledger.Entry {
	var held []ledger.Entry
	for _, it := range c.sorted() {
		if !it.out {
			held = append(held, it.entry)
		}
	}
	return held
}

// Epoch is the newest epoch that the daemon knew to be its own.
func (c *Core) Epoch() fsm.Epoch { return c.epoch }

// Knows reports whether an entry of that number was put and not dropped.
func (c *Core) Knows(id uint64) bool { return c.items[id] != nil }

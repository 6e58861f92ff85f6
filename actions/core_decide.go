package actions

import (
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// verdict is what a slot needs next.
type verdict struct {
	kind Kind          // 0: nothing
	at   time.Duration // when, at the earliest; of nothing: when to decide again, 0: never
	job  fsm.Job       // of a release: how to let go, and why
	once bool          // a release that is not repeated when it fails
}

const otherDefinition = "its definition changed"

// may says whether the slot may be held here now, and if not why.
func (c *Core) may(s *slot) (bool, string) { return c.allowed(s, c.lease) }

// allowed is may with another lease than the last Step's.
func (c *Core) allowed(s *slot, lease bool) (bool, string) {
	j := s.want
	switch {
	case j == nil:
		return false, "no longer assigned here"
	case c.mode != serving && j.AtMostOne, c.mode == stopAll && !j.Maintained:
		return false, "this member stops"
	case s.unfit != "":
		return false, s.unfit
	case !j.AtMostOne:
		return true, ""
	case !lease:
		return false, "no lease"
	case j.Barred:
		return false, "this epoch may not hold it"
	case !c.trusted():
		return false, "the log is not read up to this epoch"
	}
	why, _ := c.blocked(s)
	return why == "", why
}

// trusted says whether the slice was read at or past the process's own epoch.
func (c *Core) trusted() bool { return c.epoch != 0 && c.at >= fsm.Index(c.epoch) }

// decide says what a slot without an effect in flight needs. What needs no
// effect it does itself: an item held on becomes held under the new token.
func (c *Core) decide(s *slot) verdict {
	may, why := c.may(s)
	start := may && !s.want.Keep && c.mode == serving && (!s.want.Maintained || s.fails == 0)
	switch s.state {
	case held:
		return c.decideHeld(s, may, start, why)
	case spoiled:
		// For an at-least-one item service comes first: if it cannot be brought
		// down it is tried on top. An at-most-one item is withheld until it can, or
		// until an operator says so.
		if start && (!s.want.AtMostOne || c.forced(s)) && s.downFails > 0 && s.acquireAt <= s.releaseAt {
			return verdict{kind: Acquire, at: s.acquireAt}
		}
		return release(s.job, s.spoiledBy(why), s.releaseAt)
	case unknown, down:
		c.displace(s)
		// What was left, or was left by other hooks, goes first, by its own `down`.
		if j := c.leftover(s, may, start); j != nil {
			return release(*j, "left by a former process", s.releaseAt)
		}
		if o := c.foreign(s); o != nil {
			return release(o.Job, "left by a former process", s.releaseAt)
		}
		if start {
			return verdict{kind: Acquire, at: s.acquireAt}
		}
		c.await(s)
		v := c.decideLeft(s, may, why)
		if s.want != nil && v.kind == 0 {
			v.at = c.betsOver(s)
		}
		return v
	}
	return verdict{}
}

// await takes note of a slot that waits for nothing but others to let go: what
// can be done before its turn comes need not delay it then.
func (c *Core) await(s *slot) {
	if s.want == nil || s.want.Keep || s.want.Token == s.awaited || c.mode != serving || len(s.want.Blocked) == 0 {
		return
	}
	free := *s.want
	free.Blocked = nil
	alone := slot{key: s.key, want: &free, unfit: s.unfit}
	if may, _ := c.may(&alone); may {
		s.awaited = s.want.Token
		c.awaited = append(c.awaited, *s.want)
	}
}

// betsOver is when a slot that waits for nothing but bets on time is to be
// decided again; 0: not by time.
func (c *Core) betsOver(s *slot) time.Duration {
	if why, until := c.blocked(s); why != "" && until != Never {
		return until
	}
	return 0
}

// spoiledBy says why a spoiled item is let go of; why is what keeps it from
// being held now, if anything does.
func (s *slot) spoiledBy(why string) string {
	switch {
	case s.fails > 0:
		return "it failed to come up"
	case why != "" && (s.want != nil || s.why == ""):
		return why
	case s.why != "":
		return s.why // as it had to go once, it goes
	default:
		return "it was interrupted"
	}
}

func (c *Core) decideHeld(s *slot, may, start bool, why string) verdict {
	if s.found && !c.trusted() && c.mode != stopAll {
		return verdict{} // it may be wanted
	}
	changed := start && !sameDefinition(s.job, *s.want)
	if may && !changed {
		if !s.want.Keep && sameDefinition(s.job, *s.want) {
			if s.job.Token != s.want.Token {
				c.cfg.Note(s.key, s.want.Token, "held on under a new token")
			}
			if s.job.Token != s.want.Token || s.begun != c.epoch || !sameSettings(s.job.IP, s.want.IP) {
				c.adopted = append(c.adopted, *s.want)
			}
			s.adopt(c.epoch)
		}
		return verdict{}
	}
	if changed {
		why = otherDefinition
	}
	// An at-most-one item that had to go goes, whatever is decided before its
	// turn comes: between two leases somebody else may have held it.
	if s.job.AtMostOne && !may {
		s.state, s.why = spoiled, why
	}
	return release(s.job, why, 0)
}

// decideLeft lets go of what a former process may have left here.
func (c *Core) decideLeft(s *slot, may bool, why string) verdict {
	if may {
		return verdict{} // kept, if it is up
	}
	if c.inherited(s) {
		return release(*s.want, "left by a former process: "+why, s.releaseAt)
	}
	if s.clean == nil || s.want != nil && !s.clean.AtMostOne || !s.clean.AtMostOne && !c.trusted() {
		return verdict{}
	}
	v := release(*s.clean, "cleaned at start", s.releaseAt)
	switch {
	case !s.dirty:
		// Hooks fail for what is not there; addresses do not, and keep the gate shut.
		v.once = !behindGate(s.clean)
	case c.mode == serving:
		return verdict{}
	}
	return v
}

// inherited says whether a former process of this member may have left what is
// wanted here: what was assigned after the own registration nobody here held
// before, unless an entry says so.
func (c *Core) inherited(s *slot) bool {
	if s.want == nil || s.cleared(s.want) {
		return false
	}
	if c.first == 0 || fsm.Epoch(s.want.Token) < c.first {
		return true
	}
	return slices.ContainsFunc(s.owe, func(o fsm.Owed) bool { return !c.gone(s, &o) })
}

func release(j fsm.Job, why string, at time.Duration) verdict {
	j.Reason = why
	return verdict{kind: Release, at: at, job: j}
}

// placeAll decides every slot anew and answers with the acquires to be ended.
func (c *Core) placeAll(now time.Duration) (cancel []Effect) {
	for i := range c.queues {
		c.queues[i] = c.queues[i][:0]
	}
	clear(c.waiting)
	c.ended = nil // among all others
	for _, s := range c.order {
		s.place = nowhere
		c.look(s)
		if s.running == nil {
			c.put(s, now)
			continue
		}
		if s.running.Kind != Acquire || s.cancelled {
			continue
		}
		// Another token is no reason while this member still owns the slot; nor
		// is Keep: to end an `alive` that runs over an item left up is a gap.
		may, why := c.may(s)
		if !may || !sameDefinition(s.running.Job, *s.want) {
			if may {
				why = otherDefinition
			}
			s.cancelled, s.why = true, why
			cancel = append(cancel, *s.running)
		}
	}
	return cancel
}

// placeDue takes in the slots whose effects have ended, or whose time has come.
func (c *Core) placeDue(now time.Duration) {
	due := c.ended
	c.ended = nil
	for _, s := range due {
		delete(c.waiting, s)
	}
	for s, at := range c.waiting {
		if at <= now {
			due = append(due, s)
		}
	}
	slices.SortFunc(due, func(a, b *slot) int { return a.key.Compare(b.key) })
	for _, s := range due {
		c.look(s)
		c.put(s, now)
	}
}

// put sends a slot to where its next effect waits. Whatever changes a decision
// puts the slot again, so that what waits there is still right when its turn
// comes.
func (c *Core) put(s *slot, now time.Duration) {
	delete(c.waiting, s)
	v := c.decide(s)
	s.next, s.place = v, nowhere
	switch {
	case v.kind == 0 && v.at == 0:
		return
	case v.at > now:
		c.waiting[s] = v.at
		return
	case v.kind == Release:
		s.place = queueRelease
		if c.urgent(&v.job) {
			s.place = freeRelease
		}
	default:
		s.place = queueAcquire
		if unlimited(s.want) {
			s.place = freeAcquire
		}
	}
	c.queues[s.place] = append(c.queues[s.place], s)
}

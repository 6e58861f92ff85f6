package actions

import "github.com/flip-ha/flip/fsm"

// Clear says whether the kernel gate may open for the epoch it answers with, the
// slice's: the slice was read at or past that epoch, and nothing gated is up
// here, or in flight, or left by a former process as far as the log and Clean
// tell, that may not be held under that slice. What opens the gate opens it for
// all at once: a stranger's address behind it would answer too.
//
// The lease is not asked: it is read when the gate is opened.
func (c *Core) Clear() (fsm.Epoch, bool) {
	if !c.trusted() {
		return c.epoch, false
	}
	for _, s := range c.order {
		if c.obstructs(s) {
			return c.epoch, false
		}
	}
	return c.epoch, true
}

// obstructs says whether something may be up in this slot, or on its way, that
// answers once the gate is open and may not.
func (c *Core) obstructs(s *slot) bool {
	if s.outside {
		return false // open or shut, the gate does not concern it
	}
	may := c.mayOpen(s)
	goesOn := may && c.continues(s)
	if behindGate(&s.job) && (s.state == held || s.state == spoiled) && !goesOn {
		return true
	}
	// What was left of the very thing that is wanted is no stranger's.
	ours := func(left *fsm.Job) bool { return may && SameWay(left, s.want) }
	for i := range s.owe {
		if o := &s.owe[i]; o.Gated && !c.gone(s, o) && !ours(&o.Job) {
			return true
		}
	}
	if s.clean != nil && behindGate(s.clean) && !ours(s.clean) {
		return true
	}
	for i := range s.left {
		if behindGate(&s.left[i]) { // it goes first, wanted or not
			return true
		}
	}
	return s.want != nil && s.want.Gated && !may && s.state == unknown && c.inherited(s)
}

// mayOpen says whether the slot may be held now but for the lease.
func (c *Core) mayOpen(s *slot) bool {
	if s.want == nil || s.want.Keep {
		return false
	}
	may, _ := c.allowed(s, true)
	return may
}

// continues says whether what is up, or is coming up, is what is wanted. An
// effect that an older epoch began is not: it was decided under a slice that
// counts no more, and may still do anything.
func (c *Core) continues(s *slot) bool {
	if !sameDefinition(s.job, *s.want) {
		return false
	}
	return s.state == held || s.running != nil && s.running.Kind == Acquire && !s.cancelled && s.begun == c.epoch
}

// behindGate says whether a job without a token may be one of gated addresses.
func behindGate(j *fsm.Job) bool {
	return j.Gated || j.Token == 0 && j.AtMostOne && j.Action == fsm.ActionIP
}

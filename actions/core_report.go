package actions

import (
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Report is the difference between what is true and what the slice says the log
// knows; empty when there is none, or while this process has no epoch. It names
// the slice's epoch; its At is left to the caller. What does not fit into one
// command follows when the slice shows the first part.
func (c *Core) Report() fsm.Report {
	r := fsm.Report{Member: c.cfg.Self, Epoch: c.epoch}
	if c.epoch == 0 {
		return r
	}
	for _, s := range c.order {
		if words(&r) >= fsm.MaxMoves {
			break
		}
		if c.holdsUnreported(s) {
			r.Acquired = append(r.Acquired, fsm.Claim{Key: s.key, Member: c.cfg.Self, Epoch: c.epoch, Token: s.want.Token})
		}
		if c.failedUnreported(s) {
			r.Failed = append(r.Failed, s.failure())
		}
		for i := range s.owe {
			o := &s.owe[i]
			claim := fsm.Claim{Key: s.key, Member: o.Member, Epoch: o.Epoch, Token: o.Token}
			switch {
			case !c.letGo(s, o):
			case o.Epoch >= c.first:
				r.Released = append(r.Released, claim)
			case c.leased: // a sweep counts from the process's first lease on
				r.Swept = append(r.Swept, claim)
			}
		}
		if c.without.has(RuleLogShown) && s.state == down && s.let != 0 {
			r.Released = append(r.Released, fsm.Claim{Key: s.key, Member: c.cfg.Self, Epoch: c.epoch, Token: s.let})
		}
	}
	if room := fsm.MaxMoves - words(&r); room > 0 && len(c.mended) > 0 {
		r.Mended = slices.Clone(c.mended[:min(room, len(c.mended))])
	}
	return r
}

// words is how much a report says.
func words(r *fsm.Report) int {
	return len(r.Acquired) + len(r.Released) + len(r.Swept) + len(r.Failed) + len(r.Mended)
}

func empty(r fsm.Report) bool { return words(&r) == 0 }

// holdsUnreported says whether the slot is held as wanted and the log does not
// show it in this epoch. Replicated items have no slot in the log.
func (c *Core) holdsUnreported(s *slot) bool {
	if s.want == nil || s.want.Keep || s.want.Reported || s.want.Token == 0 {
		return false
	}
	may, _ := c.may(s)
	if c.without.has(RuleAliveFirst) {
		return may
	}
	return may && s.state == held && s.job.Token == s.want.Token
}

// failedUnreported says whether the attempts are used up, of coming up or of going
// down, or the item cannot be held here at all, and the log does not know of it.
// Who withholds an item must say so: else nobody else is given it, and there is
// nothing that an operator could make void.
func (c *Core) failedUnreported(s *slot) bool {
	if s.want == nil || s.want.Keep || s.want.Barred || s.want.Failed || s.want.Token == 0 {
		return false
	}
	withheld := s.want.AtMostOne && s.state == spoiled && s.downFails >= c.cfg.Attempts
	return s.unfit != "" && !s.absent && c.mode == serving && !s.want.Maintained ||
		s.fails >= c.cfg.Attempts && s.tried == s.want.Token || withheld
}

// failure is what is reported of a slot that failed.
func (s *slot) failure() fsm.Failure {
	f := fsm.Failure{Key: s.key, Token: s.want.Token, Err: s.err}
	if s.unfit != "" && !s.absent && !s.want.Maintained {
		f.Err, f.Unfit = s.unfit, true
	}
	return f
}

func (c *Core) letGo(s *slot, o *fsm.Owed) bool {
	return c.gone(s, o) || c.without.has(RuleDownFirst) ||
		c.without.has(RuleFailedKeeps) && s.fails+s.downFails > 0
}

// Held are the jobs that are held now, by key, each with the token it is held
// under.
func (c *Core) Held() []fsm.Job {
	var jobs []fsm.Job
	for _, s := range c.order {
		if s.state == held {
			jobs = append(jobs, s.job)
		}
	}
	return jobs
}

// Kept are the at-most-one items that are not known to be released, by key:
// also those that a former process may have left here. It is complete for the
// epoch of the newest slice, which it answers with and a goodbye must therefore
// name. 0 means that no slice read at or past this process's own epoch has been
// seen: then nothing can be said of what a former process left, and no goodbye
// may be.
func (c *Core) Kept() ([]fsm.Key, fsm.Epoch) {
	var keys []fsm.Key
	for _, s := range c.order {
		if c.mayBeUp(s, true) {
			keys = append(keys, s.key)
		}
	}
	if !c.trusted() {
		return keys, 0
	}
	return keys, c.epoch
}

// mayBeUp says whether the item may be up on this machine; with atMostOne set
// only if it counts as at-most-one.
func (c *Core) mayBeUp(s *slot, atMostOne bool) bool {
	if (s.state == held || s.state == spoiled) && (s.job.AtMostOne || !atMostOne) {
		return true
	}
	for i := range s.owe {
		if o := &s.owe[i]; (o.AtMostOne || !atMostOne) && !c.gone(s, o) {
			return true
		}
	}
	if s.clean != nil && s.clean.AtMostOne {
		return true // not tried yet, or it failed
	}
	for i := range s.left {
		if s.left[i].AtMostOne || !atMostOne {
			return true
		}
	}
	return s.state != held && s.want != nil && (s.want.AtMostOne || !atMostOne) && c.inherited(s)
}

// staysUp says whether a slot is held on beyond the end of this process: an
// at-least-one item under maintenance, which the next process finds in the list.
func (s *slot) staysUp() bool {
	return s.state == held && !s.job.AtMostOne && s.want != nil && s.want.Maintained
}

// left names what may still be up of all that Stop lets go of.
func (c *Core) left(all bool) []string {
	var names []string
	for _, s := range c.order {
		if c.mayBeUp(s, !all) && !s.staysUp() {
			name := string(s.key.System) + "/" + string(s.key.Item)
			if s.err != "" {
				name += " (" + s.err + ")"
			}
			names = append(names, name)
		}
	}
	return slices.Compact(names)
}

// Phase says in one word what a slot is at.
type Phase string

// The phases.
const (
	PhaseAcquiring Phase = "acquiring"
	PhaseHeld      Phase = "held"
	PhaseReleasing Phase = "releasing" // or about to be
	PhaseFailed    Phase = "failed"    // not brought down, or not up, after trying; tried again
	PhaseWaiting   Phase = "waiting"   // wanted, and not allowed or not tried yet
	PhaseReleased  Phase = "released"  // not wanted, and not up
)

// SlotStatus is what is true of one slot on this member, for people.
type SlotStatus struct {
	fsm.Key
	Phase     Phase
	Token     fsm.Token // under which it is held, else wanted
	AtMostOne bool
	Wanted    bool
	Withheld  bool          // at-most-one, and its `down` has failed
	Why       string        // waiting: for what; releasing or withheld: why it has to go
	Err       string        // of the last effect that failed
	Fails     int           // attempts that failed in a row
	Since     time.Duration // when its last effect ended, by the caller's clock; 0: none did
	Retry     time.Duration // when it is tried again; 0: no retry is due
}

// Status is what is true of every slot that is wanted, up or owed, by key.
func (c *Core) Status() []SlotStatus {
	var all []SlotStatus
	for _, s := range c.order {
		if s.want != nil || s.owe != nil || s.running != nil || c.mayBeUp(s, false) {
			all = append(all, c.status(s))
		}
	}
	return all
}

func (c *Core) status(s *slot) SlotStatus {
	st := SlotStatus{
		Key: s.key, Token: s.job.Token, AtMostOne: s.job.AtMostOne, Err: s.err,
		Fails: max(s.fails, s.downFails), Since: s.since, Retry: c.waiting[s],
	}
	may, why := false, ""
	if s.want != nil {
		st.AtMostOne, st.Wanted = s.want.AtMostOne, !s.want.Keep
		if s.state != held {
			st.Token = s.want.Token
		}
		may, why = c.may(s)
	}
	st.Withheld = s.state == spoiled && s.job.AtMostOne && s.downFails > 0
	switch {
	case s.running != nil && s.running.Kind == Acquire:
		st.Phase = PhaseAcquiring
	case s.running != nil:
		st.Phase = PhaseReleasing
	case s.state == held:
		st.Phase = PhaseHeld
	case s.fails+s.downFails > 0:
		st.Phase = PhaseFailed
		switch {
		case s.state == spoiled:
			st.Why = s.spoiledBy(why)
		case may && s.want.Maintained:
			st.Why = "under maintenance: not tried again"
		}
	case s.state == spoiled:
		st.Phase, st.Why = PhaseReleasing, s.spoiledBy(why)
	case s.want != nil && !s.want.Keep && s.unfit != "" && !s.absent:
		st.Phase, st.Why = PhaseFailed, s.unfit
	case s.want != nil && !s.want.Keep:
		st.Phase = PhaseWaiting
		switch {
		case !may:
			st.Why = why
		case c.mode != serving:
			st.Why = "this member stops"
		default:
			st.Why = "waits for its turn"
		}
	case s.state == down:
		st.Phase = PhaseReleased
	default:
		st.Phase = PhaseReleasing
	}
	return st
}

package actions

import (
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// Adopt takes note of what a former process has left up, as a list says that
// this process can trust, and before anything else is known: at-least-one items
// of hooks count as held. They stay until a slice read at this process's own
// epoch says otherwise, and then go by the hooks they came up with. All else is
// swept: addresses need their driver, at-most-one items a lease.
func (c *Core) Adopt(jobs []fsm.Job) {
	for i := range jobs {
		j := &jobs[i]
		s := c.slot(j.Key)
		if j.AtMostOne || j.Action == fsm.ActionIP || s.state != unknown || s.running != nil {
			c.sweep(j)
			continue
		}
		s.state, s.job, s.found = held, *j, true
		s.way(j).truth = spoiled
		s.counts(j)
	}
	c.all = true
	c.sort()
}

// Sweep takes note of what else a former process may have left: each goes by its
// own hooks, again and again until it is gone, and before anything is acquired in
// its slot. What is at-most-one goes at once; the rest when a slice has been read
// at this process's own epoch, and of that wanted addresses stay.
func (c *Core) Sweep(jobs []fsm.Job) {
	for i := range jobs {
		c.sweep(&jobs[i])
	}
	c.all = true
	c.sort()
}

func (c *Core) sweep(j *fsm.Job) {
	s := c.slot(j.Key)
	if s.leftBy(j) || s.cleared(j) || s.coming() && SameWay(&s.job, j) {
		return
	}
	s.left = append(s.left, *j)
	s.way(j).truth = spoiled
	if s.clean != nil && SameWay(s.clean, j) {
		s.clean, s.dirty = nil, false
	}
}

// displace makes addresses that are to be cleaned one of what was left, when the slot
// is wanted in another way by then: acquiring that does not undo them, and as long as
// they may be there the gate stays shut.
func (c *Core) displace(s *slot) {
	if s.clean == nil || s.want == nil || !behindGate(s.clean) || SameWay(s.clean, s.want) {
		return
	}
	j := s.clean
	s.clean, s.dirty = nil, false
	c.sweep(j)
}

// leftBy says whether something is left that goes by the job's way.
func (s *slot) leftBy(j *fsm.Job) bool {
	return slices.ContainsFunc(s.left, func(l fsm.Job) bool { return SameWay(&l, j) })
}

// notLeft takes note that nothing is left that goes by the job's way: it is gone,
// or has become what is held.
func (s *slot) notLeft(j *fsm.Job) {
	if s.left = slices.DeleteFunc(s.left, func(l fsm.Job) bool { return SameWay(&l, j) }); len(s.left) == 0 {
		s.left = nil
	}
}

// leftover is what is to be let go of next of what a former process left, nil if
// nothing is, or not now; may and start say whether what is wanted may be held, and
// would be acquired.
func (c *Core) leftover(s *slot, may, start bool) *fsm.Job {
	for i := range s.left {
		j := &s.left[i]
		switch {
		case j.AtMostOne || c.mode == stopAll:
			return j
		case may && j.Action == fsm.ActionIP && SameWay(j, s.want): // it stays
		case start || c.trusted():
			return j
		}
	}
	return nil
}

// forced says whether an operator has said of what cannot be brought down that
// it is not up: every entry of it that the log shows is void.
func (c *Core) forced(s *slot) bool {
	void := false
	for i := range s.owe {
		if o := &s.owe[i]; SameWay(&o.Job, &s.job) && !c.gone(s, o) {
			if !o.Void {
				return false
			}
			void = true
		}
	}
	return void
}

package sim

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
)

// hookGrace is how long a hook that was told to end has until it is killed.
const hookGrace = 200 * time.Millisecond

// Outcome is how a hook behaves.
type Outcome struct {
	Took time.Duration
	Fail bool
	Hang bool // until somebody ends it
	Deaf bool // to TERM
	// Stuck is how long the call for an address stands in the kernel.
	Stuck time.Duration
	// Fork is how long its child stands between fork and exec: nothing tells yet
	// whose it is, and it has the descriptors of whoever started it.
	Fork time.Duration
}

var (
	errHook    = errors.New("exit status 1")
	errTimeout = errors.New("timed out")
)

// run is one hook: a process of its own on its machine, whatever becomes of who
// started it. What it does it may do at any instant from its first to its last:
// an `alive` has the item up from the first on, and once more at the last if a
// `down` took it away between.
type run struct {
	m      *Machine
	id     string // as the list names it
	kind   actions.Kind
	job    fsm.Job
	member fsm.MemberID
	out    Outcome
	exec   bool // its environment tells whose it is
	orphan bool // who started it is dead
	told   bool // to end

	excused bool // of what a bet on it assumes something has failed
	over    bool
	exit    func(error) // tells who started it
}

// spawn starts a hook; exit is called when it has ended.
func (m *Machine) spawn(r *run, forked func()) {
	w := m.w
	r.m = m
	m.runs = append(m.runs, r)
	if r.kind == actions.Acquire {
		m.plumb(r.member, r.job, 0, r.excused)
	}
	if r.exec = r.out.Fork == 0; !r.exec {
		w.Count.add(HooksForked)
		boots := m.boots
		w.After(r.out.Fork, func() {
			if m.boots == boots {
				r.exec = true
				forked()
			}
		})
	}
	if !r.out.Hang {
		w.After(max(r.out.Took, r.out.Fork), func() { r.ends() })
	}
}

// ends is the hook's own end: what it is for has been done by now.
func (r *run) ends() {
	if r.over {
		return
	}
	switch {
	case r.kind == actions.Acquire:
		r.lands(!r.out.Fail)
	case !r.out.Fail:
		if r.m.letsGo(&r.job) != nil {
			r.m.drop(r.job.Key)
		}
	}
	var err error
	if r.out.Fail {
		r.m.w.Count.add(HooksFailed)
		err = errHook
	}
	r.gone(err)
}

// lands is the last instant at which an `alive` may bring the item up.
func (r *run) lands(well bool) {
	m, h := r.m, r.m.holds[r.job.Key]
	if h == nil || h.Action != r.job.Action {
		if r.orphan {
			m.w.Count.add(LateAlives)
			m.w.tracef("%s: `alive` of %s/%s@%d lands although nobody waits for it", m.Name, r.job.System, r.job.Item, r.job.Token)
		}
		m.plumb(r.member, r.job, 0, r.excused)
		h = m.holds[r.job.Key]
	}
	if well {
		m.w.checker.acquired(m, h)
	}
}

// tell has a hook end: TERM, and KILL after the grace.
func (r *run) tell() {
	if r.over || r.told {
		return
	}
	r.told = true
	w := r.m.w
	d := w.between(0, 3*time.Millisecond)
	if r.out.Deaf {
		w.Count.add(HooksKilled)
		d = hookGrace
	}
	w.After(d, r.ended)
}

// ended is a hook ended by others: a `down` has released nothing, an `alive` may
// have done it a moment ago.
func (r *run) ended() {
	if r.over {
		return
	}
	if r.kind == actions.Acquire {
		r.lands(false)
	}
	r.gone(context.Canceled)
}

func (r *run) gone(err error) {
	r.over = true
	m := r.m
	if h := m.letsGo(&r.job); h != nil && err != nil && r.kind == actions.Release {
		h.excused = true
	}
	m.runs = slices.DeleteFunc(m.runs, func(o *run) bool { return o == r })
	if m.w.cfg.Trace && err != nil {
		m.w.tracef("%s: %s of %s/%s@%d: %v", m.Name, verb(r.kind), r.job.System, r.job.Item, r.job.Token, err)
	}
	if r.exit != nil {
		r.exit(err)
	}
}

// endRuns ends the hooks that an environment tells to be one of these runs, and
// calls then when none is left.
func (m *Machine) endRuns(ids []string, then func()) {
	var left bool
	for _, r := range slices.Clone(m.runs) {
		if r.exec && slices.Contains(ids, r.id) {
			if r.orphan && !r.told {
				m.w.Count.add(OrphansEnded)
			}
			left = true
			r.tell()
		}
	}
	if !left {
		then()
		return
	}
	m.w.After(2*time.Millisecond, func() { m.endRuns(ids, then) })
}

func verb(k actions.Kind) string {
	if k == actions.Acquire {
		return "alive"
	}
	return "down"
}

package sim

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/fsm"
)

// Effect is a hook call, or what stands for one.
type Effect = actions.Effect

// executor drives the shipped actions.Core of one process: it hands it the slice
// and the lease, and does in the virtual kernel what it asks for.
type executor struct {
	p          *Process
	dirty      bool // the slice must be computed again
	due        bool // the core must be stepped
	reportable bool // what is to be reported may have changed
	had        bool // lease at the last step
	cleaned    bool
	epoch      fsm.Epoch
	slice      fsm.Slice
	newest     fsm.Index // read so far
	next       time.Duration
	refreshAt  time.Duration // of addresses that expire
	running    map[uint64]*effect
}

// effect is one that was decided on, in a thread of the process.
type effect struct {
	Effect
	out    Outcome
	run    *run // of a hook that was started
	unwant bool // told to end
	landed bool // its call is in the kernel
	over   bool
}

func (x *executor) init(p *Process) {
	x.p, x.running = p, map[uint64]*effect{}
	p.core = actions.NewCore(actions.CoreConfig{
		Self: p.Name, Machine: p.machine.Name, MaxParallel: 16, Without: p.w.cfg.Rules.Actions,
		RetryFirst: 100 * time.Millisecond, RetryMax: time.Second, Unfit: p.unfit,
	})
}

// sweep lets go, at the start, of at-most-one items that a former process may
// have left: this one holds none without a lease of its own.
func (x *executor) sweep() {
	spec := x.p.seed
	if known := x.p.state.Spec(); known.Version != 0 {
		spec = *known
	}
	bare, _, err := fsm.New().Apply(1, fsm.Encode(fsm.SetSpec{Cluster: "leftovers", Spec: spec}))
	if err != nil {
		x.p.w.checker.fail(BadState, "apply a Spec: %v", err)
		return
	}
	x.inherit()
	x.p.core.Clean(slices.DeleteFunc(bare.Rest(x.p.Name), func(j fsm.Job) bool { return !j.AtMostOne || x.inherits(&j) }))
	x.due = true
}

// inherits says whether the list has an item as up and at-least-one, whatever an
// old Spec says.
func (x *executor) inherits(j *fsm.Job) bool {
	return slices.ContainsFunc(x.p.machine.list.entries, func(e ledger.Entry) bool {
		return e.Job.Key == j.Key && e.Phase == ledger.Up && !e.Job.AtMostOne
	})
}

// inherit holds on to what the list says is up and may be, and lets go of the rest.
func (x *executor) inherit() {
	w := x.p.w
	_, held, gone := ledger.Inherit(x.p.machine.list.entries)
	if w.cfg.Rules.UpUnlisted {
		held, gone = nil, append(gone, held...)
	}
	w.Count.addN(ListedAdopted, len(held))
	w.Count.addN(ListedReleased, len(gone))
	x.p.core.Adopt(held)
	x.p.core.Sweep(gone)
}

// step brings the core up to date; the answer is when to call again.
func (x *executor) step(now time.Duration, lease bool) time.Duration {
	p := x.p
	// Until its own epoch is in the log, what this process has read may be as old
	// as its last snapshot: an item that was at-least-one then may be at-most-one
	// and another's by now.
	if epoch := p.live.Epoch(); epoch != 0 && (x.dirty || epoch != x.epoch) {
		x.set(epoch)
	}
	x.dirty = false
	fresh := x.refresh(now, lease)
	if !x.due && lease == x.had && (x.next == 0 || now < x.next) {
		return earlier(fresh, x.next)
	}
	x.due, x.had, x.reportable = false, lease, true
	start, stop, next := p.core.Step(now, lease)
	if x.next = next; next == actions.Never {
		x.next = 0
	}
	x.adopt()
	for _, e := range stop {
		x.cancel(e)
	}
	for _, e := range start {
		x.start(e)
	}
	return earlier(fresh, x.next)
}

// adopt follows what the core holds on under a newer token without a hook call.
func (x *executor) adopt() {
	m := x.p.machine
	for _, job := range x.p.core.Held() {
		h := m.holds[job.Key]
		if h == nil || job.Token <= h.Token {
			continue
		}
		x.tell(x.p.machine.list.adopted(&job))
		h.Token, h.AtMostOne, h.excused, h.lost = job.Token, job.AtMostOne, false, false
		x.p.w.checker.acquired(m, h)
		x.p.w.checker.held(m, h)
	}
}

// set hands the core all that the log says this process should hold.
func (x *executor) set(epoch fsm.Epoch) {
	p := x.p
	x.epoch, x.due = epoch, true
	x.slice = p.state.Slice(p.Name, epoch, p.machine.Name, p.at)
	if p.w.cfg.Rules.ViewsForward { // the core does not go back either
		x.newest = max(x.newest, p.at)
		x.slice.At = x.newest
	}
	if !x.cleaned {
		x.cleaned = true
		p.core.Clean(p.state.Rest(p.Name))
	}
	if p.w.cfg.Rules.Bets {
		for i := range x.slice.Want {
			for n := range x.slice.Want[i].Blocked {
				x.slice.Want[i].Blocked[n].After /= 8
			}
		}
	}
	p.core.Set(x.slice)
}

// releaseAll has the core let go of everything, at-least-one items too.
func (x *executor) releaseAll() {
	x.p.core.Stop(true)
	x.due = true
}

// kept are the at-most-one items not let go of yet; false: the executor has not
// seen the newest epoch, and nothing can be said.
func (x *executor) kept() ([]fsm.Key, bool) {
	keys, epoch := x.p.core.Kept()
	return keys, epoch != 0 && epoch == x.p.live.Epoch()
}

// busy says whether a hook runs or something is still up.
func (x *executor) busy() bool {
	if len(x.running) > 0 {
		return true
	}
	r := x.p.core.Report()
	return len(r.Released)+len(r.Swept) > 0
}

// sortedKeys lists a map's slots in a fixed order.
func sortedKeys[V any](m map[fsm.Key]V) []fsm.Key {
	return slices.SortedFunc(maps.Keys(m), func(a, b fsm.Key) int {
		return cmp.Or(cmp.Compare(a.System, b.System), cmp.Compare(a.Item, b.Item), cmp.Compare(a.Rank, b.Rank))
	})
}

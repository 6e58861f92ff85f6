package sim_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/sim"
)

// machine is one host: what is up on it stays up whatever becomes of the
// processes. Everything in it is guarded by world.mu.
type machine struct {
	w     *world
	name  string
	boots int
	rate  float64 // of its clock; two clocks differ by less than 10 %
	since time.Time
	up    map[fsm.Key]*holding
	had   map[fsm.Key]fsm.Token // newest token under which `alive` ended well
	gate  gate
}

// holding is one item that is up: from the first instant of `alive` to the last
// of a `down` that goes well.
type holding struct {
	job fsm.Job
	ok  bool // `alive` has ended well and no `down` has begun
}

// gate stands for the kernel's: gated items answer only while it is open. It
// follows the lease of the epoch that opened it at every instant, the most that
// any number of renewals could give, and shuts by itself.
type gate struct {
	by    *node
	epoch fsm.Epoch
	until time.Duration // once that process is dead; this machine's clock
}

func (w *world) newMachine(name fsm.MemberID) *machine {
	return &machine{
		w: w, name: "m-" + string(name), boots: 1, rate: 0.96 + 0.08*w.rng.Float64(), since: time.Now().Add(-time.Hour),
		up: map[fsm.Key]*holding{}, had: map[fsm.Key]fsm.Token{},
	}
}

// clock is this machine's CLOCK_BOOTTIME; it needs no lock.
func (m *machine) clock() time.Duration { return time.Duration(float64(time.Since(m.since)) * m.rate) }

// reboot ends all that is up here. No process may run on it.
func (m *machine) reboot() {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	clear(m.up)
	m.boots++
	m.gate = gate{}
	m.w.note("%s reboots", m.name)
}

// holds says whether an item answers on this machine.
func (m *machine) holds(k fsm.Key) bool {
	h := m.up[k]
	return h != nil && (!h.job.Gated || m.opened())
}

func (m *machine) opened() bool {
	if m.gate.by == nil || m.gate.by.dead() {
		return m.clock() < m.gate.until
	}
	_, ok := m.gate.by.leaseOf(m.gate.epoch)()
	return ok
}

// open opens the gate in a new epoch, once the executor says that nothing is in
// the way.
func (m *machine) open(p *node, epoch fsm.Epoch) {
	if m.gate.by == p && m.gate.epoch == epoch {
		return
	}
	m.gate = gate{by: p, epoch: epoch}
	for k := range m.up {
		m.w.exclusive(m, k)
	}
}

// sweep is the driver for addresses at its start: there is no lease yet, so no
// at-most-one address stays.
func (m *machine) sweep() {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.gate = gate{} // its tables are built anew, shut
	for k, h := range m.up {
		if h.job.Action == fsm.ActionIP && h.job.AtMostOne {
			delete(m.up, k)
		}
	}
}

// orphan leaves the gate to the kernel: its process is about to die.
func (m *machine) orphan(p *node) {
	if m.gate.by != p {
		return
	}
	left, ok := p.leaseOf(m.gate.epoch)()
	if !ok {
		left = 0
	}
	m.gate.until = m.clock() + left
}

// shut closes the gate at once.
func (m *machine) shut() { m.gate = gate{} }

// reported looks at a report as it is sent: what it calls released must be gone,
// and what it calls acquired has been up under that token.
func (m *machine) reported(p *node, r fsm.Report) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if p.dead() {
		return
	}
	for _, c := range r.Acquired {
		if h := m.up[c.Key]; h != nil && h.ok {
			m.had[c.Key] = max(m.had[c.Key], c.Token)
			h.job.Token = max(h.job.Token, c.Token)
		}
	}
	for _, c := range slices.Concat(r.Released, r.Swept) {
		if h := m.up[c.Key]; h != nil && h.job.Token <= c.Token && c.Member == p.name {
			m.w.violated("false report: %s says that it let go of %s/%s@%d, which is up under %d",
				p.name, c.System, c.Item, c.Token, h.job.Token)
		}
	}
}

// outcome is how a hook behaves.
type outcome struct {
	took       time.Duration
	fail, hang bool
}

// driver stands for the hooks of one process on its machine.
type driver struct {
	*machine
	of *node
}

var (
	errHook = errors.New("exit status 1")
	// killTime is how long a process group takes to end on a signal.
	killTime = 2 * time.Millisecond
)

// Acquire implements actions.Driver.
func (d driver) Acquire(ctx context.Context, job fsm.Job) error {
	return d.hook(ctx, "alive", job, func() {
		h := d.up[job.Key]
		if h == nil {
			h = &holding{}
			d.up[job.Key] = h
		}
		h.job = job
		d.w.exclusive(d.machine, job.Key)
	}, func() {
		d.up[job.Key].ok = true
		d.had[job.Key] = max(d.had[job.Key], job.Token)
	})
}

// Release implements actions.Driver.
func (d driver) Release(ctx context.Context, job fsm.Job) error {
	return d.hook(ctx, "down", job, func() {
		if h := d.up[job.Key]; h != nil {
			was := h.ok
			h.ok = false
			if was && !h.job.AtMostOne {
				d.w.gap(d.of, h.job)
			}
		}
	}, func() { delete(d.up, job.Key) })
}

// hook is one call: begin is its first instant, end the last if it goes well. A
// hook dies with the daemon that started it.
func (d driver) hook(ctx context.Context, verb string, job fsm.Job, begin, end func()) error {
	w := d.w
	w.mu.Lock()
	if d.of.dead() {
		w.mu.Unlock()
		return errDead
	}
	out := w.hooks(w)
	w.calls++
	w.note("%s: %s %s/%s@%d", d.of.name, verb, job.System, job.Item, job.Token)
	begin()
	w.tightly()
	w.mu.Unlock()

	timer := time.NewTimer(out.took)
	defer timer.Stop()
	over := timer.C
	if out.hang {
		over = nil
	}
	var err error
	select {
	case <-over:
		if out.fail {
			err = errHook
		}
	case <-ctx.Done():
		time.Sleep(killTime)
		err = context.Cause(ctx)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case d.of.dead():
		return errDead
	case err != nil:
		w.note("%s: %s %s/%s@%d: %v", d.of.name, verb, job.System, job.Item, job.Token, err)
		if h := d.up[job.Key]; h != nil {
			h.ok = false // a hook that fails is followed by `down`
		}
	default:
		end()
	}
	return err
}

// exclusive looks at an item that m may hold from now on.
func (w *world) exclusive(m *machine, k fsm.Key) {
	if !m.holds(k) || !m.up[k].job.AtMostOne {
		return
	}
	for _, o := range w.machines {
		if o != m && o.holds(k) {
			w.violated("two holders of %s/%s: %s (token %d) and %s (token %d)",
				k.System, k.Item, m.name, m.up[k].job.Token, o.name, o.up[k].job.Token)
		}
	}
}

// gap looks at an at-least-one item whose `down` begins in a process in its
// right mind: somebody else must have had it by now, unless its own hook failed.
func (w *world) gap(p *node, job fsm.Job) {
	own, _ := p.raft.View()
	slot, ok := own.Slot(job.Key)
	if !ok || slot.Owner == "" {
		return
	}
	if f, failed := own.FailureOf(p.name, job.Key); failed && f.Token <= job.Token {
		return
	}
	for _, o := range w.machines {
		if h := o.up[job.Key]; o != p.machine && (h != nil && h.ok || o.had[job.Key] >= slot.Token) {
			return
		}
	}
	if p.excused {
		return
	}
	w.violated("gap: %s lets go of %s/%s (token %d) although nobody else has had it under token %d of %s",
		p.name, job.System, job.Item, job.Token, slot.Token, slot.Owner)
}

// heirs reports whether another member is up and stays.
func heirs(s *fsm.State, but fsm.MemberID) bool {
	for name := range s.Spec().Servers {
		if m, ok := s.Member(name); ok && name != but && m.Up && !m.Leaving {
			return true
		}
	}
	return false
}

// quick are hooks that work.
func quick(w *world) outcome {
	return outcome{took: time.Millisecond + time.Duration(w.chance.Int64N(int64(19*time.Millisecond)))}
}

// shaky are hooks of which some fail and some hang until their deadline.
func shaky(w *world) outcome {
	out := quick(w)
	switch n := w.chance.IntN(100); {
	case n < 15:
		out.fail = true
	case n < 22:
		out.hang = true
	}
	return out
}

// The systems that stand side by side in these tests.
const (
	sysLeast = fsm.SystemID("least") // hooks, at-least-one
	sysMost  = fsm.SystemID("most")  // hooks, at-most-one
	sysGated = fsm.SystemID("gated") // at-most-one behind the kernel's gate
	sysEach  = fsm.SystemID("each")  // replicated
)

func systems(n int) []fsm.System {
	var items []fsm.ItemID
	for i := range n {
		items = append(items, fsm.ItemID(fmt.Sprintf("i%d", i+1)))
	}
	gated := sim.Addresses(sysGated, 1, fsm.AtMostOne, items...)
	each := sim.System(sysEach, fsm.AtLeastOne, "r")
	each.Split = fsm.Replicate
	return []fsm.System{
		sim.System(sysLeast, fsm.AtLeastOne, items...), sim.System(sysMost, fsm.AtMostOne, items...), gated, each,
	}
}

package sim

import (
	"fmt"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
)

// Machine is one host: a clock, a kernel that holds items whatever happens to
// the processes on it, and the gate.
type Machine struct {
	w     *World
	Name  string // what fsm.Host.Machine says
	clock clock
	boots int
	holds map[fsm.Key]*Hold
	gate  gate
}

// Hold is one item that a machine's kernel has: from the first instant at which
// `alive` might have done it to the last at which `down` might not have.
type Hold struct {
	fsm.Key
	Member    fsm.MemberID
	Token     fsm.Token // newest under which it was acquired, or reported to be
	AtMostOne bool
	Gated     bool // packets pass only while the gate is open
	Action    fsm.Action
	OK        bool // `alive` has ended well, and no `down` has begun
}

// gate is the kernel's lease element: it ends by the machine's own clock.
type gate struct {
	epoch fsm.Epoch
	until time.Duration // the machine's clock
}

// NewMachine boots a machine; its name is what tells it from others.
func (w *World) NewMachine(name string) *Machine {
	m := &Machine{w: w, Name: name, clock: w.drift(), boots: 1, holds: map[fsm.Key]*Hold{}}
	w.machines = append(w.machines, m)
	return m
}

// host is what a process on it registers as.
func (m *Machine) host(instance string) fsm.Host {
	return fsm.Host{Machine: m.Name, Boot: fmt.Sprintf("%s-boot%d", m.Name, m.boots), Instance: instance}
}

// Now is what the machine's clock shows.
func (m *Machine) Now() time.Duration { return m.clock.at(m.w.now) }

// open says whether gated items answer.
func (m *Machine) open() bool { return m.Now() < m.gate.until }

// Holds says whether the machine effectively holds an item now.
func (m *Machine) Holds(k fsm.Key) bool { return m.effective(k) != nil }

func (m *Machine) effective(k fsm.Key) *Hold {
	h := m.holds[k]
	if h == nil || h.Gated && !m.open() {
		return nil
	}
	return h
}

// plumb is the first instant of an `alive`.
func (m *Machine) plumb(p *Process, job fsm.Job) {
	h := m.holds[job.Key]
	if h == nil {
		h = &Hold{Key: job.Key}
		m.holds[job.Key] = h
	}
	h.Member, h.Token, h.Action = p.Name, max(h.Token, job.Token), job.Action
	h.AtMostOne, h.Gated = job.AtMostOne, job.Gated
	m.w.checker.held(m, h)
}

// drop is the last instant of a `down` that went well.
func (m *Machine) drop(k fsm.Key) { delete(m.holds, k) }

// Reboot ends every process of the machine and everything its kernel held.
func (w *World) Reboot(m *Machine) {
	for _, p := range w.on(m) {
		p.Kill()
	}
	w.Count.add(Reboots)
	w.tracef("%s reboots", m.Name)
	clear(m.holds)
	m.boots++
	rate := m.clock.rate
	m.clock = clock{since: w.now, start: w.between(time.Second, 10*time.Second), rate: rate}
	m.gate = gate{}
}

// renew is the gate's side of a lease: it follows the lease while it runs, and
// opens in an epoch only when everything that epoch may not hold is gone. What
// a former process left plumbed the driver removes first.
func (m *Machine) renew(x *executor, left time.Duration, ok bool) {
	if !ok {
		return // it ends by itself
	}
	epoch := x.epoch
	if m.gate.epoch == epoch && m.open() {
		m.gate.until = m.Now() + left
		return
	}
	if m.gate.epoch == epoch && m.gate.until != 0 && m.w.cfg.Rules.Liveness&liveness.RuleNoRevival == 0 {
		return // expired: the kernel refuses to revive it
	}
	for _, k := range sortedKeys(m.holds) {
		if !m.holds[k].Gated || x.mayHold(k) {
			continue
		}
		if !x.stranger(k) {
			return
		}
		m.drop(k)
	}
	m.gate = gate{epoch: epoch, until: m.Now() + left}
	if m.w.cfg.Trace {
		m.w.tracef("%s: the gate opens for epoch %d", m.Name, epoch)
	}
	m.watchGate(epoch)
	for _, k := range sortedKeys(m.holds) {
		m.w.checker.held(m, m.holds[k])
	}
}

// watchGate counts the gates that the kernel shut with something behind them.
func (m *Machine) watchGate(epoch fsm.Epoch) {
	m.w.At(m.clock.when(m.gate.until), func() {
		if m.gate.epoch != epoch {
			return
		}
		if m.open() {
			m.watchGate(epoch)
			return
		}
		for _, h := range m.holds {
			if h.Gated {
				m.w.Count.add(GateShut)
				if m.w.cfg.Trace {
					m.w.tracef("%s: the kernel shuts the gate of epoch %d", m.Name, epoch)
				}
				return
			}
		}
	})
}

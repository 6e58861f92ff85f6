package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
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
	owner *Process // of the gate's tables
	runs  []*run   // hooks
	list  list
	// lock is the data directory's: whoever wipes one waits until nobody has it.
	lock lock
	// starting are processes that wait for what former ones left.
	starting []*Process
	dark     bool // no carrier where the addresses are
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
	OK        bool // `alive` has ended well, the daemon knows it, and no `down` has begun
	// bet: it came up although others had not said that they let go. excused: of
	// what such a bet assumes something has failed here. lost: to such a bet.
	bet, excused, lost bool

	// The kernel removes an address that is not refreshed, by the machine's clock.
	until     time.Duration // 0: never
	late      time.Duration // how much later it really does
	refreshed time.Duration
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
func (m *Machine) plumb(member fsm.MemberID, job fsm.Job, ttl time.Duration, excused bool) {
	h := m.holds[job.Key]
	if h == nil {
		h = &Hold{Key: job.Key}
		m.holds[job.Key] = h
	}
	h.Member, h.Token, h.Action = member, max(h.Token, job.Token), job.Action
	h.AtMostOne, h.Gated = job.AtMostOne, job.Gated
	h.bet, h.excused, h.lost = len(job.Blocked) > 0, excused, false
	m.endure(h, ttl)
	m.w.checker.held(m, h)
}

// letsGo is what a release undoes: hooks take no address away that flip plumbed,
// and the reverse.
func (m *Machine) letsGo(job *fsm.Job) *Hold {
	if h := m.holds[job.Key]; h != nil && h.Action == job.Action {
		return h
	}
	return nil
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
	m.off()
	rate := m.clock.rate
	m.clock = clock{since: w.now, start: w.between(time.Second, 10*time.Second), rate: rate}
}

// off is what a machine that loses its power forgets, /run included, and what stood
// in its kernel, which belongs to a boot that is over.
func (m *Machine) off() {
	m.boots++
	clear(m.holds)
	for _, r := range m.runs {
		r.over = true
	}
	m.runs = nil
	for _, g := range slices.Clone(m.w.guards) {
		if g.m == m {
			g.end("is gone with its machine")
		}
	}
	m.list = list{last: m.list.last, runs: m.list.runs}
	m.lock = lock{}
	m.shut()
}

package sim

import (
	"time"

	"github.com/flip-ha/flip/fsm"
)

// lateMost is how long after its time the kernel removes an address at the most.
const lateMost = 1500 * time.Millisecond

// noCarrier is what every address on a machine without one is unfit for.
const noCarrier = "no carrier"

// expires says whether the kernel removes what is plumbed unless it is
// refreshed in time: at-most-one addresses that no gate can take back.
func (h *Hold) expires() bool { return h.Action == fsm.ActionIP && h.AtMostOne && !h.Gated }

// endure gives an address its lifetime anew.
func (m *Machine) endure(h *Hold, ttl time.Duration) {
	if !h.expires() {
		h.until = 0
		return
	}
	watched := h.until != 0
	h.refreshed = m.Now()
	h.until = m.Now() + fsm.AddressLifetime(ttl)
	if !watched {
		h.late = m.w.between(0, lateMost-stuckMost)
		if m.w.cfg.Linger > 0 {
			h.late = m.w.cfg.Linger
		}
		m.watchLifetime(h)
	}
}

// watchLifetime is the kernel's timer of one address.
func (m *Machine) watchLifetime(h *Hold) {
	end := h.until + h.late
	m.w.At(m.clock.when(end), func() {
		switch {
		case m.holds[h.Key] != h || h.until == 0:
		case h.until+h.late > end:
			m.watchLifetime(h)
		default:
			m.w.Count.add(AddressesExpired)
			m.w.tracef("%s: the kernel removes %s/%s", m.Name, h.System, h.Item)
			m.drop(h.Key)
		}
	})
}

// refresh is the driver's timer: what expires is refreshed with the lease, as
// long as no release has begun. The answer is when it is due again.
func (x *executor) refresh(now time.Duration, lease bool) time.Duration {
	if !lease || now < x.refreshAt {
		return 0 // a heartbeat's answer wakes the process sooner than it matters
	}
	m, every := x.p.machine, x.p.ttl()/3
	x.refreshAt = now + every
	for _, k := range sortedKeys(m.holds) {
		if h := m.holds[k]; h.OK && h.expires() {
			x.p.w.Count.add(AddressesRefreshed)
			m.endure(h, x.p.ttl())
		}
	}
	return x.refreshAt
}

// sweepAddresses is the driver at its start: no lease, no at-most-one address.
func (m *Machine) sweepAddresses() {
	for _, k := range sortedKeys(m.holds) {
		if h := m.holds[k]; h.Action == fsm.ActionIP && h.AtMostOne {
			m.w.Count.add(AddressesSwept)
			m.drop(k)
		}
	}
}

// SetCarrier takes the carrier of a machine away, or gives it back.
func (w *World) SetCarrier(m *Machine, there bool) {
	if m.dark == !there {
		return
	}
	m.dark = !there
	if m.dark {
		w.Count.add(CarriersLost)
	}
	w.tracef("%s: carrier %v", m.Name, there)
	for _, p := range w.on(m) {
		p.do(func() {
			p.core.Recheck()
			p.exec.due = true
		})
	}
}

// unfit is the driver's answer for one job.
func (p *Process) unfit(j *fsm.Job) string {
	if j.Action == fsm.ActionIP && p.machine.dark {
		return noCarrier
	}
	return ""
}

// ttl is the lease time by this process's log.
func (p *Process) ttl() time.Duration {
	if d := p.state.Spec().Timing.Lease; d > 0 {
		return d
	}
	return p.w.cfg.Spec.Timing.Lease
}

package sim

import "github.com/flip-ha/flip/fsm"

// squeeze aims several faults at one holder at once, each at an instant of its
// own: what it takes to call a member down a moment too early.
func (a *Adversary) squeeze() {
	w, ttl := a.w, a.ttlNow()
	m := a.holder()
	w.tracef("%s is squeezed", m)
	for _, v := range w.names {
		if v == m || w.chance(0.2) {
			continue
		}
		l := w.Link(m, v)
		a.later(ttl/2, func() {
			l.Cut = true
			a.w.After(w.between(0, 2*ttl), func() { l.Cut = false })
		})
	}
	if w.chance(0.6) {
		a.later(2*ttl, func() {
			w.Lag(m, w.between(ttl, 5*ttl))
			a.later(5*ttl, func() { w.Lag(m, -1) })
		})
	}
	if w.chance(0.5) {
		victim := a.name()
		a.later(2*ttl, func() {
			if p := w.running(victim); p != nil {
				p.Kill()
				w.Launch(victim)
			}
		})
	}
	if w.chance(0.4) && w.log.leader != nil {
		l := w.Link(a.name(), w.log.leader.Name)
		l.Late, l.LateBy = 0.8, 3*ttl
		a.later(4*ttl, func() { l.Late = 0.003 })
	}
	if w.chance(0.3) {
		a.later(2*ttl, func() { w.Stall(w.between(0, 4*ttl)) })
	}
}

// holder is the owner of an at-most-one item.
func (a *Adversary) holder() fsm.MemberID {
	var owners []fsm.MemberID
	for slot := range a.w.checker.newest().Slots() {
		if slot.AtMostOne && slot.Owner != "" {
			owners = append(owners, slot.Owner)
		}
	}
	if len(owners) == 0 {
		return a.name()
	}
	return owners[a.w.rng.IntN(len(owners))]
}

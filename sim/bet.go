package sim

import "github.com/flip-ha/flip/fsm"

// excuse notes that nobody is sure to let go of what the machine holds by hooks:
// others who bet on it may lose.
func (m *Machine) excuse() {
	for _, h := range m.holds {
		h.excused = h.excused || h.Action == fsm.ActionHooks
	}
	for _, r := range m.runs {
		r.excused = true
	}
}

// forsaken excuses what is up when the second of a daemon and its guard is gone.
func (m *Machine) forsaken(p *Process) {
	if p.dead && (p.guard == nil || p.guard.dead) {
		m.excuse()
	}
}

// stunned says whether a guard on the machine stands still.
func (m *Machine) stunned() bool {
	for _, g := range m.w.guards {
		if g.m == m && g.Frozen() {
			return true
		}
	}
	return false
}

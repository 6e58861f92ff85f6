package main

import (
	"slices"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// gateStatus is the kernel gate of this node, for people.
func (d *daemon) gateStatus() api.Gate {
	g := d.ground
	switch {
	case g != nil && g.noGate.Load() != nil:
		return api.Gate{State: api.GateNone, Why: *g.noGate.Load()}
	case g == nil || g.gate == nil:
		return api.Gate{State: api.GateNotNeeded}
	}
	s := g.gate.Stats()
	out := api.Gate{State: api.GateShut, Owned: s.Owned, Addrs: s.Addrs, RenewalUS: s.Last.Microseconds(), WorstUS: s.Worst.Microseconds(), Refused: s.Refused}
	_, leased := d.beat.Lease()
	_, clear := d.exec.Clear()
	switch {
	case s.Open:
		out.State = api.GateOpen
	case !leased:
		out.Why = "no lease"
	case !clear:
		out.Why = "what may not be held here is still to be let go of"
	}
	return out
}

// guardStatus is the guard as its parent knows it.
func (d *daemon) guardStatus() api.Guard {
	if d.guard == nil {
		return api.Guard{State: api.GuardNone, Why: "a test took it away"}
	}
	s := d.guard.Status()
	out := api.Guard{State: api.GuardRunning, PID: s.PID, Restarts: s.Restarts}
	if !s.Up {
		out.State, out.Why = api.GuardNone, or(s.Err, "it is being started")
	}
	return out
}

// addressStatus lists what this node has plumbed, an item a line.
func (d *daemon) addressStatus() []api.Address {
	if d.ground == nil || d.ground.driver == nil {
		return nil
	}
	var out []api.Address
	for _, a := range d.ground.driver.Status() {
		if a.Left {
			continue
		}
		n := len(out)
		if n == 0 || (fsm.Key{System: out[n-1].System, Item: out[n-1].Item}) != (fsm.Key{System: a.System, Item: a.Item}) {
			out = append(out, api.Address{System: a.System, Item: a.Item, Interface: a.Interface, Addresses: []string{}})
			n++
		}
		row := &out[n-1]
		if a.Held {
			row.Addresses = append(row.Addresses, a.Address.String())
		}
		row.Gated = row.Gated || a.Gated
		row.Told, row.Announced, row.Repairs = max(row.Told, a.Told), max(row.Announced, int(a.Rounds)), max(row.Repairs, int(a.Repairs))
		if row.Stranger == "" {
			row.Stranger = a.Stranger
		}
	}
	return slices.Clip(out)
}

package main

import (
	"path/filepath"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/udp"
)

// wayTo adds what the heartbeats have measured of the way to each peer.
func (d *daemon) wayTo(peers []api.DoctorPeer) {
	seen := map[fsm.MemberID]udp.PeerStats{}
	for _, s := range d.beat.Peers() {
		seen[s.Name] = s
	}
	for i := range peers {
		if s, ok := seen[peers[i].Name]; ok {
			seenWay(&peers[i], s)
		}
	}
}

func seenWay(p *api.DoctorPeer, s udp.PeerStats) {
	if s.RTT > 0 {
		us := max(1, s.RTT.Round(time.Microsecond).Microseconds())
		p.RoundTripUS = &us
	}
	if s.Loss >= 0 {
		p.Loss = &s.Loss
	}
	if s.LossFrom >= 0 {
		p.LossFrom = &s.LossFrom
	}
}

// guardSeen is the guard as its parent knows it.
func (d *daemon) guardSeen() *api.DoctorGuard {
	out := &api.DoctorGuard{Why: "a test took it away"}
	if d.guard == nil {
		return out
	}
	s := d.guard.Status()
	out.Restarts, out.Why = s.Restarts, s.Err
	if s.Up {
		out.PID, out.Why = s.PID, ""
	}
	if list, err := filepath.Abs(d.listPath()); err == nil {
		out.List = list
	}
	return out
}

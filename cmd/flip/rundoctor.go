package main

import (
	"cmp"
	"context"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
)

const (
	// askClock bounds what one member takes to say what time it has.
	askClock = 2 * time.Second
	// askParallel bounds how many are asked at one time.
	askParallel = 16
)

// Doctor implements server.DoctorSource.
func (d *daemon) Doctor(ctx context.Context) api.Doctor {
	st := d.Status()
	out := api.Doctor{
		Stamp: st.Stamp, ID: d.self.Name, PID: st.Node.PID, File: absolute(d.paths.file), DataDir: absolute(d.paths.data),
		GOMAXPROCS: runtime.GOMAXPROCS(0), Timing: st.Cluster.Timing, Gate: st.Node.Gate, Guard: d.guardSeen(), Peers: []api.DoctorPeer{},
	}
	for _, m := range askable(st) {
		if m.Name != d.self.Name {
			out.Peers = append(out.Peers, api.DoctorPeer{Name: m.Name, Address: m.Address, TCP: m.TCP, UDP: m.UDP})
		}
	}
	slices.SortFunc(out.Peers, func(a, b api.DoctorPeer) int { return cmp.Compare(a.Name, b.Name) })
	d.wayTo(out.Peers)
	d.clocksOf(ctx, out.Peers)
	return out
}

// absolute is a path as others than this process understand it.
func absolute(name string) string {
	if abs, err := filepath.Abs(name); err == nil {
		return abs
	}
	return name
}

// clocksOf asks the members for the time, all at once.
func (d *daemon) clocksOf(ctx context.Context, peers []api.DoctorPeer) {
	var g errgroup.Group
	g.SetLimit(askParallel)
	for i := range peers {
		p := &peers[i]
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, askClock)
			defer cancel()
			ahead, within, err := d.peers.client.Clock(ctx, client.Target{Addr: p.Address, Name: p.Name})
			if err != nil {
				p.ClockError = err.Error()
				return nil // the others may answer
			}
			us := ahead.Microseconds()
			p.ClockUS, p.ClockWithinUS = &us, within.Microseconds()
			if p.TCP.Code == "" { // an agent looks at nobody's port by itself
				p.TCP.Code = api.FindOK
			}
			return nil
		})
	}
	_ = g.Wait() // they answer with no error
}

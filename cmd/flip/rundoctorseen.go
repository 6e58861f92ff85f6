package main

import "github.com/flip-ha/flip/api"

// wayTo adds what the heartbeats have measured of the way to each peer.
func (d *daemon) wayTo([]api.DoctorPeer) {}

// guardSeen is the guard as its parent knows it.
func (d *daemon) guardSeen() *api.DoctorGuard { return nil }

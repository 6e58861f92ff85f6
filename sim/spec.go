package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Names are n members, n1 and so on.
func Names(n int) []fsm.MemberID {
	var names []fsm.MemberID
	for i := range n {
		names = append(names, fsm.MemberID(fmt.Sprintf("n%d", i+1)))
	}
	return names
}

// Timing is a lease time and the heartbeat that goes with it.
func Timing(ttl time.Duration) fsm.Timing {
	return fsm.Timing{
		Preset: "file", Heartbeat: ttl / 6, Lease: ttl,
		RaftHeartbeat: 100 * time.Millisecond, RaftElection: 100 * time.Millisecond, RaftLease: 50 * time.Millisecond,
	}
}

// System is a sharded system of hooks, moved however much is lost.
func System(name fsm.SystemID, g fsm.Guarantee, items ...fsm.ItemID) fsm.System {
	s := fsm.System{
		Name: name, Split: fsm.Shard, Guarantee: g, Action: fsm.ActionHooks,
		Alive: "up", Down: "down", Config: []byte("{}"), CleanOnStart: true,
		StartTimeout: stopTimeout, StopTimeout: stopTimeout, NoBrake: true,
	}
	for _, id := range items {
		s.Items = append(s.Items, fsm.Item{ID: id})
	}
	return s
}

// Addresses is a sharded system whose items are addresses; no two systems with
// different numbers share one.
func Addresses(name fsm.SystemID, number int, g fsm.Guarantee, items ...fsm.ItemID) fsm.System {
	s := System(name, g, items...)
	s.Action, s.IP = fsm.ActionIP, &fsm.IP{}
	for i := range s.Items {
		s.Items[i].Addrs = []string{fmt.Sprintf("10.1.%d.%d/32", number, i+1)}
	}
	return s
}

// byHooks is a system of addresses made one of hooks.
func byHooks(s fsm.System) fsm.System {
	s.Action, s.IP = fsm.ActionHooks, nil
	s.Items = slices.Clone(s.Items)
	for i := range s.Items {
		s.Items[i].Addrs = nil
	}
	return s
}

// NewSpec is a cluster in which every member serves every system.
func NewSpec(voters []fsm.MemberID, ttl time.Duration, systems ...fsm.System) fsm.Spec {
	spec := fsm.Spec{
		Timing: Timing(ttl), Quorum: len(voters)/2 + 1, RemoveOnFailure: true,
		Servers: map[fsm.MemberID]fsm.Server{}, Systems: map[fsm.SystemID]fsm.System{},
	}
	var ids []fsm.SystemID
	for _, s := range systems {
		spec.Systems[s.Name] = s
		ids = append(ids, s.Name)
	}
	slices.Sort(ids)
	for i, m := range voters {
		spec.Servers[m] = fsm.Server{
			Name: m, Addr: serverAddr(i), Role: fsm.RoleVoter, Systems: ids,
		}
	}
	return spec
}

func serverAddr(i int) string { return fmt.Sprintf("10.0.0.%d:2200", i+1) }

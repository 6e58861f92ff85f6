package raftnode

import (
	"fmt"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// BenchmarkNextAgents is one look of the leader at 10,000 items of 1,000 agents, after
// something has changed.
func BenchmarkNextAgents(b *testing.B) {
	spec := specOf("n1", "n2", "n3")
	ip := spec.Systems["ip"]
	ip.Items = nil
	for i := range 10_000 {
		ip.Items = append(ip.Items, fsm.Item{ID: fsm.ItemID(fmt.Sprintf("%06d", i))})
	}
	spec.Systems["ip"] = ip
	for i := range 1000 {
		n := fsm.MemberID(fmt.Sprintf("a%d", i))
		spec.Servers[n] = fsm.Server{Name: n, Addr: string(n) + ":1", Role: fsm.RoleAgent, Systems: []fsm.SystemID{"ip"}}
	}
	h := &quick{history{t: b, state: fsm.New()}}
	h.voters("n1", "n2", "n3")
	h.apply(fsm.SetSpec{Cluster: "c", Spec: spec})
	for n := range spec.Servers {
		h.register(n, "b")
	}
	a := &Agenda{}
	for {
		cmd, _ := Next(a, Look{State: h.state, Now: time.Hour})
		if cmd == nil {
			break
		}
		h.apply(cmd)
	}
	b.ReportAllocs()
	for b.Loop() {
		a.drafts.last = nil
		if cmd, _ := Next(a, Look{State: h.state, Now: 2 * time.Hour}); cmd != nil {
			b.Fatalf("%T", cmd)
		}
	}
}

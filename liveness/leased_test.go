package liveness

import (
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Every node knows of every other whether its lease runs, one heartbeat later;
// of one that has started anew not before its new epoch's first lease.
func TestLeasedFollowsHeartbeats(t *testing.T) {
	w := newWorld()
	w.silent = true
	names := []fsm.MemberID{"n1", "n2", "n3"}
	for _, name := range names {
		w.node(name).rate = 1
	}
	w.setSpec(words{names: names, pairs: map[string]string{"ttl": "300ms", "beat": "50ms"}})
	w.voters(names)
	w.leader = "n1"
	for _, name := range names {
		w.start(w.nodes[name], 0)
	}
	w.spread()
	w.run(3 * time.Second)
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	sees := func() bool {
		m, _ := w.state().Member("n2")
		return n1.p.Leased(n1.local(w.now), "n2", m.Epoch)
	}
	own := n1.p.Epoch()
	if !w.allLeased() || !sees() || !n1.p.Leased(n1.local(w.now), "n1", own) {
		t.Fatal("after three seconds everybody has a lease, and everybody knows")
	}
	if n1.p.Leased(n1.local(w.now), "n1", own-1) || n1.p.Leased(n1.local(w.now), "n9", 1) {
		t.Error("an older epoch, or a stranger, has a lease")
	}
	w.kill(n2)
	w.run(w.now + time.Second)
	if sees() {
		t.Error("n2 is dead and counts as having a lease")
	}
	w.start(n2, w.index())
	before := n1.p.LeasesSeen()
	early, late := false, false
	for end := w.now + 10*time.Second; w.now < end && !late; {
		w.run(w.now + time.Millisecond)
		_, has := n2.p.Lease(n2.local(w.now))
		early = early || sees() && !has
		late = sees()
	}
	if early || !late {
		t.Errorf("started anew: known before the lease %t, known in the end %t", early, late)
	}
	if n1.p.LeasesSeen() == before {
		t.Error("nobody was told of the change")
	}
}

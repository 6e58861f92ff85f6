package liveness

import (
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// What a leader remembers of members is bounded by the members that there are: no
// record of a stranger arises, and that of one that is gone from the log and from the
// configuration goes.
func TestRecordsFollowTheMembers(t *testing.T) {
	w := newWorld()
	w.silent = true
	for _, line := range []string{"cluster n1,n2,n3 agents=a1", "start n1,n2,n3,a1", "run 100ms", "lead n1", "run 900ms"} {
		quiet(w, line)
	}
	n := w.nodes["n1"]
	n.p.Receive(n.local(w.now), From{Member: "stranger", Instance: "i"}, Heartbeat{Epoch: 9, Sent: time.Second})
	if n.p.voter.peers["stranger"] != nil {
		t.Error("a stranger is remembered")
	}
	if n.p.voter.peers["a1"] == nil {
		t.Fatal("a1 is not remembered")
	}
	quiet(w, "kill a1")
	spec := *w.state().Spec()
	w.commit(fsm.SetSpec{Was: spec.Version, Spec: spec.WithoutServer("a1")})
	w.run(w.now + 10*time.Millisecond)
	w.commit(fsm.RemoveMember{Member: "a1"})
	w.run(w.now + 10*time.Millisecond)
	if _, registered := n.p.view.state.Member("a1"); registered || n.p.voter.peers["a1"] != nil {
		t.Errorf("registered: %v; what is remembered: %+v", registered, n.p.voter.peers["a1"])
	}
}

// A leader that is demoted leads no more, whatever it was told last.
func TestDemotedLeadsNoMore(t *testing.T) {
	w := newWorld()
	w.silent = true
	for _, line := range []string{"cluster n1,n2,n3", "start n1,n2,n3", "run 100ms", "lead n1", "run 900ms", "kill n3"} {
		quiet(w, line)
	}
	n := w.nodes["n1"]
	n.p.SetVoter(n.local(w.now), false)
	for range 20 {
		w.now += defaultBeat
		out, _ := n.p.Tick(n.local(w.now))
		for _, o := range out {
			if hb, ok := o.Msg.(Heartbeat); ok && len(hb.Polls) > 0 {
				t.Fatalf("an agent polls: %+v", hb)
			}
		}
	}
}

package raftnode

import (
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Each step of nextChange is one of a Scene's.
func TestSceneNext(t *testing.T) {
	h := working(t, nil) // voters n1/i n2/i n3/i, all assigned
	hello := func(name fsm.MemberID, instance string) Hello {
		return Hello{Name: name, Instance: instance, Cluster: h.state.Cluster(), Applied: h.at, Running: time.Minute, Hears: true}
	}
	all := map[fsm.MemberID]Hello{"n2": hello("n2", "i"), "n3": hello("n3", "i")}
	fresh := map[fsm.MemberID]Hello{"n2": all["n2"], "n3": {Name: "n3", Instance: "new", Empty: true}}
	back := map[fsm.MemberID]Hello{"n2": all["n2"], "n3": hello("n3", "new")}
	three := []fsm.VoterID{"n1/i", "n2/i", "n3/i"}
	left := working(t, nil)
	left.mark("n1")
	left.settle(&Agenda{}, time.Second)
	left.release("n1")
	for _, tt := range []struct {
		name  string
		scene Scene
		step  Step
		id    fsm.VoterID
	}{
		{"nothing to do", Scene{State: h.state, Self: "n1/i", Voters: three, Greeted: all}, StepNone, ""},
		{"wiped", Scene{State: h.state, Self: "n1/i", Voters: three, Greeted: fresh}, StepRemove, "n3/i"},
		{"unknown", Scene{State: h.state, Self: "n1/i", Voters: three[:2], Greeted: fresh}, StepLearn, "n3/new"},
		{"caught up", Scene{State: h.state, Self: "n1/i", Voters: three[:2], Learners: []fsm.VoterID{"n3/new"}, Greeted: back}, StepVote, "n3/new"},
		{"to go", Scene{State: left.state, Self: "n2/i", Voters: three, Greeted: all}, StepRemove, "n1/i"},
		{"to go, and leads", Scene{State: left.state, Self: "n1/i", Voters: three, Greeted: all}, StepHandOver, "n2/i"},
	} {
		tt.scene.Index, tt.scene.MayChange = h.at, true
		if step, id := tt.scene.Next(); step != tt.step || id != tt.id {
			t.Errorf("%s: step %d of %s, want %d of %s", tt.name, step, id, tt.step, tt.id)
		}
		tt.scene.MayChange = false
		if step, id := tt.scene.Next(); (tt.step == StepRemove || tt.step == StepVote) && step != StepNone {
			t.Errorf("%s: too early, and step %d of %s", tt.name, step, id)
		}
	}
}

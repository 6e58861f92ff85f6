package actions

import (
	"testing"

	"github.com/flip-ha/flip/fsm"
)

// Addresses that are to be cleaned up go although the item is wanted by then, by
// hooks: those do not undo them, and the gate would stay shut for good.
func TestCleanGoesBeforeAnotherWay(t *testing.T) {
	k := fsm.Key{System: "s", Item: "a"}
	o := newOracle(CoreConfig{Self: "n1", Machine: "m1"})
	o.Clean([]fsm.Job{{Key: k, Action: fsm.ActionIP, AtMostOne: true, Addrs: []string{"10.0.0.1/32"}}})
	o.Set(fsm.Slice{At: 20, Epoch: 20, Want: []fsm.Job{
		{Key: k, Token: 21, AtMostOne: true, Action: fsm.ActionHooks, Alive: "up", Down: "down"},
	}})
	for _, want := range []Kind{Release, Acquire} {
		start, _, _ := o.Step(true)
		if len(start) != 1 || start[0].Kind != want {
			t.Fatalf("it starts %+v, want one %v", start, want)
		}
		o.end(k, nil)
	}
	if _, open := o.Clear(); !open {
		t.Error("the gate may not open")
	}
}

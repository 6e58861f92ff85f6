package raftnode

import (
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// rotating is a working cluster whose key is being rotated.
func rotating(t *testing.T) *history {
	t.Helper()
	h := founded(t, specOf("n1", "n2", "n3"), "n1", "n2", "n3")
	for _, n := range []fsm.MemberID{"n1", "n2", "n3"} {
		h.register(n, "b")
	}
	h.settle(&Agenda{}, time.Second)
	h.mustApply(fsm.Rotate{Old: "a", New: "b", Sealed: []byte{1}, Back: []byte{2}})
	return h
}

func (h *history) mustApply(c fsm.Command) {
	if res := h.apply(c); !res.Applied {
		h.t.Fatalf("%T: %s", c, res.Why)
	}
}

func (h *history) keyAck(names ...fsm.MemberID) {
	for _, n := range names {
		k := h.state.Keys()
		h.mustApply(fsm.KeyAck{Member: n, Round: k.Round, Phase: k.Phase})
	}
}

// Each phase follows when all have acknowledged the one before, whoever leads then.
func TestNextPhaseOfTheKey(t *testing.T) {
	h := rotating(t)
	for _, phase := range []fsm.KeyPhase{fsm.KeyBoth, fsm.KeyNew, fsm.KeyOnly} {
		if got := h.state.Keys().Phase; got != phase {
			t.Fatalf("phase %d, want %d", got, phase)
		}
		h.keyAck("n3", "n1")
		if cmds, again := h.settle(&Agenda{}, time.Second); len(cmds) != 0 || again != 0 {
			t.Fatalf("phase %d: n2 is not waited for: %+v, %v", phase, cmds, again)
		}
		h.keyAck("n2")
		cmds, _ := h.settle(&Agenda{}, time.Second)
		if len(cmds) != 1 {
			t.Fatalf("phase %d: %+v", phase, cmds)
		}
		if g, ok := cmds[0].(fsm.KeyGo); !ok || g.Phase != phase || g.At != 42 {
			t.Fatalf("phase %d: %+v", phase, cmds)
		}
	}
	if k := h.state.Keys(); k.Phase != fsm.KeySettled {
		t.Fatalf("%+v", k)
	}
	if cmds, _ := h.settle(&Agenda{}, time.Second); len(cmds) != 0 {
		t.Fatalf("%+v", cmds)
	}
}

// A Down comes first, and the phase does not wait for its moves.
func TestNextPhaseBesideADown(t *testing.T) {
	h := rotating(t)
	h.keyAck("n1", "n2", "n3")
	cmds, _ := h.settle(&Agenda{}, time.Second, "n3")
	if len(cmds) != 2 {
		t.Fatalf("%+v", cmds)
	}
	if _, ok := cmds[0].(fsm.Down); !ok {
		t.Errorf("first %T", cmds[0])
	}
	if _, ok := cmds[1].(fsm.KeyGo); !ok {
		t.Errorf("then %T", cmds[1])
	}
	// From here on the dead one is waited for, until it is left out.
	h.keyAck("n1", "n2")
	if cmds, _ := h.settle(&Agenda{}, time.Second); len(cmds) != 0 {
		t.Fatalf("%+v", cmds)
	}
	h.mustApply(fsm.KeyGo{Round: h.state.Keys().Round, LeftOut: []fsm.MemberID{"n3"}})
	if h.settle(&Agenda{}, time.Second); h.state.Keys().Phase != fsm.KeyOnly {
		t.Fatalf("%+v", h.state.Keys())
	}
}

package raftnode

import (
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

func failingBack(d time.Duration) func(*fsm.Spec) {
	return func(s *fsm.Spec) {
		ip := s.Systems["ip"]
		ip.Failback = d
		s.Systems["ip"] = ip
	}
}

// Items go home when their home has been well for long enough, whoever leads by then.
func TestNextFailback(t *testing.T) {
	h := working(t, failingBack(30*time.Second))
	seen := &Sightings{}
	leased := true
	look := func(now time.Duration) Look {
		l := h.look(now)
		l.Leased = func(id fsm.MemberID, _ fsm.Epoch) bool { return id != "n1" || leased }
		seen.Look(l.State, now, l.Leased)
		l.Seen = seen
		return l
	}
	a := &Agenda{}
	Next(a, look(0))
	h.carryOut(must(Next(a, func() Look { l := look(0); l.Downs = []fsm.Down{h.down("n1")}; return l }())))
	h.register("n1", "b")
	leased = false
	for _, now := range []time.Duration{60 * time.Second, 95 * time.Second} {
		if cmd, _ := Next(a, look(now)); cmd != nil {
			t.Fatalf("it has no lease yet: %+v", cmd)
		}
	}
	leased = true
	cmd, again := Next(a, look(100*time.Second))
	if cmd != nil || again != 130*time.Second {
		t.Fatalf("%+v, again at %v", cmd, again)
	}
	a = &Agenda{} // another leader
	if cmd, again := Next(a, look(129*time.Second)); cmd != nil || again != 130*time.Second {
		t.Fatalf("%+v, again at %v", cmd, again)
	}
	cmd, _ = Next(a, look(130*time.Second))
	if h.carryOut(cmd); h.owners() != "a=n1 b=n2 c=n3 d=n1" {
		t.Errorf("%+v: %s", cmd, h.owners())
	}
	if cmd, _ := Next(a, look(131*time.Second)); cmd != nil || len(a.Outlook().Held) > 0 {
		t.Errorf("%+v, %+v", cmd, a.Outlook())
	}
}

func must(cmd fsm.Command, _ time.Duration) fsm.Command { return cmd }

// More than half of the servers lost at once: what they had stays theirs.
func TestNextBrakes(t *testing.T) {
	h := working(t, func(s *fsm.Spec) {
		ip := s.Systems["ip"]
		ip.NoBrake = false
		s.Systems["ip"] = ip
	})
	a := &Agenda{}
	cmds, _ := h.settle(a, time.Minute, "n1", "n2")
	if len(cmds) != 2 || len(h.state.Brakes()) != 1 {
		t.Fatalf("%+v, %+v", cmds, h.state.Brakes())
	}
	before := h.owners()
	if !strings.Contains(before, "b=n2") || strings.Contains(before, "=n1") {
		t.Errorf("the first loss was none at once with others: %s", before)
	}
	if cmds, _ := h.settle(a, time.Hour); len(cmds) > 0 {
		t.Fatalf("%+v", cmds)
	}
	if o := a.Outlook(); len(o.Held) == 0 || !strings.Contains(o.Held[0].Why, "flip cleanup ip") || o.Held[0].For != 0 {
		t.Errorf("%+v", o)
	}
	h.apply(fsm.Cleanup{System: "ip"})
	if h.settle(a, time.Hour); h.owners() != "a=n3 b=n3 c=n3 d=n3" {
		t.Errorf("%s", h.owners())
	}
}

// Three moves in three minutes; the fourth waits, unless its owner is lost.
func TestNextDamps(t *testing.T) {
	h := working(t, nil)
	h.wall = true
	key := fsm.Key{System: "ip", Item: "a"}
	for i, to := range []fsm.MemberID{"n2", "n3", "n2"} {
		slot, _ := h.state.Slot(key)
		h.apply(fsm.Assign{At: 42 + int64(i)*1000, Moves: []fsm.Move{{Key: key, Was: slot.Token, To: to, Cause: fsm.CauseBalance}}})
	}
	a := &Agenda{}
	cmds, again := h.settle(a, 10*time.Second)
	if slot, _ := h.state.Slot(key); len(cmds) > 0 || slot.Owner != "n2" || again != 180*time.Second {
		t.Fatalf("%+v: with %s, again at %v", cmds, slot.Owner, again)
	}
	if h.settle(a, 181*time.Second); h.owners() != "a=n1 b=n2 c=n3 d=n1" {
		t.Errorf("%s", h.owners())
	}
}

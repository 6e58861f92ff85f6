package raftnode

import (
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// twoSystems has a second system beside ip, with a delay in both.
func twoSystems(s *fsm.Spec) {
	ip := s.Systems["ip"]
	ip.Delay = time.Hour
	s.Systems["ip"] = ip
	ip.Name, ip.Items = "web", []fsm.Item{{ID: "w"}}
	s.Systems["web"] = ip
	for id, server := range s.Servers {
		server.Systems = []fsm.SystemID{"ip", "web"}
		s.Servers[id] = server
	}
}

// maintained is a working cluster of which ip is under maintenance.
func maintained(t *testing.T) *history {
	h := founded(t, func() fsm.Spec { s := specOf("n1", "n2", "n3"); twoSystems(&s); return s }(), "n1", "n2", "n3")
	for _, n := range []fsm.MemberID{"n1", "n2", "n3"} {
		h.register(n, "b")
	}
	h.settle(&Agenda{}, time.Second)
	h.apply(fsm.Maintain{System: "ip", On: true})
	if h.owners() != "a=n1 b=n2 c=n3 d=n1 w=n1" {
		t.Fatal(h.owners())
	}
	return h
}

// A Down is committed whatever is under maintenance: the lease is over. It takes
// along the moves of other systems only.
func TestNextDownUnderMaintenance(t *testing.T) {
	h := maintained(t)
	a := &Agenda{}
	cmds, again := h.settle(a, time.Minute, "n1")
	if len(cmds) != 1 || again != 0 {
		t.Fatalf("%+v, %v", cmds, again)
	}
	if d, ok := cmds[0].(fsm.Down); !ok || len(d.Moves) != 1 || h.owners() != "a=n1 b=n2 c=n3 d=n1 w=n3" {
		t.Fatalf("%+v: %s", cmds, h.owners())
	}
	if m, _ := h.state.Member("n1"); m.Up {
		t.Fatal("n1 is not down")
	}
	// What was left is made up for, and no delay holds it: its owner is down.
	h.apply(fsm.Maintain{System: "ip"})
	if cmds, _ := h.settle(a, time.Minute); len(cmds) != 1 || h.owners() != "a=n3 b=n2 c=n3 d=n2 w=n3" {
		t.Fatalf("%+v: %s", cmds, h.owners())
	}
}

// A daemon that is restarted under maintenance has what it had: the stop moves
// nothing, and neither does its Down.
func TestNextRestartUnderMaintenance(t *testing.T) {
	h := maintained(t)
	h.apply(fsm.Maintain{On: true})
	a := &Agenda{}
	before := h.owners()
	was, _ := h.state.Slot(fsm.Key{System: "ip", Item: "a"})
	m, _ := h.state.Member("n1")
	h.apply(fsm.Leave{Member: "n1", Epoch: m.Epoch})
	if cmds, _ := h.settle(a, time.Minute); len(cmds) > 0 {
		t.Fatalf("%+v", cmds)
	}
	d := h.down("n1")
	d.Goodbye = &fsm.Goodbye{Member: "n1", Host: m.Host, Process: m.Process, Epoch: m.Epoch}
	cmd, _ := Next(a, Look{State: h.state, Now: time.Minute, Downs: []fsm.Down{d}})
	if down, ok := cmd.(fsm.Down); !ok || len(down.Moves) > 0 {
		t.Fatalf("%+v", cmd)
	}
	h.apply(cmd)
	h.register("n1", "b")
	if cmds, _ := h.settle(a, 2*time.Minute); len(cmds) > 0 || h.owners() != before {
		t.Fatalf("%+v: %s", cmds, h.owners())
	}
	h.apply(fsm.Maintain{})
	h.apply(fsm.Maintain{System: "ip"})
	if cmds, again := h.settle(a, 2*time.Minute); len(cmds) > 0 || again != 0 || h.owners() != before {
		t.Fatalf("%+v, %v: %s", cmds, again, h.owners())
	}
	if is, _ := h.state.Slot(was.Key); is.Token != was.Token {
		t.Fatalf("token %d, had %d", is.Token, was.Token)
	}
}

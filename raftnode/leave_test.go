package raftnode

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
)

// mark marks servers as to be taken out.
func (h *history) mark(names ...fsm.MemberID) {
	if res := h.apply(fsm.SetSpec{Was: h.state.Spec().Version, Spec: removing(names...)(*h.state.Spec())}); !res.Applied {
		h.t.Fatalf("mark %v: %s", names, res.Why)
	}
}

// role gives servers another role.
func (h *history) role(r fsm.Role, names ...fsm.MemberID) {
	if res := h.apply(fsm.SetSpec{Was: h.state.Spec().Version, Spec: inRole(r, names...)(*h.state.Spec())}); !res.Applied {
		h.t.Fatalf("give %v the role %s: %s", names, r, res.Why)
	}
}

// release reports all that a member may still hold.
func (h *history) release(name fsm.MemberID) {
	m, _ := h.state.Member(name)
	r := fsm.Report{Member: name, Epoch: m.Epoch}
	for slot := range h.state.Slots() {
		for _, e := range slot.Outstanding {
			if e.Member == name {
				r.Released = append(r.Released, fsm.Claim{Key: slot.Key, Member: name, Epoch: e.Epoch, Token: e.Token})
			}
		}
	}
	h.apply(r)
}

// Moves, the vote, the configuration: each step waits for the one before.
func TestNextRemoval(t *testing.T) {
	h := working(t, nil)
	h.mark("n1")
	a := &Agenda{}
	cmds, _ := h.settle(a, time.Second)
	if len(cmds) != 1 || strings.Contains(h.owners(), "n1") {
		t.Fatalf("%+v: %s", cmds, h.owners())
	}
	quiet := func(why string) {
		t.Helper()
		if cmds, _ := h.settle(a, time.Second); len(cmds) > 0 {
			t.Fatalf("%s: %+v", why, cmds)
		}
	}
	quiet("it may hold something, and votes")
	h.release("n1")
	quiet("it votes")
	h.voters("n2", "n3")
	cmds, _ = h.settle(a, time.Second)
	if b, ok := cmds[0].(fsm.Batch); !ok || len(cmds) != 1 || len(b.Commands) != 2 {
		t.Fatalf("%+v", cmds)
	}
	_, known := h.state.Member("n1")
	if _, in := h.state.Spec().Servers["n1"]; in || known {
		t.Fatal("it is there still")
	}
}

func TestNextRemovalOfOneThatNeverCame(t *testing.T) {
	h := working(t, nil)
	h.apply(fsm.SetSpec{Was: h.state.Spec().Version, Spec: adding("n4")(*h.state.Spec())})
	if cmds, _ := h.settle(&Agenda{}, time.Second); len(cmds) > 0 {
		t.Fatalf("%+v", cmds)
	}
	h.mark("n4")
	cmds, _ := h.settle(&Agenda{}, time.Second)
	if b, ok := cmds[0].(fsm.Batch); !ok || len(cmds) != 1 || len(b.Commands) != 1 || len(h.state.Spec().Servers) != 3 {
		t.Fatalf("%+v", cmds)
	}
}

// Planned moves of one that is to go wait for `delay` like all others.
func TestNextRemovalDelay(t *testing.T) {
	h := working(t, func(s *fsm.Spec) {
		ip := s.Systems["ip"]
		ip.Delay = time.Minute
		s.Systems["ip"] = ip
	})
	h.mark("n1")
	if cmds, again := h.settle(&Agenda{}, time.Second); len(cmds) > 0 || again != time.Second+time.Minute {
		t.Fatalf("%+v, %v", cmds, again)
	}
}

// One that is dead goes with what it has; its removal comes after the Down.
func TestNextRemovalOfADeadOne(t *testing.T) {
	h := working(t, nil)
	h.mark("n1")
	h.voters("n2", "n3")
	cmds, _ := h.settle(&Agenda{}, time.Second, "n1")
	if _, ok := cmds[0].(fsm.Down); !ok || len(cmds) != 1 || strings.Contains(h.owners(), "n1") {
		t.Fatalf("%+v: %s", cmds, h.owners())
	}
	h.release("n1")
	if cmds, _ := h.settle(&Agenda{}, time.Second, "n1"); len(cmds) != 1 {
		t.Fatalf("%+v", cmds)
	}
}

// outgoing is a cluster of five voters, n1 the leader.
func outgoing(t *testing.T, marked ...fsm.MemberID) (*history, newcomers) {
	t.Helper()
	names := []fsm.MemberID{"n1", "n2", "n3", "n4", "n5"}
	h := founded(t, specOf(names...), names...)
	for _, n := range names {
		h.register(n, "b")
	}
	h.settle(&Agenda{}, time.Second)
	h.mark(marked...)
	h.settle(&Agenda{}, time.Second)
	for _, n := range names {
		h.release(n)
	}
	w := newcomers{self: "n1/i", mayChange: true, met: map[fsm.MemberID]Finding{}}
	for _, n := range names {
		w.conf.Servers = append(w.conf.Servers, raft.Server{ID: raft.ServerID(n + "/i"), Address: Address(string(n)+":1", fsm.VoterID(n+"/i"))})
		w.met[n] = Finding{Name: n, Hello: &Hello{Name: n, Instance: "i", Cluster: "c", Applied: h.at, Hears: true, Running: time.Hour}}
	}
	return h, w
}

func TestNextLeaving(t *testing.T) {
	silent := func(names ...fsm.MemberID) func(*history, *newcomers) {
		return func(_ *history, w *newcomers) {
			for _, n := range names {
				delete(w.met, n)
			}
		}
	}
	down := func(names ...fsm.MemberID) func(*history, *newcomers) {
		return func(h *history, _ *newcomers) {
			for _, n := range names {
				h.apply(h.down(n))
			}
		}
	}
	gives := func(name fsm.MemberID) func(*history, *newcomers) {
		return func(h *history, _ *newcomers) {
			slot, _ := h.state.Slot(fsm.Key{System: "ip", Item: "a"})
			h.apply(fsm.Assign{Moves: []fsm.Move{{Key: slot.Key, Was: slot.Token, To: name, Reason: "test"}}})
		}
	}
	unread := func(names ...fsm.MemberID) func(*history, *newcomers) {
		return func(h *history, w *newcomers) {
			for _, n := range names {
				w.met[n].Hello.Applied = h.state.Spec().Version - 1
			}
		}
	}
	demoted := func(names ...fsm.MemberID) func(*history, *newcomers) {
		return func(h *history, w *newcomers) {
			h.role(fsm.RoleAgent, names...)
			for _, f := range w.met {
				f.Hello.Applied = h.at
			}
		}
	}
	tests := []struct {
		name   string
		marked []fsm.MemberID
		but    []func(*history, *newcomers)
		want   changeKind
		id     raft.ServerID
		pace   bool
	}{
		{"nobody", nil, nil, 0, "", false},
		{"one", []fsm.MemberID{"n3"}, nil, letGo, "n3/i", false},
		{"one, too early", []fsm.MemberID{"n3"}, []func(*history, *newcomers){func(_ *history, w *newcomers) { w.mayChange = false }}, 0, "", true},
		{"the first of two", []fsm.MemberID{"n4", "n3"}, nil, letGo, "n3/i", false},
		{"who is down first", []fsm.MemberID{"n3", "n4"}, []func(*history, *newcomers){down("n4")}, letGo, "n4/i", false},
		{"it still has something", []fsm.MemberID{"n3"}, []func(*history, *newcomers){gives("n3")}, 0, "", true},
		{"two of four silent", []fsm.MemberID{"n3"}, []func(*history, *newcomers){silent("n4", "n5")}, 0, "", false},
		{"two of four down", []fsm.MemberID{"n3"}, []func(*history, *newcomers){down("n4", "n5")}, 0, "", false},
		{"one of four silent", []fsm.MemberID{"n3"}, []func(*history, *newcomers){silent("n4")}, letGo, "n3/i", false},
		{"itself silent", []fsm.MemberID{"n3"}, []func(*history, *newcomers){silent("n3")}, letGo, "n3/i", false},
		{"another instance answers", []fsm.MemberID{"n3"}, []func(*history, *newcomers){silent("n4"), func(_ *history, w *newcomers) {
			w.met["n5"].Hello.Instance = "other"
		}}, 0, "", false},
		{"the leader", []fsm.MemberID{"n1"}, nil, handOver, "n2/i", false},
		{"the leader, at any time", []fsm.MemberID{"n1"}, []func(*history, *newcomers){func(_ *history, w *newcomers) { w.mayChange = false }}, handOver, "n2/i", false},
		{"the leader, to one that stays", []fsm.MemberID{"n1", "n2"}, []func(*history, *newcomers){func(_ *history, w *newcomers) { w.mayChange = false }}, handOver, "n3/i", false},
		{"the leader, to one that answers", []fsm.MemberID{"n1"}, []func(*history, *newcomers){silent("n2")}, handOver, "n3/i", false},
		{"the leader after all others", []fsm.MemberID{"n1", "n5"}, nil, letGo, "n5/i", false},
		{"the leader, not while too few answer", []fsm.MemberID{"n1"}, []func(*history, *newcomers){silent("n2", "n3")}, 0, "", false},
		{"no vote: at once", []fsm.MemberID{"n3", "n4"}, []func(*history, *newcomers){func(_ *history, w *newcomers) {
			w.mayChange, w.conf.Servers[3].Suffrage = false, raft.Nonvoter
		}}, letGo, "n4/i", false},
		{"no vote, and it has something still: it gets none", []fsm.MemberID{"n3"}, []func(*history, *newcomers){gives("n3"), func(_ *history, w *newcomers) {
			w.conf.Servers[2].Suffrage = raft.Nonvoter
		}}, 0, "", true},
		{"unknown to Raft: it is not taken in", []fsm.MemberID{"n3"}, []func(*history, *newcomers){func(_ *history, w *newcomers) {
			w.conf.Servers = append(w.conf.Servers[:2:2], w.conf.Servers[3:]...)
		}}, 0, "", false},
		{"an agent from now on, with what it has", nil, []func(*history, *newcomers){demoted("n3"), gives("n3")}, letGo, "n3/i", false},
		{"an agent from now on, too early", nil, []func(*history, *newcomers){demoted("n3"), func(_ *history, w *newcomers) { w.mayChange = false }}, 0, "", true},
		{"an agent from now on that has not read so", nil, []func(*history, *newcomers){demoted("n3"), unread("n3")}, 0, "", true},
		{"one that is to go need not have read so", []fsm.MemberID{"n3"}, []func(*history, *newcomers){unread("n3")}, letGo, "n3/i", false},
		{"an agent from now on that does not answer", nil, []func(*history, *newcomers){demoted("n3"), unread("n3"), silent("n3")}, letGo, "n3/i", false},
		{"a dead one is to be an agent", []fsm.MemberID{"n3"}, []func(*history, *newcomers){demoted("n4"), down("n4")}, letGo, "n4/i", false},
		{"an agent from now on, two of four silent", nil, []func(*history, *newcomers){demoted("n3"), silent("n4", "n5")}, 0, "", false},
		{"the leader is to be an agent", nil, []func(*history, *newcomers){demoted("n1"), gives("n1")}, handOver, "n2/i", false},
		{"the leader, not to an agent", []fsm.MemberID{"n1"}, []func(*history, *newcomers){demoted("n2"), func(_ *history, w *newcomers) { w.mayChange = false }}, handOver, "n3/i", false},
		{"an agent without a vote goes at once", nil, []func(*history, *newcomers){demoted("n3", "n4"), func(_ *history, w *newcomers) {
			w.mayChange, w.conf.Servers[3].Suffrage = false, raft.Nonvoter
		}}, letGo, "n4/i", false},
		{"an agent is not taken in", nil, []func(*history, *newcomers){demoted("n3"), func(_ *history, w *newcomers) {
			w.conf.Servers = append(w.conf.Servers[:2:2], w.conf.Servers[3:]...)
		}}, 0, "", false},
		{"an agent that is to go", []fsm.MemberID{"n3"}, []func(*history, *newcomers){demoted("n3")}, letGo, "n3/i", false},
		{"not in the configuration any more", nil, []func(*history, *newcomers){func(_ *history, w *newcomers) {
			w.conf.Servers = append(w.conf.Servers, raft.Server{ID: "x/i", Suffrage: raft.Nonvoter})
		}}, letGo, "x/i", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, w := outgoing(t, tt.marked...)
			for _, but := range tt.but {
				but(h, &w)
			}
			w.state, w.index = h.state, h.at
			c, ok := nextChange(w)
			if ok != (tt.want != 0) || c.kind != tt.want || c.id != tt.id || c.catchingUp != tt.pace {
				t.Errorf("%v, %+v", ok, c)
			}
			if ok && (c.words == "" || c.addr == "" && c.id != "x/i") {
				t.Errorf("%+v", c)
			}
		})
	}
}

// Of few voters none goes a moment before another one comes; of many it does, and when
// the newcomer takes too long.
func TestLeavingWaitsForNewcomer(t *testing.T) {
	for _, tc := range []struct {
		name    string
		voters  int // besides the one that goes
		running time.Duration
		down    bool
		want    changeKind
	}{
		{"of three, one comes", 2, 0, false, 0},
		{"of four", 3, 0, false, letGo},
		{"one that has tried for long", 2, time.Hour, false, letGo},
		{"one that is dead goes first", 2, 0, true, letGo},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, w := outgoing(t, "n5")
			if tc.down {
				h.apply(h.down("n5"))
			}
			w.conf.Servers = append(w.conf.Servers[:tc.voters:tc.voters], w.conf.Servers[4])
			w.conf.Servers = append(w.conf.Servers, raft.Server{ID: "n4/i", Suffrage: raft.Nonvoter})
			w.met["n4"].Hello.Hears, w.met["n4"].Hello.Running = false, tc.running
			for _, n := range []fsm.MemberID{"n1", "n2", "n3"}[tc.voters:] {
				delete(w.met, n)
			}
			w.state, w.index = h.state, h.at
			if c, ok := nextChange(w); ok != (tc.want != 0) || c.kind != tc.want || ok == c.catchingUp {
				t.Errorf("%v %+v", ok, c)
			}
		})
	}
}

// Servers that were added and have never come keep nothing back: here what goes home
// under a leader that has just begun.
// One that comes back wiped while it is to leave, and may still hold something, gets the
// log and no vote; when it has let go, it goes.
func TestLeavingComesBackWiped(t *testing.T) {
	h, w := outgoing(t, "n3")
	slot, _ := h.state.Slot(fsm.Key{System: "ip", Item: "a"})
	h.apply(fsm.Assign{Moves: []fsm.Move{{Key: slot.Key, Was: slot.Token, To: "n3", Reason: "test"}}})
	w.met["n3"] = Finding{Name: "n3", Hello: &Hello{Name: "n3", Instance: "new", Empty: true}}
	if ask := missing(*h.state.Spec(), w.conf, "n1/i", map[fsm.MemberID]string{"n3": "new"}); len(ask) != 1 || ask[0].Name != "n3" {
		t.Errorf("asks %+v", ask)
	}
	next := func(want changeKind, id raft.ServerID) {
		t.Helper()
		w.state, w.index = h.state, h.at
		if c, ok := nextChange(w); ok != (want != 0) || c.kind != want || c.id != id {
			t.Errorf("%v, %+v, want %d of %s", ok, c, want, id)
		}
	}
	next(removeOld, "n3/i")
	w.conf.Servers = append(w.conf.Servers[:2:2], w.conf.Servers[3:]...)
	next(addLearner, "n3/new")
	w.conf.Servers = append(w.conf.Servers, raft.Server{ID: "n3/new", Suffrage: raft.Nonvoter})
	w.met["n3"] = Finding{Name: "n3", Hello: &Hello{Name: "n3", Instance: "new", Cluster: "c", Applied: h.at, Hears: true, Running: time.Hour}}
	next(0, "")
	h.settle(&Agenda{}, time.Second)
	next(0, "")
	h.release("n3")
	next(letGo, "n3/new")
}

func TestNextDoesNotWaitForWhoNeverCame(t *testing.T) {
	h := working(t, nil)
	h.settle(&Agenda{}, time.Second, "n1")
	h.register("n1", "b")
	h.apply(fsm.SetSpec{Was: h.state.Spec().Version, Spec: adding("n4", "n5", "n6", "n7")(*h.state.Spec())})
	if cmds, again := h.settle(&Agenda{}, time.Second); len(cmds) != 1 || again != 0 || h.owners() != "a=n1 b=n2 c=n3 d=n1" {
		t.Fatalf("%+v, %v: %s", cmds, again, h.owners())
	}
}

func TestMissingIsNotWhoLeaves(t *testing.T) {
	spec := removing("n2")(specOf("n1", "n2", "n3"))
	if got := missing(spec, raft.Configuration{}, "n1/i", nil); len(got) != 1 || got[0].Name != "n3" {
		t.Errorf("%+v", got)
	}
	spec = inRole(fsm.RoleAgent, "n2")(specOf("n1", "n2", "n3"))
	if got := missing(spec, raft.Configuration{}, "n1/i", map[fsm.MemberID]string{"n2": "i"}); len(got) != 1 || got[0].Name != "n3" {
		t.Errorf("with an agent: %+v", got)
	}
}

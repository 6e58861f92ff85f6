package raftnode

import (
	"maps"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

func TestSightings(t *testing.T) {
	h := founded(t, specOf("n1", "n2", "n3"), "n1", "n2", "n3")
	h.register("n1", "b")
	h.register("n2", "b")
	leased := map[fsm.MemberID]bool{"n1": true}
	has := func(m fsm.MemberID, e fsm.Epoch) bool {
		now, _ := h.state.Member(m)
		return leased[m] && e == now.Epoch
	}
	s, before := &Sightings{}, 0
	want := func(now time.Duration, what string, changes bool, wells map[fsm.MemberID]time.Duration) {
		t.Helper()
		s.Look(h.state, now, has)
		if got := s.Well(now); !maps.Equal(got, wells) {
			t.Errorf("%s: %v, want %v", what, got, wells)
		}
		if (s.Changes() != before) != changes {
			t.Errorf("%s: %d changes, before %d", what, s.Changes(), before)
		}
		before = s.Changes()
	}
	type of = map[fsm.MemberID]time.Duration
	want(10*time.Second, "n2 has no lease yet, n3 was never there", true, of{"n1": 0})
	want(12*time.Second, "time goes on", false, of{"n1": 2 * time.Second})
	leased["n2"] = true
	want(13*time.Second, "n2 has its lease", true, of{"n1": 3 * time.Second, "n2": 0})
	delete(leased, "n2")
	want(14*time.Second, "that it was not heard of for a moment is nothing", false, of{"n1": 4 * time.Second, "n2": time.Second})
	h.register("n2", "b")
	want(15*time.Second, "an epoch of its own", true, of{"n1": 5 * time.Second})
	leased["n2"] = true
	s.Leases(16*time.Second, has)
	want(17*time.Second, "leased", true, of{"n1": 7 * time.Second, "n2": time.Second})
	h.apply(h.down("n1"))
	want(18*time.Second, "down", true, of{"n2": 2 * time.Second})
	h.register("n1", "another boot")
	want(19*time.Second, "it has not settled", false, of{"n2": 3 * time.Second})
	m, _ := h.state.Member("n1")
	h.apply(fsm.Settle{Member: "n1", Epoch: m.Epoch})
	want(20*time.Second, "settled", true, of{"n1": 0, "n2": 4 * time.Second})
	m, _ = h.state.Member("n2")
	h.apply(fsm.Leave{Member: "n2", Epoch: m.Epoch})
	want(21*time.Second, "it goes", true, of{"n1": time.Second})
}

// A new leader's clock may be behind the last one's.
func TestTheLogsTimeDoesNotGoBack(t *testing.T) {
	h := working(t, nil)
	c := &clock{}
	at := func(unix int64) int64 { return c.now(Look{State: h.state, Unix: unix}) }
	moved := func(to fsm.MemberID, at int64) {
		slot, _ := h.state.Slot(fsm.Key{System: "ip", Item: "a"})
		h.apply(fsm.Assign{At: at, Moves: []fsm.Move{{Key: slot.Key, Was: slot.Token, To: to}}})
	}
	if got := at(1_000_000); got != 1_000_000 {
		t.Errorf("%d", got)
	}
	moved("n2", 1_003_000)
	for _, unix := range []int64{1_000_000, 1_000_500} {
		if got := at(unix); got != unix+3000 {
			t.Errorf("at %d: %d", unix, got)
		}
	}
	moved("n3", 1_600_000)
	if got := at(1_001_000); got != 1_004_000 {
		t.Errorf("it goes by a clock that is wrong: %d", got)
	}
	m, _ := h.state.Member("n1")
	h.apply(fsm.Leave{Member: "n1", Epoch: m.Epoch, At: 1_011_000})
	if got := at(1_001_000); got != 1_004_000 {
		t.Errorf("it goes by a member's clock: %d", got)
	}
}

// For how long a member has been well a new leader knows as well as the last one.
func TestWellOutlivesTheLeader(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.three()
		was := w.leader()
		time.Sleep(30 * time.Second)
		if err := was.StepDown(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.until(5*time.Second, "another one leads", func() bool { l := w.leader(); return l != nil && l != was })
		now := w.leader()
		for _, id := range []fsm.MemberID{"n1", "n2", "n3"} {
			if well := now.seen.Well(now.clock())[id]; well < 30*time.Second {
				t.Errorf("%s is well for %v", id, well)
			}
		}
	})
}

// Any node says what stands against moving more.
func TestOutlook(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		for name, n := range nodes {
			if o, known := n.Outlook(); !known || len(o.Held)+len(o.Unplaced) > 0 {
				t.Errorf("%s: %+v, %v", name, o, known)
			}
		}
		w.respec(func(s fsm.Spec) fsm.Spec {
			ip := s.Systems["ip"]
			ip.Delay = time.Hour
			s.Systems = map[fsm.SystemID]fsm.System{"ip": ip}
			return s.WithServer(fsm.Server{Name: "n1", Addr: "n1:1", Role: fsm.RoleVoter})
		})
		leader := w.leader()
		w.until(5*time.Second, "the leader holds n1's items back", func() bool {
			o, _ := leader.Outlook()
			return len(o.Held) == 2 && o.Held[0].For > 50*time.Minute
		})
	})
}

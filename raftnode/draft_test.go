package raftnode

import (
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/placement"
)

// slow makes plans that are ready when the test says so. Nobody waits for them.
type slow struct {
	begun   int
	finish  func() // the one that is being made
	waiting chan time.Time
}

func slowDrafts() (*slow, drafts) {
	s := &slow{waiting: make(chan time.Time)}
	close(s.waiting)
	return s, drafts{
		begin: func(p *placement.Planner, d *draft) <-chan struct{} {
			ready := make(chan struct{})
			s.begun++
			s.finish = func() {
				s.finish = nil
				d.result = p.Plan(d.view)
				close(ready)
			}
			return ready
		},
		after: func(time.Duration) <-chan time.Time { return s.waiting },
	}
}

func movesIn(cmd fsm.Command) []fsm.Move {
	switch c := cmd.(type) {
	case fsm.Assign:
		return c.Moves
	case fsm.Down:
		return c.Moves
	default:
		return nil
	}
}

// A Down does not wait for a plan that takes long; what it would have moved is moved as
// soon as that plan is there, although the State is another by then.
func TestDownDoesNotWaitForItsPlan(t *testing.T) {
	h := working(t, nil)
	s, d := slowDrafts()
	a := &Agenda{drafts: d}
	look := func(downs ...fsm.MemberID) fsm.Command {
		l := Look{State: h.state, Now: time.Minute, Unix: 42}
		for _, name := range downs {
			l.Downs = append(l.Downs, h.down(name))
		}
		cmd, _ := Next(a, l)
		return cmd
	}
	cmd, down := look("n1").(fsm.Down)
	if !down || len(cmd.Moves) > 0 || s.begun != 1 {
		t.Fatalf("%+v, %d plans begun", cmd, s.begun)
	}
	h.apply(cmd)
	if cmd := look(); cmd != nil {
		t.Fatalf("moves from nowhere: %+v", cmd)
	}
	s.finish()
	moves := movesIn(look())
	if len(moves) != 2 || s.begun != 2 {
		t.Fatalf("%+v, %d plans begun", moves, s.begun)
	}
	h.apply(fsm.Assign{Moves: moves})
	if strings.Contains(h.owners(), "n1") {
		t.Errorf("owners %s", h.owners())
	}
	s.finish() // of the State between
	if cmd := look(); cmd != nil {
		t.Errorf("moved again: %+v", cmd)
	}
}

// What has come up since a plan was made counts.
func TestPlanOfAnEarlierState(t *testing.T) {
	for name, c := range map[string]struct {
		since func(*history)
		moves int
	}{
		"nothing":     {func(h *history) { h.voters("n1", "n2") }, 2},
		"the target":  {func(h *history) { h.apply(h.down("n3")) }, 1},
		"the owner":   {func(h *history) { h.register("n1", "b") }, 0},
		"the rules":   {func(h *history) { h.apply(fsm.SetSpec{Was: h.state.Spec().Version, Spec: *h.state.Spec()}) }, 0},
		"maintenance": {func(h *history) { h.apply(fsm.Maintain{System: "ip", On: true}) }, 0},
		"another move": {func(h *history) {
			slot, _ := h.state.Slot(fsm.Key{System: "ip", Item: "a"})
			h.apply(fsm.Assign{Moves: []fsm.Move{{Key: slot.Key, Was: slot.Token, To: "n2"}}})
			m, _ := h.state.Member("n2")
			h.apply(fsm.Leave{Member: "n2", Epoch: m.Epoch})
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := working(t, nil)
			s, d := slowDrafts()
			a := &Agenda{drafts: d}
			h.apply(h.down("n1"))
			if cmd, _ := Next(a, Look{State: h.state, Now: time.Minute}); cmd != nil {
				t.Fatalf("%+v", cmd)
			}
			c.since(h)
			s.finish()
			cmd, _ := Next(a, Look{State: h.state, Now: time.Minute})
			if moves := movesIn(cmd); len(moves) != c.moves {
				t.Errorf("%+v", moves)
			}
		})
	}
}

// What is not urgent waits for a plan of the newest State.
func TestPlanOfAnEarlierStateMovesNobodyHome(t *testing.T) {
	h := working(t, nil)
	h.settle(&Agenda{}, time.Minute, "n1")
	h.register("n1", "b")
	s, d := slowDrafts()
	a := &Agenda{drafts: d}
	Next(a, Look{State: h.state, Now: time.Minute})
	h.voters("n1", "n2")
	s.finish()
	if cmd, _ := Next(a, Look{State: h.state, Now: time.Minute}); cmd != nil {
		t.Fatalf("%+v", cmd)
	}
	s.finish()
	if cmd, _ := Next(a, Look{State: h.state, Now: time.Minute}); len(movesIn(cmd)) != 2 {
		t.Fatalf("%+v", cmd)
	}
}

// A plan is made anew when it says that it is out of date, and not before.
func TestPlanAgain(t *testing.T) {
	d := drafts{last: &draft{at: time.Second, result: placement.Result{Again: time.Minute}}}
	for now, want := range map[time.Duration]bool{time.Second: true, time.Minute: true, time.Minute + time.Second: false} {
		if got := d.has(basis{}, nil, now); got != want {
			t.Errorf("at %v: %v", now, got)
		}
	}
	if d.has(basis{sights: 1}, nil, 0) || d.has(basis{}, map[fsm.MemberID]string{"n1": "is down"}, 0) {
		t.Error("a plan of something else")
	}
}

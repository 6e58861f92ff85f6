package raftnode

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// tied is a working cluster whose system ip is edited, and has the systems web and one.
func tied(t *testing.T, edit func(s map[fsm.SystemID]fsm.System)) *history {
	h := working(t, nil)
	spec := *h.state.Spec()
	spec.Systems = map[fsm.SystemID]fsm.System{}
	for _, id := range []fsm.SystemID{"ip", "web", "one"} {
		sys := h.state.Spec().Systems["ip"]
		if sys.Name = id; id == "one" {
			sys.Split = fsm.ChooseOne
		}
		spec.Systems[id] = sys
	}
	edit(spec.Systems)
	spec.Servers = map[fsm.MemberID]fsm.Server{}
	for id, server := range h.state.Spec().Servers {
		server.Systems = []fsm.SystemID{"ip", "one", "web"}
		spec.Servers[id] = server
	}
	if res := h.apply(fsm.SetSpec{Was: spec.Version, Spec: spec}); !res.Applied {
		t.Fatal(res.Why)
	}
	for _, id := range []fsm.SystemID{"one", "web"} {
		for _, item := range []fsm.ItemID{"a", "b", "c", "d"} {
			h.apply(fsm.Assign{Moves: []fsm.Move{{Key: fsm.Key{System: id, Item: item}, Home: "n1", To: "n1"}}})
		}
	}
	return h
}

// wants are moves of items, "ip/a web/b", to n3 or, from there, to n2, by a cause.
func (h *history) wants(cause fsm.Cause, items string) []fsm.Move {
	var out []fsm.Move
	for _, name := range strings.Fields(items) {
		system, item, _ := strings.Cut(name, "/")
		m := fsm.Move{Key: fsm.Key{System: fsm.SystemID(system), Item: fsm.ItemID(item)}, To: "n3", Cause: cause}
		slot, _ := h.state.Slot(m.Key)
		if m.Was = slot.Token; slot.Owner == m.To {
			m.To = "n2"
		}
		out = append(out, m)
	}
	return out
}

func items(moves []fsm.Move) string {
	var out []string
	for _, m := range moves {
		out = append(out, fmt.Sprintf("%s/%s", m.System, m.Item))
	}
	return strings.Join(out, " ")
}

// due asks an Agenda, and counts what it lets go.
func (h *history) due(a *Agenda, now time.Duration, planned []fsm.Move) (moves, held string, again time.Duration) {
	l := Look{State: h.state, Now: now}
	a.ties.read(l.State.Spec())
	due, kept, again := a.due(l, planned)
	a.made(l, due)
	var waits []fsm.Move
	for _, k := range kept {
		if k.Why == "" || k.For < 0 {
			h.t.Fatalf("held: %+v", k)
		}
		waits = append(waits, k.Move)
	}
	return items(due), items(waits), again
}

func TestRounds(t *testing.T) {
	h := tied(t, func(s map[fsm.SystemID]fsm.System) {
		for _, id := range []fsm.SystemID{"ip", "one"} {
			sys := s[id]
			sys.RoundMoves, sys.RoundEvery = 2, 10*time.Second
			s[id] = sys
		}
	})
	a := &Agenda{}
	for _, step := range []struct {
		at          time.Duration
		cause       fsm.Cause
		items       string
		moves, held string
		again       time.Duration
	}{
		{0, fsm.CauseHome, "ip/a ip/b ip/c ip/d", "ip/a ip/b", "ip/c ip/d", 10 * time.Second},
		{4 * time.Second, fsm.CauseBalance, "ip/c ip/d web/a web/b web/c", "web/a web/b web/c", "ip/c ip/d", 10 * time.Second},
		{5 * time.Second, fsm.CauseFailed, "ip/c", "ip/c", "", 0}, // it cannot stay
		{5 * time.Second, fsm.CauseRule, "ip/d", "ip/d", "", 0},
		{10 * time.Second, fsm.CauseHome, "ip/c ip/d", "ip/c ip/d", "", 0},
		{19 * time.Second, fsm.CauseHome, "ip/c", "", "ip/c", 20 * time.Second},
		{20 * time.Second, fsm.CauseHome, "ip/c", "ip/c", "", 0},
		// All of it or nothing; what a round has too much the next one is not short of.
		{30 * time.Second, fsm.CauseHome, "one/a one/b one/c one/d", "one/a one/b one/c one/d", "", 0},
		{31 * time.Second, fsm.CauseHome, "one/a one/b one/c one/d", "", "one/a one/b one/c one/d", 40 * time.Second},
	} {
		moves, held, again := h.due(a, step.at, h.wants(step.cause, step.items))
		if moves != step.moves || held != step.held || again != step.again {
			t.Errorf("at %v: %s of %s: moved %q, held %q, again at %v", step.at, step.cause, step.items, moves, held, again)
		}
	}
	// An owner that is down waits for no round.
	h.apply(h.down("n1"))
	if moves, held, _ := h.due(a, 31*time.Second, h.wants(fsm.CauseDown, "one/a one/b")); moves != "one/a one/b" || held != "" {
		t.Errorf("moved %q, held %q", moves, held)
	}
}

// What is tied together goes together.
func TestTies(t *testing.T) {
	slower := func(s map[fsm.SystemID]fsm.System, id fsm.SystemID, with ...fsm.SystemID) {
		sys := s[id]
		sys.Delay, sys.With = time.Second, with
		s[id] = sys
	}
	for name, c := range map[string]struct {
		edit        func(map[fsm.SystemID]fsm.System)
		items       string
		moves, held string
	}{
		"no tie":         {func(s map[fsm.SystemID]fsm.System) { slower(s, "web") }, "ip/a web/a", "ip/a", "web/a"},
		"the same item":  {func(s map[fsm.SystemID]fsm.System) { slower(s, "web", "ip") }, "ip/a ip/b web/a", "ip/b", "ip/a web/a"},
		"another item":   {func(s map[fsm.SystemID]fsm.System) { slower(s, "web", "ip") }, "ip/a web/b", "ip/a", "web/b"},
		"kept together":  {func(s map[fsm.SystemID]fsm.System) { slower(s, "web", "one") }, "one/a one/b web/c", "", "one/a one/b web/c"},
		"through others": {func(s map[fsm.SystemID]fsm.System) { slower(s, "web", "ip"); slower(s, "one", "web") }, "ip/a one/b", "", "ip/a one/b"},
	} {
		t.Run(name, func(t *testing.T) {
			h := tied(t, c.edit)
			moves, held, _ := h.due(&Agenda{}, time.Minute, h.wants(fsm.CauseHome, c.items))
			if moves != c.moves || held != c.held {
				t.Errorf("moved %q, held %q", moves, held)
			}
		})
	}
}

// The moves of an item's other ranks go with those of the one whose owner is lost, in
// the order in which they were planned.
func TestDownTakesTheOtherRanksAlong(t *testing.T) {
	h := working(t, nil)
	key := func(item fsm.ItemID, rank int) fsm.Key { return fsm.Key{System: "ip", Item: item, Rank: rank} }
	planned := []fsm.Move{{Key: key("a", 1), To: "n3"}, {Key: key("a", 0), To: "n2"}, {Key: key("b", 0), To: "n3"}}
	if got := movesOf(h.state, "n1", planned); !slices.Equal(got, planned[:2]) {
		t.Errorf("%+v", got)
	}
}

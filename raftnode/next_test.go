package raftnode

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// history is a State and the log that made it.
type history struct {
	t     interface{ Fatalf(string, ...any) }
	state *fsm.State
	at    fsm.Index
	wall  bool // the time of day goes on, else it stands still
}

func (h *history) apply(c fsm.Command) fsm.Result {
	h.at++
	next, res, err := h.state.Apply(h.at, fsm.Encode(c))
	if err != nil {
		h.t.Fatalf("apply %T: %v", c, err)
	}
	h.state = next
	if err := fsm.Check(next); err != nil {
		h.t.Fatalf("after %T: %v", c, err)
	}
	return res
}

func (h *history) voters(names ...fsm.MemberID) {
	h.at++
	v := fsm.Voters{Index: h.at}
	for _, n := range names {
		v.IDs = append(v.IDs, fsm.NewVoterID(n, "i"))
	}
	h.state = h.state.WithVoters(v)
}

// register begins an epoch on the member's one machine; boot tells processes apart.
func (h *history) register(name fsm.MemberID, boot string) {
	m, _ := h.state.Member(name)
	nonce := fsm.Nonce{byte(h.at), byte(h.at >> 8), 7}
	res := h.apply(fsm.Register{
		Member: name, Nonce: nonce, Process: nonce, Replaces: m.Epoch,
		Host: fsm.Host{Machine: "m-" + string(name), Boot: boot, Instance: "i"}, Wire: [2]uint16{1, 1},
	})
	if !res.Applied {
		h.t.Fatalf("register %s: %s", name, res.Why)
	}
}

func (h *history) down(name fsm.MemberID) fsm.Down {
	m, _ := h.state.Member(name)
	return fsm.Down{Member: name, Epoch: m.Epoch, Voters: h.state.Voters().Index, Evidence: []fsm.Vote{{Voter: "a/i"}, {Voter: "b/i"}}}
}

func (h *history) owners() string {
	var out []string
	for s := range h.state.Slots() {
		out = append(out, fmt.Sprintf("%s=%s", s.Item, s.Owner))
	}
	return strings.Join(out, " ")
}

func founded(t interface{ Fatalf(string, ...any) }, spec fsm.Spec, voters ...fsm.MemberID) *history {
	h := &history{t: t, state: fsm.New()}
	h.voters(voters...)
	if res := h.apply(fsm.SetSpec{Cluster: "c", Spec: spec}); !res.Applied {
		t.Fatalf("found: %s", res.Why)
	}
	return h
}

// settle lets a leader work until it has nothing to do, or waits.
func (h *history) settle(a *Agenda, now time.Duration, downs ...fsm.MemberID) (cmds []fsm.Command, again time.Duration) {
	for range 1000 {
		cmd, at := Next(a, h.look(now, downs...))
		if cmd == nil {
			return cmds, at
		}
		h.carryOut(cmd)
		cmds = append(cmds, cmd)
	}
	h.t.Fatalf("no end of commands")
	return nil, 0
}

func (h *history) look(now time.Duration, downs ...fsm.MemberID) Look {
	l := Look{State: h.state, Now: now, Unix: 42}
	if h.wall {
		l.Unix += now.Milliseconds()
	}
	for _, d := range downs {
		l.Downs = append(l.Downs, h.down(d))
	}
	return l
}

// carryOut applies what a leader proposes. Nothing but a brake may drop anything of it.
func (h *history) carryOut(cmd fsm.Command) {
	res := h.apply(cmd)
	for _, m := range res.Dropped {
		if !h.state.Braked(m.Key) {
			h.t.Fatalf("%T: %+v was dropped", cmd, m)
		}
	}
	if !res.Applied {
		h.t.Fatalf("%T was refused: %+v", cmd, res)
	}
}

const slack = 330 * time.Millisecond // of lan

func TestNextNothingBeforeFounding(t *testing.T) {
	if cmd, _ := Next(&Agenda{}, Look{State: fsm.New()}); cmd != nil {
		t.Errorf("%+v", cmd)
	}
}

func TestNextFirstAssignment(t *testing.T) {
	spec := specOf("n1", "n2", "n3")
	t.Run("waits for the majority of votes", func(t *testing.T) {
		h := founded(t, spec, "n1")
		for _, n := range []fsm.MemberID{"n1", "n2", "n3"} {
			h.register(n, "b")
		}
		a := &Agenda{}
		if cmds, again := h.settle(a, time.Hour); len(cmds) > 0 || again != 0 {
			t.Errorf("%v, %v", cmds, again)
		}
		h.voters("n1", "n2")
		if cmds, again := h.settle(a, time.Hour); len(cmds) > 0 || again != time.Hour+2*slack {
			t.Errorf("not all have their vote: %v, %v", cmds, again)
		}
		h.voters("n1", "n2", "n3")
		if cmds, _ := h.settle(a, time.Hour+time.Millisecond); len(cmds) != 1 {
			t.Errorf("%v", cmds)
		}
	})
	t.Run("all registered: at once", func(t *testing.T) {
		h := founded(t, spec, "n1", "n2", "n3")
		for _, n := range []fsm.MemberID{"n1", "n2", "n3"} {
			h.register(n, "b")
		}
		cmds, _ := h.settle(&Agenda{}, time.Second)
		if len(cmds) != 1 || h.owners() != "a=n1 b=n2 c=n3 d=n1" {
			t.Errorf("%v: %s", cmds, h.owners())
		}
		if a := cmds[0].(fsm.Assign); a.At != 42 {
			t.Errorf("at %d", a.At)
		}
	})
	t.Run("one missing: after twice slack", func(t *testing.T) {
		h := founded(t, spec, "n1", "n2")
		h.register("n1", "b")
		h.register("n2", "b")
		a := &Agenda{}
		if cmds, again := h.settle(a, time.Second); len(cmds) > 0 || again != time.Second+2*slack {
			t.Errorf("%v, %v", cmds, again)
		}
		if cmds, _ := h.settle(a, time.Second+2*slack-1); len(cmds) > 0 {
			t.Errorf("%v", cmds)
		}
		if cmds, _ := h.settle(a, time.Second+2*slack); len(cmds) != 1 {
			t.Errorf("%v", cmds)
		}
	})
}

// working is a cluster of three with all assigned.
func working(t interface{ Fatalf(string, ...any) }, change func(*fsm.Spec)) *history {
	h := assigned(t, change)
	if h.owners() != "a=n1 b=n2 c=n3 d=n1" {
		t.Fatalf("owners %s", h.owners())
	}
	return h
}

// assigned is the same with all that is to be assigned wherever that is.
func assigned(t interface{ Fatalf(string, ...any) }, change func(*fsm.Spec)) *history {
	spec := specOf("n1", "n2", "n3")
	if change != nil {
		change(&spec)
	}
	h := founded(t, spec, "n1", "n2", "n3")
	for _, n := range []fsm.MemberID{"n1", "n2", "n3"} {
		h.register(n, "b")
	}
	h.settle(&Agenda{}, time.Second)
	return h
}

func TestNextDown(t *testing.T) {
	h := working(t, nil)
	cmds, _ := h.settle(&Agenda{}, 0, "n1")
	if len(cmds) != 1 {
		t.Fatalf("%v", cmds)
	}
	d := cmds[0].(fsm.Down)
	if len(d.Moves) != 2 || d.At != 42 {
		t.Errorf("%+v", d)
	}
	if strings.Contains(h.owners(), "n1") {
		t.Errorf("owners %s", h.owners())
	}
}

func TestNextTwoDownsAtOnce(t *testing.T) {
	h := working(t, nil)
	cmds, _ := h.settle(&Agenda{}, 0, "n2", "n1")
	if len(cmds) != 2 {
		t.Fatalf("%v", cmds)
	}
	for _, c := range cmds {
		for _, m := range c.(fsm.Down).Moves {
			if m.To != "n3" {
				t.Errorf("%s moves %v to %s, which is dead too", c.(fsm.Down).Member, m.Key, m.To)
			}
		}
	}
	if cmds[0].(fsm.Down).Member != "n1" {
		t.Errorf("first %s", cmds[0].(fsm.Down).Member)
	}
}

func TestNextIgnoresWhatTheLogHasMoved(t *testing.T) {
	h := working(t, nil)
	old := h.down("n1")
	h.register("n1", "b")
	cmd, _ := Next(&Agenda{}, Look{State: h.state, Downs: []fsm.Down{old, {Member: "stranger", Epoch: 1}}})
	if cmd != nil {
		t.Errorf("%+v", cmd)
	}
}

func TestNextGoodbye(t *testing.T) {
	h := working(t, nil)
	bye := []fsm.Goodbye{{Member: "n2"}, {Member: "n1"}}
	cmd, _ := Next(&Agenda{}, Look{State: h.state, Goodbyes: bye})
	if g, ok := cmd.(fsm.Goodbye); !ok || g.Member != "n1" {
		t.Errorf("%+v", cmd)
	}
}

func TestNextDelay(t *testing.T) {
	h := working(t, func(s *fsm.Spec) {
		ip := s.Systems["ip"]
		ip.Delay = 500 * time.Millisecond
		s.Systems["ip"] = ip
	})
	a := &Agenda{}
	if cmds, _ := h.settle(a, time.Second, "n1"); len(cmds) != 1 || strings.Contains(h.owners(), "n1") {
		t.Fatalf("a delay must not hold a Down back: %v", cmds)
	}
	// Back again: the failback is a planned move.
	h.register("n1", "b")
	cmds, again := h.settle(a, 2*time.Second)
	if len(cmds) > 0 || again != 2500*time.Millisecond {
		t.Fatalf("%v, %v", cmds, again)
	}
	// A change begins the delay anew.
	h.settle(a, 2400*time.Millisecond, "n2")
	if _, again := h.settle(a, 2400*time.Millisecond); again != 2900*time.Millisecond {
		t.Errorf("again at %v", again)
	}
	if cmds, _ := h.settle(a, 2899*time.Millisecond); len(cmds) > 0 {
		t.Errorf("%v", cmds)
	}
	if cmds, _ := h.settle(a, 2900*time.Millisecond); len(cmds) != 1 || !strings.Contains(h.owners(), "a=n1") {
		t.Errorf("%v: %s", cmds, h.owners())
	}
}

func TestNextLeavingIsNotDelayed(t *testing.T) {
	h := working(t, func(s *fsm.Spec) {
		ip := s.Systems["ip"]
		ip.Delay = time.Hour
		s.Systems["ip"] = ip
	})
	m, _ := h.state.Member("n1")
	h.apply(fsm.Leave{Member: "n1", Epoch: m.Epoch})
	if cmds, _ := h.settle(&Agenda{}, 0); len(cmds) != 1 || strings.Contains(h.owners(), "n1") {
		t.Errorf("%v: %s", cmds, h.owners())
	}
}

func TestNextAfterAllWereStopped(t *testing.T) {
	h := working(t, nil)
	before := h.owners()
	a := &Agenda{}
	for _, n := range []fsm.MemberID{"n1", "n2", "n3"} {
		d := h.down(n)
		h.apply(d) // nobody is left to move to
	}
	h.register("n2", "b")
	if cmds, again := h.settle(a, time.Second); len(cmds) > 0 || again != time.Second+2*slack {
		t.Fatalf("the first to come back was given everything: %v, %s", cmds, h.owners())
	}
	h.register("n1", "b")
	h.register("n3", "b")
	if cmds, _ := h.settle(a, time.Second+10*time.Millisecond); len(cmds) > 0 || h.owners() != before {
		t.Errorf("%v: %s", cmds, h.owners())
	}
}

func TestNextSparesWhatIsNotSettled(t *testing.T) {
	atMostOne := func(s *fsm.Spec) {
		ip := s.Systems["ip"]
		ip.Guarantee = fsm.AtMostOne
		s.Systems["ip"] = ip
	}
	h := working(t, atMostOne)
	h.settle(&Agenda{}, 0, "n1")
	h.register("n1", "another boot")
	m, _ := h.state.Member("n1")
	if m.Settled {
		t.Fatal("a new boot is settled")
	}
	if cmds, _ := h.settle(&Agenda{}, 0); len(cmds) > 0 {
		t.Errorf("it went to a member that may hold nothing yet: %v", cmds)
	}
	h.apply(fsm.Settle{Member: "n1", Epoch: m.Epoch})
	if cmds, _ := h.settle(&Agenda{}, 0); len(cmds) != 1 || !strings.Contains(h.owners(), "a=n1") {
		t.Errorf("%v: %s", cmds, h.owners())
	}
}

// A member that has just registered holds nothing before its first lease: what
// its owner serves well is not taken away for it until then.
func TestNextSparesWhatHasNoLeaseYet(t *testing.T) {
	h := working(t, func(s *fsm.Spec) {
		ip := s.Systems["ip"]
		ip.Guarantee = fsm.AtMostOne
		s.Systems["ip"] = ip
	})
	h.settle(&Agenda{}, 0, "n1")
	h.register("n1", "boot")
	if again, _ := h.state.Member("n1"); !again.Settled {
		h.apply(fsm.Settle{Member: "n1", Epoch: again.Epoch})
	}
	leased := false
	look := Look{State: h.state, Leased: func(m fsm.MemberID, e fsm.Epoch) bool {
		now, _ := h.state.Member(m)
		return e == now.Epoch && (m != "n1" || leased)
	}}
	agenda := &Agenda{begun: true, released: true}
	if cmd, _ := Next(agenda, look); cmd != nil {
		t.Errorf("it went to a member without a lease: %v", cmd)
	}
	leased = true
	if cmd, _ := Next(agenda, look); cmd == nil {
		t.Error("it stays away from a member that can hold it")
	}
	// What nobody in service has goes there all the same.
	leased = false
	owner, _ := h.state.Slot(fsm.Key{System: "ip", Item: "a"})
	h.apply(h.down(owner.Owner))
	look.State = h.state
	if cmd, _ := Next(&Agenda{begun: true, released: true}, look); cmd == nil {
		t.Error("an item that nobody serves waits for a lease")
	}
}

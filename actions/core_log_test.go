package actions

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// realLog is the shipped State with two members and one at-most-one item, and
// the Core of n1's newest process.
type realLog struct {
	t     *testing.T
	state *fsm.State
	at    fsm.Index
	core  *Core
	now   time.Duration
	ran   []string // the hooks of n1, in order
	fails map[string]int
}

var theItem = fsm.Key{System: "s", Item: "x"}

func realSpec(hooks string) fsm.Spec {
	server := func(m fsm.MemberID) fsm.Server {
		return fsm.Server{Name: m, Role: fsm.RoleVoter, Systems: []fsm.SystemID{"s"}}
	}
	return fsm.Spec{
		Timing:  fsm.Timing{Heartbeat: 50 * time.Millisecond, Lease: 300 * time.Millisecond},
		Servers: map[fsm.MemberID]fsm.Server{"n1": server("n1"), "n2": server("n2")},
		Systems: map[fsm.SystemID]fsm.System{"s": {
			Name: "s", Split: fsm.Shard, Guarantee: fsm.AtMostOne, Action: fsm.ActionHooks,
			Alive: "up-" + hooks, Down: "down-" + hooks, CleanOnStart: true, Items: []fsm.Item{{ID: "x"}},
		}},
	}
}

// newRealLog is a log in which n1 holds the item, and has died.
func newRealLog(t *testing.T) (l *realLog, first fsm.Epoch) {
	l = &realLog{t: t, state: fsm.New(), fails: map[string]int{}}
	l.do(fsm.SetSpec{Cluster: "c", Spec: realSpec("old")})
	first = l.register("n1", 1, 0)
	l.move("n1")
	slot, _ := l.state.Slot(theItem)
	l.do(fsm.Report{Member: "n1", Epoch: first, Acquired: []fsm.Claim{{Key: theItem, Member: "n1", Epoch: first, Token: slot.Token}}})
	l.core = NewCore(CoreConfig{Self: "n1", Machine: "machine n1"})
	return l, first
}

func (l *realLog) do(c fsm.Command) fsm.Index {
	l.t.Helper()
	l.at++
	next, result, err := l.state.Apply(l.at, fsm.Encode(c))
	if err != nil || !result.Applied {
		l.t.Fatalf("%T: %+v, %v", c, result, err)
	}
	l.state = next
	return l.at
}

func host(m fsm.MemberID) fsm.Host {
	return fsm.Host{Machine: "machine " + string(m), Boot: "b", Instance: "i " + string(m)}
}

func (l *realLog) register(m fsm.MemberID, process byte, replaces fsm.Epoch) fsm.Epoch {
	l.t.Helper()
	n := fsm.Nonce{process}
	return fsm.Epoch(l.do(fsm.Register{Member: m, Nonce: n, Process: n, Replaces: replaces, Host: host(m)}))
}

func (l *realLog) assignment(m fsm.MemberID) []fsm.Move {
	slot, _ := l.state.Slot(theItem)
	return []fsm.Move{{Key: theItem, Was: slot.Token, To: m}}
}

func (l *realLog) move(m fsm.MemberID) {
	l.t.Helper()
	l.do(fsm.Assign{Moves: l.assignment(m)})
}

func (l *realLog) learn(e fsm.Epoch) { l.core.Set(l.state.Slice("n1", e, host("n1").Machine, l.at)) }

// run lets n1's hooks run until there is nothing left to do at this moment.
func (l *realLog) run(lease bool) {
	for range 10 {
		l.now++
		start, _, _ := l.core.Step(l.now, lease)
		if len(start) == 0 {
			return
		}
		for _, e := range start {
			hook := e.Job.Alive
			if e.Kind == Release {
				hook = e.Job.Down
			}
			l.ran = append(l.ran, hook)
			var err error
			if l.fails[hook] > 0 {
				l.fails[hook]--
				err = errors.New("exit status 1")
			}
			l.core.Done(l.now, e, err)
		}
	}
}

// cleanAtStart is what a process does before it knows anything but the Spec.
func (l *realLog) cleanAtStart() {
	slot, _ := l.state.Slot(theItem)
	job := l.state.Job(slot)
	job.Token = 0
	l.core.Clean([]fsm.Job{job})
	l.run(false)
}

// blocked says whether n2, which owns the item, waits for n1.
func (l *realLog) blocked(e fsm.Epoch) bool {
	for _, j := range l.state.Slice("n2", e, host("n2").Machine, l.at).Want {
		if j.Key == theItem {
			return len(j.Blocked) > 0
		}
	}
	l.t.Fatal("n2 does not own the item")
	return false
}

// A process that is called down before it has read its own registration still
// knows what its predecessor had, and names it in its goodbye.
func TestGoodbyeNamesWhatAnEpochThatIsDownOwns(t *testing.T) {
	for _, tc := range []struct {
		name    string
		clean   bool
		fails   int
		blocked bool
	}{
		{"not cleaned at start, and down fails", false, 5, true},
		{"the clean-up at start fails, and down again", true, 5, true},
		{"the clean-up at start fails, and down succeeds", true, 1, false},
		{"down succeeds", false, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, first := newRealLog(t)
			l.fails["down-old"] = tc.fails
			if tc.clean {
				l.cleanAtStart()
			}
			if _, of := l.core.Kept(); of != 0 {
				t.Errorf("speaks for epoch %d before it has seen a slice", of)
			}
			e := l.register("n1", 3, first)
			l.do(fsm.Down{Member: "n1", Epoch: e}) // no heir is up: the item stays n1's
			l.learn(e)
			l.core.Stop(true)
			l.run(false)
			kept, of := l.core.Kept()
			if of != e || (len(kept) == 1) != tc.blocked || (len(l.core.left(true)) == 1) != tc.blocked {
				t.Errorf("kept %v of epoch %d, left %v", kept, of, l.core.left(true))
			}
			l.do(fsm.Goodbye{Member: "n1", Host: host("n1"), Process: fsm.Nonce{3}, Epoch: e, Kept: kept})
			other := l.register("n2", 2, 0)
			l.move("n2")
			if got := l.blocked(other); got != tc.blocked {
				t.Errorf("n2 is blocked: %v, n1 ran %v", got, l.ran)
			}
		})
	}
}

// The hooks changed while n1's daemon was dead: what the old ones brought up is
// not reported as swept before the old `down` has succeeded.
func TestSweepRunsTheHooksOfTheTime(t *testing.T) {
	for _, moved := range []bool{false, true} {
		for _, fails := range []int{0, 5} {
			l, first := newRealLog(t)
			l.fails["down-old"] = fails
			other := l.register("n2", 2, 0)
			if moved {
				l.do(fsm.Down{Member: "n1", Epoch: first, Moves: l.assignment("n2")})
			}
			l.do(fsm.SetSpec{Was: l.state.Spec().Version, Spec: realSpec("new")})
			if moved {
				l.cleanAtStart() // by the new hooks
			}
			e := l.register("n1", 3, first)
			l.learn(e)
			l.run(true)
			l.do(l.core.Report())
			slot, _ := l.state.Slot(theItem)
			owes := slices.ContainsFunc(slot.Outstanding, func(e fsm.Entry) bool { return e.Member == "n1" })
			if owes != (fails > 0) {
				t.Errorf("moved %v, %d failures: %+v after %v", moved, fails, slot.Outstanding, l.ran)
			}
			if moved && l.blocked(other) != (fails > 0) {
				t.Errorf("%d failures: n2 is blocked: %v", fails, l.blocked(other))
			}
			if !moved && fails == 0 && slot.Acquired != e {
				t.Errorf("n1 has not acquired it again: %v", l.ran)
			}
		}
	}
}

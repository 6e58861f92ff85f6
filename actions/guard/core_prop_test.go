package guard

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/fsm"
)

// world is the dumb oracle: what is really up on a machine, and what a daemon and
// its guard may still do to it. It judges each act by that alone.
type world struct {
	t   *rapid.T
	c   *Core
	now time.Duration

	listed map[uint64]ledger.Entry
	up     map[uint64]bool // in truth
	flying map[uint64]bool // a process or a call of the daemon's may still bring it up
	shut   bool

	alive, pipe     bool // the daemon lives; its pipe is open
	killed          time.Duration
	stuck           bool // killed, and no thread of it returns
	healthy         bool // it keeps its promises
	acted           bool
	owed            []Act // begun, and not ended
	unlocked, taken bool
	exited          bool
	nextID          uint64
	acquired        int
}

func newOracle(t *rapid.T) *world {
	return &world{
		t: t, c: NewCore(CoreConfig{Heartbeat: 50 * ms, RetryFirst: 100 * ms, RetryMax: 400 * ms}),
		listed: map[uint64]ledger.Entry{}, up: map[uint64]bool{}, flying: map[uint64]bool{},
		alive: true, pipe: true, healthy: true, now: time.Second,
	}
}

func (w *world) chance(percent int, what string) bool {
	return rapid.IntRange(1, 100).Draw(w.t, what) <= percent
}

// begin is the daemon at work: it tells the guard first.
func (w *world) begin() {
	w.nextID++
	e := ledger.Entry{ID: w.nextID, Phase: ledger.Starting, Run: "r", Job: fsm.Job{
		Key:       fsm.Key{System: "s", Item: fsm.ItemID(fmt.Sprint("i", w.nextID%3))},
		AtMostOne: w.chance(80, "at-most-one"), Action: fsm.ActionHooks, StopTimeout: 200 * ms,
	}}
	if w.chance(50, "address") {
		e.Job.Action, e.Job.Gated, e.Run = fsm.ActionIP, w.chance(50, "gated"), ""
	}
	w.c.Put(e)
	w.listed[e.ID], w.flying[e.ID], w.up[e.ID] = e, true, w.chance(50, "up at once")
	w.acquired++
	if w.chance(60, "ended") {
		e.Phase, e.Run = ledger.Up, ""
		w.c.Put(e)
		w.listed[e.ID], w.up[e.ID], w.flying[e.ID] = e, true, e.Job.Action == fsm.ActionIP
	}
}

// release is the daemon letting go of one item.
func (w *world) release(id uint64) {
	w.up[id], w.flying[id] = false, false
	delete(w.listed, id)
	w.c.Drop(id)
}

// land is what was on its way when the daemon was killed.
func (w *world) land() {
	if !w.alive && !w.pipe {
		return
	}
	for id := range w.flying {
		if w.flying[id] && w.chance(30, "lands") {
			w.up[id] = true
		}
	}
}

// die ends the daemon; what it was doing itself ends with it. A child that has its
// pipe is on its own.
func (w *world) die() {
	w.land()
	w.alive = false
	w.c.Died(w.now)
	w.settle()
}

func (w *world) shutPipe() {
	w.land()
	w.pipe = false
	w.c.PipeClosed(w.now)
	w.settle()
}

// settle: addresses come from nowhere once the daemon is gone; a hook that has
// started runs on.
func (w *world) settle() {
	if w.alive || w.pipe {
		return
	}
	for id, e := range w.listed {
		if e.Job.Action == fsm.ActionIP {
			w.flying[id] = false
		}
	}
}

// step carries out what the core says and judges it.
func (w *world) step() time.Duration {
	for {
		acts, next := w.c.Step(w.now)
		if next < w.now {
			w.t.Fatalf("it wants to be woken at %v, it is %v", next, w.now)
		}
		if len(acts) == 0 {
			return next
		}
		for _, a := range acts {
			w.judge(a)
			if a.Kind == Exit {
				w.exited = true
				return Never
			}
			if a.Kind == Shut || a.Kind == EndRuns || a.Kind == Down {
				w.owed = append(w.owed, a)
				continue
			}
			w.finish(a)
		}
	}
}

func (w *world) judge(a Act) {
	t := w.t
	if !w.acted && w.alive && w.pipe && w.healthy {
		t.Fatalf("%s although the daemon is healthy: %s", a.Kind, w.c.Why())
	}
	w.acted = true
	for _, e := range a.Entries {
		if !e.Job.AtMostOne {
			t.Fatalf("%s of what is held at least once", a.Kind)
		}
	}
	switch a.Kind {
	case Kill:
		w.killed = w.now
	case Remove, EndRuns, Down:
		if w.alive && !w.stuck && (w.killed == 0 || w.now < w.killed+DeathWait) {
			t.Fatalf("%s at %v before the daemon, killed at %v, is dead", a.Kind, w.now, w.killed)
		}
		if w.unlocked {
			t.Fatalf("%s while a new daemon may run", a.Kind)
		}
		if a.Kind == Down && w.flying[a.Entries[0].ID] && !w.alive && !w.pipe && a.Entries[0].Run != "" && !w.tried(a.Entries[0].ID) {
			t.Fatal("`down` before the daemon's hook was ended")
		}
	case Goodbye:
		w.judgeGoodbye(a)
	case Unlock:
		if w.alive || w.pipe || w.unlocked || w.busy() {
			t.Fatalf("a new daemon is let in: alive %t, pipe %t, at work %t", w.alive, w.pipe, w.busy())
		}
	case Exit:
		if w.taken {
			return
		}
		for id, e := range w.listed {
			if e.Job.AtMostOne && w.up[id] {
				t.Fatalf("%s is up at the end", e.Job.Item)
			}
		}
	case Shut, Look, Lock:
	}
}

var triedRuns = map[uint64]bool{}

func (w *world) tried(id uint64) bool { return triedRuns[id] }

// busy reports whether something of the guard's is under way that a new daemon
// must not meet.
func (w *world) busy() bool {
	return slices.ContainsFunc(w.owed, func(a Act) bool { return a.Kind != Shut })
}

// judgeGoodbye: what is not named is released, and stays so.
func (w *world) judgeGoodbye(a Act) {
	if w.alive && w.killed == 0 {
		w.t.Fatal("goodbye for a daemon that lives")
	}
	for id, e := range w.listed {
		if !e.Job.AtMostOne {
			continue
		}
		may := w.up[id] || w.flying[id]
		switch {
		case e.Job.Gated && may && !w.shut:
			w.t.Fatalf("goodbye while the gate is open and %s may be up", e.Job.Item)
		case !e.Job.Gated && may && !slices.Contains(a.Kept, e.Job.Key):
			w.t.Fatalf("goodbye does not name %s, which may be up: %v", e.Job.Item, a.Kept)
		}
	}
}

// finish ends an act, well or not.
func (w *world) finish(a Act) {
	if a.Kind == Goodbye {
		if w.chance(40, "acknowledged") {
			w.c.Acked(w.now, len(a.Kept))
		}
		return
	}
	var err error
	if a.Kind != Unlock && w.chance(25, "fails") {
		err = errNotNow
	}
	switch a.Kind {
	case Shut:
		w.shut = w.shut || err == nil
	case Remove, Down:
		for _, e := range a.Entries {
			if err == nil {
				w.up[e.ID] = false
			}
		}
		w.land()
		if a.Kind == Down && err == nil && w.flying[a.Entries[0].ID] {
			w.up[a.Entries[0].ID] = w.chance(50, "comes up after down")
		}
	case EndRuns:
		for _, e := range a.Entries {
			triedRuns[e.ID] = true
			if err == nil && !w.alive && !w.pipe {
				w.flying[e.ID] = false
			}
		}
	case Unlock:
		w.unlocked = true
	case Look, Lock:
		if err != nil && !w.chance(20, "taken") {
			err = nil
		} else if err != nil {
			err, w.taken = ErrTaken, true
		}
		if a.Kind == Lock && err == nil {
			w.unlocked = false
		}
	case Kill, Goodbye, Exit:
		err = nil
	}
	w.c.Done(w.now, a, err)
}

// answer ends one of the acts under way.
func (w *world) answer() {
	if len(w.owed) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.owed)-1).Draw(w.t, "which")
	a := w.owed[i]
	w.owed = slices.Delete(w.owed, i, i+1)
	w.finish(a)
}

// live is the daemon's life up to a moment of chance.
func (w *world) live() {
	ends := time.Duration(0)
	epoch := fsm.Epoch(0)
	lapsed := false
	for range rapid.IntRange(0, 25).Draw(w.t, "steps") {
		w.now += time.Duration(rapid.IntRange(1, 40).Draw(w.t, "pass")) * ms
		// A healthy daemon renews, or says what it does about the end.
		if ends > 0 && w.now >= ends+40*ms && !lapsed {
			lapsed = true
			w.c.Releasing(w.now + 150*ms)
			for _, id := range slices.Sorted(maps.Keys(w.listed)) {
				if w.listed[id].Job.AtMostOne {
					w.release(id)
				}
			}
			w.c.Released()
		}
		switch rapid.IntRange(0, 4).Draw(w.t, "does") {
		case 0, 1:
			if !lapsed {
				w.begin()
			}
		case 2:
			if ids := slices.Sorted(maps.Keys(w.listed)); len(ids) > 0 {
				w.release(rapid.SampledFrom(ids).Draw(w.t, "released"))
			}
		default:
			if lapsed || epoch == 0 {
				epoch++
			}
			lapsed, ends = false, w.now+100*ms
			w.c.Lease(epoch, ends)
		}
		w.step()
	}
}

// Whatever happens to a daemon, its guard leaves nothing at-most-one behind, says
// nothing untrue, never acts on a healthy one and never beside a new one.
func TestCoreProperties(t *testing.T) {
	acted, ended := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		clear(triedRuns)
		w := newOracle(t)
		w.live()
		w.healthy = false
		switch rapid.IntRange(0, 3).Draw(t, "fate") {
		case 0:
			w.die()
		case 1:
			w.shutPipe()
		case 2: // it stands still
		default:
			w.die()
			w.shutPipe()
		}
		for range 400 {
			next := w.step()
			if w.exited {
				break
			}
			switch rapid.IntRange(0, 5).Draw(t, "happens") {
			case 0:
				if w.alive && w.killed > 0 {
					w.die()
				}
			case 1:
				if w.pipe && !w.alive {
					w.shutPipe()
				}
			case 2:
				w.land()
			case 3:
				if w.alive && w.killed > 0 {
					w.c.Stuck(w.now)
					w.stuck = true
				}
			default:
				w.answer()
			}
			if next != Never && w.chance(50, "wait") {
				w.now = max(w.now, next)
			}
		}
		if w.acted {
			acted++
		}
		if w.exited {
			ended++
		}
		if !w.exited && !w.taken && w.acted {
			w.drive()
		}
	})
	if acted == 0 || ended == 0 {
		t.Errorf("the guard acted in %d cases and came to an end in %d", acted, ended)
	}
}

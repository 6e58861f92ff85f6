package sim

import (
	"testing"
	"time"

	"github.com/flip-ha/flip/actions"
)

// The schedules of the guard and of the list (ACTIONS.md 5). Hooks, but where an
// address says more.
var guardRules = []rule{
	{
		// n3 is stopped right before it starts `alive`; when it goes on, its guard has
		// spoken for it.
		name: "the guard kills first", without: Without{GuardKill: true}, finds: TwoHolders,
		setup: setup{hooks: true, guard: true},
		script: func(r *rig) {
			r.move("n2")
			r.await("n2 has it", r.has("n2"))
			stopped := false
			r.starve = func(p *Process, at GateStep) time.Duration {
				if p.Name == "n3" && at == BeforeEffect && !stopped {
					stopped = true
					p.Freeze(4 * time.Second)
					return ms
				}
				return 0
			}
			r.move("n3")
			r.await("n2 has it again", r.has("n2"))
			r.pass(5 * time.Second)
		},
	},
	{
		// n3 dies with `alive` on its way. `down` of its guard is faster.
		name: "the guard ends the daemon's hooks", without: Without{GuardEndRuns: true}, finds: TwoHolders,
		setup: setup{hooks: true, guard: true},
		script: func(r *rig) {
			r.slowAlive(Outcome{Took: 400 * ms})
			r.Process("n3").Kill()
			r.pass(time.Second)
		},
	},
	{
		name: "the guard is told before the act", without: Without{ToldBefore: true}, finds: TwoHolders,
		setup: setup{hooks: true, guard: true},
		script: func(r *rig) {
			r.slowAlive(Outcome{Took: 400 * ms})
			r.Process("n3").Kill()
			r.pass(time.Second)
		},
	},
	{
		// n3 dies with its call for an address in the kernel, and is started again at
		// once. It finds nothing, says so, and then the call lands.
		name: "the data_dir's lock", without: Without{Lock: true}, finds: TwoHolders,
		setup: setup{ungated: true, guard: true},
		script: func(r *rig) {
			r.move("n2")
			r.await("n2 has it", r.has("n2"))
			r.hook = func(p *Process, e Effect) Outcome {
				if p.Name == "n3" && e.Kind == actions.Acquire {
					return Outcome{Took: ms, Stuck: stuckMost}
				}
				return Outcome{Took: ms}
			}
			r.move("n3")
			r.await("the call is in the kernel", func() bool { return r.Process("n3").inKernel > 0 })
			r.Process("n3").Kill()
			r.Launch("n3")
			r.move("n2")
			r.await("n2 has it again", r.has("n2"))
			r.pass(time.Second)
		},
	},
	{
		// n3 and its guard die with `alive` on its way, and n3 is started again. What
		// the log tells it to sweep it sweeps.
		name: "a list that outlives both", without: Without{ListLost: true}, finds: TwoHolders,
		setup:  setup{hooks: true, guard: true},
		script: func(r *rig) { r.bothDie() },
	},
	{
		// The same, and n3's disk is wiped meanwhile: what runs is still there.
		name: "a list that outlives the data_dir", without: Without{ListOfInstance: true}, finds: TwoHolders,
		setup: setup{hooks: true, guard: true},
		script: func(r *rig) {
			r.slowAlive(Outcome{Took: 480 * ms, Fork: 0})
			r.hook = func(*Process, Effect) Outcome { return Outcome{Took: 5 * ms} }
			p := r.Process("n3")
			p.guard.Kill()
			r.Wipe("n3")
			r.log.learns[r.Launch("n3").ID()] = true
			r.await("n2 has it again", func() bool {
				if r.owned("n3")() {
					r.move("n2")
				}
				return r.has("n2")()
			})
			r.pass(2 * time.Second)
		},
	},
	{
		// n3 is cut off and stopped with its `alive` on its way: its guard takes as
		// long as it may.
		name: "the time bet on", without: Without{Bets: true}, finds: TwoHolders,
		setup: betting,
		script: func(r *rig) {
			r.slowAlive(Outcome{Hang: true, Deaf: true})
			r.hook = func(*Process, Effect) Outcome { return Outcome{Took: stopTimeout - ms} }
			r.Isolate("n3", true)
			r.Process("n3").Freeze(time.Minute)
			r.await("n2 has it", r.has("n2"))
		},
	},
	{
		name: "orphan hooks ended at start", without: Without{OrphansRun: true}, finds: TwoHolders,
		setup:  setup{hooks: true, guard: true},
		script: func(r *rig) { r.bothDie() },
	},
}

// slowAlive has n3 begin an `alive` as slow as that; all else is fast.
func (r *rig) slowAlive(out Outcome) {
	r.move("n2")
	r.await("n2 has it", r.has("n2"))
	r.hook = func(p *Process, e Effect) Outcome {
		if p.Name == "n3" && e.Kind == actions.Acquire {
			return out
		}
		return Outcome{Took: 5 * ms}
	}
	r.move("n3")
	r.await("`alive` runs on n3", func() bool { return len(r.Process("n3").machine.runs) > 0 })
	r.pass(5 * ms)
}

// bothDie kills n3 and its guard with `alive` on its way, and starts n3 again.
func (r *rig) bothDie() {
	r.slowAlive(Outcome{Took: 450 * ms})
	p := r.Process("n3")
	p.guard.Kill()
	p.Kill()
	r.Launch("n3")
	r.move("n2")
	r.await("n2 has it again", r.has("n2"))
	r.pass(time.Second)
}

// TestPipeClosedByHand: a daemon that cannot go on closes its pipe while one of
// its threads is about to start a hook, and lives for a moment longer. The child
// that is forked then has no end of the pipe, whose end proves nothing therefore;
// the life line's does.
func TestPipeClosedByHand(t *testing.T) {
	r := newRig(t, setup{hooks: true, guard: true})
	r.move("n2")
	r.await("n2 has it", r.has("n2"))
	var stands bool
	r.starve = func(p *Process, at GateStep) time.Duration {
		if p.Name == "n3" && at == BeforeEffect && !stands {
			stands = true
			return 10 * ms
		}
		return 0
	}
	r.hook = func(p *Process, e Effect) Outcome {
		if p.Name == "n3" && e.Kind == actions.Acquire {
			return Outcome{Took: 200 * ms, Fork: 200 * ms}
		}
		return Outcome{Took: 5 * ms}
	}
	r.move("n3")
	r.await("a thread is about to start `alive`", func() bool { return stands })
	p := r.Process("n3")
	p.guard.Freeze(20 * ms)
	p.closePipe()
	r.await("n2 has it again", r.has("n2"))
	r.pass(time.Second)
	if err := r.Violation(); err != nil {
		t.Errorf("%v\n%s", err, tail(r.World, 60))
	}
}

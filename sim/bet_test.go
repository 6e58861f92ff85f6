package sim

import (
	"testing"
	"time"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
)

// betting is a system of hooks with the smallest takeover_after that is safe.
var betting = setup{hooks: true, guard: true, takeover: safeTakeover(ttl, fsm.System{StopTimeout: stopTimeout})}

// safeTakeover is the smallest takeover_after that is safe where hooks have less
// time from TERM to KILL.
func safeTakeover(ttl time.Duration, sys fsm.System) time.Duration {
	return fsm.SafeHookTakeover(Timing(ttl), sys) - 2*(fsm.TermToKill-hookGrace)*11/10
}

// TestBetOnHooks: who bets that a guard lets go in time wins as long as the guard
// lives and `down` succeeds, however slowly, and loses otherwise.
func TestBetOnHooks(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lost  bool
		fault func(*rig)
	}{
		{"the daemon is killed", false, func(r *rig) { r.Process("n3").Kill() }},
		{"the daemon is stopped", false, func(r *rig) { r.Process("n3").Freeze(time.Minute) }},
		{"it is only cut off", false, func(*rig) {}},
		{"killed, `down` takes its whole time", false, func(r *rig) {
			r.hook = func(*Process, Effect) Outcome { return Outcome{Took: stopTimeout - ms} }
			r.Process("n3").Kill()
		}},
		{"killed with its `alive` on its way, which is deaf", false, func(r *rig) {
			r.Isolate("n3", false)
			r.slowAlive(Outcome{Hang: true, Deaf: true, Fork: 200 * ms})
			r.Isolate("n3", true)
			r.Process("n3").Kill()
		}},
		{"daemon and guard are killed", true, func(r *rig) {
			r.Process("n3").guard.Kill()
			r.Process("n3").Kill()
		}},
		{"both are stopped", true, func(r *rig) {
			p := r.Process("n3")
			p.Freeze(10 * time.Second)
			p.guard.Freeze(10 * time.Second)
		}},
		{"`down` fails", true, func(r *rig) {
			r.releasesFail("n3")
			r.Process("n3").Kill()
		}},
		{"`down` hangs", true, func(r *rig) {
			r.hook = func(_ *Process, e Effect) Outcome { return Outcome{Took: 5 * ms, Hang: e.Kind == actions.Release} }
			r.Process("n3").Kill()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, betting)
			r.Isolate("n3", true) // nobody hears what is released
			tt.fault(r)
			r.hookOn("n2")
			r.await("n2 has it", r.has("n2"))
			if err := r.Violation(); err != nil {
				t.Errorf("%v\n%s", err, tail(r.World, 60))
			}
			if got := r.Count[BetsLost] > 0; got != tt.lost {
				t.Errorf("lost: %v, want %v\n%s", got, tt.lost, tail(r.World, 60))
			}
			if r.Count[BetsWon] == 0 {
				t.Error("n2 did not have to bet")
			}
		})
	}
}

// hookOn has the hooks of a member work.
func (r *rig) hookOn(m fsm.MemberID) {
	was := r.hook
	r.hook = func(p *Process, e Effect) Outcome {
		if p.Name == m || was == nil {
			return Outcome{Took: 5 * ms}
		}
		return was(p, e)
	}
}

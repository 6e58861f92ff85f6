package sim

import (
	"time"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
)

// The schedules of the gate (ACTIONS.md 4), and of addresses that have none.
var gateRules = []rule{
	{
		// n3's first lease begins, and the thread that opens its gate stands still
		// before it sets the fuse. Meanwhile n3 is cut off, and n2 gets the item.
		name: "the gate's re-read (starved)", without: Without{GateReread: true}, finds: TwoHolders,
		script: func(r *rig) { r.lateOpening(BeforeFuse) },
	},
	{
		// The same, but the thread has read the clock: a call that comes late. There is
		// no element that could have expired.
		name: "the gate's fuse (starved)", without: Without{GateFuse: true}, finds: TwoHolders,
		script: func(r *rig) { r.lateOpening(BeforeCall) },
	},
	{
		// A renewal that comes late finds the element only while that lasts: here it
		// does, for a moment.
		name: "the gate's fuse (starved, renewal)", without: Without{GateFuse: true}, finds: TwoHolders,
		script: func(r *rig) {
			r.starved(BeforeCall, 150*ms)
			r.await("n2 has it", r.has("n2"))
			r.pass(2 * ttl)
		},
	},
	{
		// n3's lease lapses, its `down` fails, n2 gets the item, and n3 gets a new
		// lease.
		name: "gate opens after strangers are gone", without: Without{GateClear: true}, finds: TwoHolders,
		script: func(r *rig) {
			r.releasesFail("n3")
			r.lapse("n3")
			r.pass(2 * ttl)
		},
	},
	{
		// n3 stops and cannot let go: its goodbye names the item, and gives the lease
		// back all the same.
		name: "the gate is shut before a goodbye", without: Without{GoodbyeOpen: true}, finds: TwoHolders,
		script: func(r *rig) {
			r.releasesFail("n3")
			r.Process("n3").Stop(nil)
			r.pass(2*stopTimeout + 4*ttl)
		},
	},
	{
		// n3 dies with an ungated address up, which its kernel removes in time.
		name: "an ungated address is taken over before its time", without: Without{Bets: true}, finds: TwoHolders,
		setup: setup{ungated: true},
		script: func(r *rig) {
			r.Process("n3").Kill()
			r.await("n3 is called down", r.owned("n2"))
			r.await("n2 has it", r.has("n2"))
		},
	},
}

// lateOpening keeps n3's keeper for 5.5 s at one place of its first opening. Its
// `down` fails, so that only the gate takes the address back.
func (r *rig) lateOpening(place GateStep) {
	r.move("n2")
	r.await("n2 has it", r.has("n2"))
	r.releasesFail("n3")
	r.restart("n3") // its gate is shut, and it has no lease
	r.starve = func(p *Process, at GateStep) time.Duration {
		if p.Name == "n3" && at == place {
			return 5500 * ms
		}
		return 0
	}
	r.heal("n3", "n1", "n2")
	r.await("n3 has a lease", func() bool { return r.Process("n3").Lease() })
	r.move("n3")
	r.pass(20 * ms) // n3 brings it up behind a gate that is still shut
	r.Isolate("n3", true)
	r.await("n2 has it again", r.has("n2"))
	r.pass(6 * time.Second)
}

// starved isolates n3 when its keeper begins to renew, keeps that at one place
// for a time, and from its next renewal for good: that would put things right.
// n3's `down` fails.
func (r *rig) starved(place GateStep, d time.Duration) {
	r.releasesFail("n3")
	armed := true
	r.starve = func(p *Process, at GateStep) time.Duration {
		switch {
		case p.Name == "n3" && armed && at == place:
			armed = false
			return d
		case p.Name == "n3" && !armed && at == BeforeFuse:
			return time.Minute
		default:
			return 0
		}
	}
	r.await("n3's keeper stands still", func() bool { return !armed })
	r.Isolate("n3", true)
	r.pass(d + ms)
}

// releasesFail keeps a member from ever letting go.
func (r *rig) releasesFail(m fsm.MemberID) {
	r.hook = func(p *Process, e Effect) Outcome {
		return Outcome{Took: 5 * ms, Fail: p.Name == m && e.Kind == actions.Release}
	}
}

// lapse isolates a member until the item is n2's, and then lets it register and
// have a lease again.
func (r *rig) lapse(m fsm.MemberID) {
	r.Isolate(m, true)
	r.await("n2 has it", r.has("n2"))
	r.Isolate(m, false)
	r.await("it has a lease again", func() bool { return r.Process(m).Lease() })
}

package sim

import (
	"time"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
)

// The schedules of the holders' layer. Hooks unless a row says otherwise: what
// they started stays until `down` ran.
var holderRules = []rule{
	{
		name: "the outstanding set", without: Without{FSM: fsm.RuleOutstanding}, finds: TwoHolders,
		setup: setup{hooks: true},
		script: func(r *rig) {
			r.Process("n3").Kill()
			r.await("n3 is called down", r.owned("n2"))
			r.pass(2 * ttl)
		},
	},
	{
		// A report of n3's release comes twice; the second time n3 has the item again.
		name: "the token in a report", without: Without{FSM: fsm.RuleReportToken}, finds: TwoHolders,
		setup: setup{hooks: true},
		script: func(r *rig) {
			first := r.slot().Token
			me, _ := r.Agreed().Member("n3")
			r.move("n2")
			r.await("n2 has it", r.has("n2"))
			r.move("n3")
			r.await("n3 has it again", r.has("n3"))
			r.Process("n3").Kill()
			r.await("n3 is called down", r.owned("n2"))
			r.Commit(fsm.Report{Member: "n3", Epoch: me.Epoch, Released: []fsm.Claim{
				{Key: item, Member: "n3", Epoch: me.Epoch, Token: first},
			}})
			r.pass(2 * ttl)
		},
	},
	{
		// `alive` fails, `down` succeeds: reporting that is not asked for. The report
		// arrives after n3 has tried again, and died.
		name: "report only what the log shows", without: Without{Actions: actions.RuleLogShown}, finds: TwoHolders,
		setup: setup{hooks: true},
		script: func(r *rig) {
			r.move("n2")
			r.await("n2 has it", r.has("n2"))
			fails := true
			r.hook = func(p *Process, e Effect) Outcome {
				bad := fails && p.Name == "n3" && e.Kind == actions.Acquire
				fails = fails && !bad
				return Outcome{Took: 5 * ms, Fail: bad}
			}
			token := r.Agreed().Spec().Version // below any token to come
			var late []fsm.Report
			r.Intercept = func(from *Process, c fsm.Command) bool {
				rep, ok := c.(fsm.Report)
				if !ok || from.Name != "n3" || len(rep.Released) == 0 || rep.Released[0].Token <= fsm.Token(token) {
					return false
				}
				late = append(late, rep)
				return true
			}
			r.move("n3")
			r.await("n3 has it after all", r.has("n3"))
			r.Process("n3").Kill()
			r.await("n3 is called down", r.owned("n2"))
			for _, rep := range late {
				r.Commit(rep)
			}
			r.pass(2 * ttl)
		},
	},
	{
		name: "report after `down` succeeded", without: Without{Actions: actions.RuleDownFirst}, finds: TwoHolders,
		setup: setup{hooks: true},
		script: func(r *rig) {
			r.hook = func(*Process, Effect) Outcome { return Outcome{Took: 200 * ms} }
			r.move("n2")
			r.pass(2 * ttl)
		},
	},
	{
		name: "`failed` is no release", without: Without{Actions: actions.RuleFailedKeeps}, finds: TwoHolders,
		setup: setup{hooks: true},
		script: func(r *rig) {
			r.hook = func(_ *Process, e Effect) Outcome {
				return Outcome{Took: 5 * ms, Fail: e.Kind == actions.Release}
			}
			r.move("n2")
			r.pass(2 * ttl)
		},
	},
	{
		// n3 is cut off and holds an at-least-one item, without any lease, when the
		// item is made at-most-one.
		name: "a new token on a change of guarantee", without: Without{FSM: fsm.RuleFreshToken}, finds: TwoHolders,
		setup: setup{guarantee: fsm.AtLeastOne},
		script: func(r *rig) {
			r.deaf("n3")
			r.cut("n3", "n1", "n2")
			r.edit(func(s *fsm.System) { s.Guarantee = fsm.AtMostOne })
			r.await("n3 is called down", r.owned("n2"))
			r.pass(2 * ttl)
		},
	},
	{
		name: "Down spares what is ungated", without: Without{FSM: fsm.RuleDownSparesUngated}, finds: TwoHolders,
		setup: setup{hooks: true},
		script: func(r *rig) {
			r.hook = func(_ *Process, e Effect) Outcome { return Outcome{Took: 5 * ms, Hang: e.Kind == actions.Release} }
			r.move("n2")
			r.pass(10 * ms)
			r.Process("n3").Kill()
			r.await("n3 is called down", func() bool {
				m, _ := r.Agreed().Member("n3")
				return !m.Up
			})
			r.pass(2 * ttl)
		},
	},
	{
		name: "removal waits for entries", without: Without{FSM: fsm.RuleRemovalWaits}, finds: TwoHolders,
		setup: setup{hooks: true},
		script: func(r *rig) {
			r.Process("n3").Kill()
			r.await("n3 is called down", r.owned("n2"))
			r.Commit(fsm.RemoveMember{Member: "n3"})
			r.pass(2 * ttl)
		},
	},
	{
		// There is no command that brings owners back; the schedule shows why.
		name: "restore without owners", without: Without{OwnersRestored: true}, finds: TwoHolders,
		setup: setup{hooks: true},
		script: func(r *rig) {
			saved := r.Agreed()
			r.move("n2")
			r.await("n2 has it", r.has("n2"))
			r.deaf("n2")
			r.Restore(saved)
			r.pass(2 * ttl)
		},
	},
	{
		name: "a removed item keeps its set", without: Without{FSM: fsm.RuleRemovedKeepsSet}, finds: TwoHolders,
		setup: setup{hooks: true},
		script: func(r *rig) {
			r.Process("n3").Kill()
			r.await("n3 is called down", r.owned("n2"))
			items := r.Agreed().Spec().Systems[item.System].Items
			r.edit(func(s *fsm.System) { s.Items = nil })
			r.pass(50 * ms)
			r.edit(func(s *fsm.System) { s.Items = items })
			r.pass(50 * ms)
			if r.slot().Owner == "" {
				r.move("n2")
			}
			r.pass(2 * ttl)
		},
	},
	{
		// n3 comes back on another machine while the first one still has a lease.
		name: "unsettled after another machine", without: Without{FSM: fsm.RuleUnsettled}, finds: TwoHolders,
		script: func(r *rig) {
			r.Process("n3").Freeze(4 * ttl) // its gate stays open until the lease ends
			r.takeOver()
			r.pass(3 * ttl)
		},
	},
	{
		// n3 died with the item up on one machine, and comes back on another.
		name:    "sweep only one's own machine",
		without: Without{FSM: fsm.RuleOwnMachine, Actions: actions.RuleOwnMachine}, finds: TwoHolders,
		setup: setup{hooks: true},
		script: func(r *rig) {
			r.Process("n3").Kill()
			r.await("n3 is called down", r.owned("n2"))
			r.takeOver()
			r.await("it is settled", func() bool {
				m, _ := r.Agreed().Member("n3")
				return m.Up && m.Settled && m.Host.Machine != "m-n3"
			})
			r.pass(3 * ttl)
		},
	},
	{
		// A registration of n3's former process commits late, and then its goodbye is
		// heard once more: it would speak for the next process.
		name: "registration names what it replaces", without: Without{FSM: fsm.RuleReplaces}, finds: TwoHolders,
		setup: setup{hooks: true},
		script: func(r *rig) {
			var late fsm.Register
			var bye liveness.Goodbye
			said := false
			first := r.Process("n3")
			r.Intercept = func(from *Process, c fsm.Command) bool {
				if reg, ok := c.(fsm.Register); ok && from == first {
					late = reg
					return true
				}
				return false
			}
			r.Filter = func(from, _ fsm.MemberID, msg liveness.Message) (time.Duration, bool) {
				if g, ok := msg.(liveness.Goodbye); ok && from == "n3" {
					bye, said = g, true
				}
				return 0, true
			}
			r.cut("n3", "n1", "n2") // its lease ends: it registers again
			r.await("the registration is on its way", func() bool { return late.Member != "" })
			r.heal("n3", "n1", "n2")
			gone := false
			first.Stop(func() { gone = true })
			r.await("n3 exits", func() bool { return gone && said })
			r.Launch("n3")
			r.await("n3 is back", func() bool { return r.Process("n3").Lease() })
			r.move("n3")
			r.await("the next process has it", r.has("n3"))
			r.deaf("n3")
			r.Commit(late)
			r.pass(10 * ms)
			p := r.Process("n1")
			p.receive(liveness.From{Member: "n3", Instance: first.Instance}, bye)
			r.pass(2 * ttl)
		},
	},
}

// The schedules of at-least-one: a gap in a planned move.
var gapRules = []rule{
	{
		// n2's `acquired` of an earlier move comes twice.
		name: "`acquired` with its token", without: Without{FSM: fsm.RuleAcquiredToken}, finds: Gap,
		setup: setup{hooks: true, guarantee: fsm.AtLeastOne},
		script: func(r *rig) {
			r.move("n2")
			r.await("n2 has it", r.has("n2"))
			second := r.slot().Token
			r.move("n3")
			r.await("n3 has it again", r.has("n3"))
			r.await("n2 has let go", func() bool { return len(r.slot().Outstanding) == 0 })
			r.hook = func(*Process, Effect) Outcome { return Outcome{Took: 200 * ms} }
			r.move("n2")
			n2, _ := r.Agreed().Member("n2")
			r.Commit(fsm.Report{Member: "n2", Epoch: n2.Epoch, Acquired: []fsm.Claim{
				{Key: item, Member: "n2", Epoch: n2.Epoch, Token: second},
			}})
			r.pass(2 * ttl)
		},
	},
	{
		name: "acquired before released", without: Without{FSM: fsm.RuleReleaseLast}, finds: Gap,
		setup: setup{hooks: true, guarantee: fsm.AtLeastOne},
		script: func(r *rig) {
			r.hook = func(*Process, Effect) Outcome { return Outcome{Took: 200 * ms} }
			r.move("n2")
			r.pass(2 * ttl)
		},
	},
}

// The row of the list.
var listRules = []rule{
	{
		// n3 is to give the item to n2, whose `alive` takes its time, and is started
		// again: what is up stays up.
		name: "a list of what runs", without: Without{UpUnlisted: true}, finds: Gap,
		setup: setup{hooks: true, guard: true, guarantee: fsm.AtLeastOne},
		script: func(r *rig) {
			r.hook = func(*Process, Effect) Outcome { return Outcome{Took: 450 * ms} }
			r.move("n2")
			r.Process("n3").Kill()
			r.Launch("n3")
			r.pass(4 * ttl)
		},
	},
}

// edit changes the item's system.
func (r *rig) edit(apply func(*fsm.System)) {
	spec := *r.Agreed().Spec()
	sys := spec.Systems[item.System]
	apply(&sys)
	systems := map[fsm.SystemID]fsm.System{item.System: sys}
	spec.Systems = systems
	r.Commit(fsm.SetSpec{Was: spec.Version, Spec: spec})
	r.pass(5 * ms)
}

// takeOver starts n3 on another machine, which becomes part of the log at once.
func (r *rig) takeOver() {
	r.Replace("n3")
	p := r.Launch("n3")
	r.log.learns[p.ID()] = true
}

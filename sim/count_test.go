package sim

import (
	"testing"
	"time"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
)

// forced is a script after which a counter has counted.
type forced struct {
	setup  setup
	script func(*rig)
}

// forcing is one for each counter. What founding a cluster and giving it an item counts
// already needs no more.
var forcing = map[Counter]forced{
	Acks: {}, Acquires: {}, Moves: {}, Registrations: {}, ReportsAcquired: {}, Elections: {}, Starts: {},
	GateOpened: {}, GateRenewed: {},

	Dropped:      {script: func(r *rig) { r.cut("n3", "n1"); r.pass(2 * beat) }},
	Doubled:      {script: func(r *rig) { r.Link("n3", "n1").Twice = 1; r.pass(2 * beat) }},
	Delayed:      {script: func(r *rig) { l := r.Link("n3", "n1"); l.Late, l.LateBy = 1, ttl; r.pass(2 * beat) }},
	LostRequests: {script: func(r *rig) { r.Link("n3", "n1").CutTCP = true; r.move("n2"); r.pass(2 * beat) }},
	LogCuts:      {script: func(r *rig) { r.CutLog("n3", true) }},
	Stalls:       {script: func(r *rig) { r.Stall(beat) }},
	LateCommits:  {script: func(r *rig) { r.orphan(true) }},
	LostCommits:  {script: func(r *rig) { r.orphan(false) }},
	Kills:        {script: func(r *rig) { r.Process("n3").Kill() }},
	Reboots:      {script: func(r *rig) { r.Reboot(r.Process("n3").Machine()) }},
	Wipes:        {script: func(r *rig) { r.Wipe("n3") }},
	Replacements: {script: func(r *rig) { r.Replace("n3") }},
	Freezes:      {script: func(r *rig) { r.Process("n3").Freeze(beat) }},
	HooksFailed: {script: func(r *rig) {
		r.hook = func(*Process, Effect) Outcome { return Outcome{Took: ms, Fail: true} }
		r.move("n2")
		r.pass(beat)
	}},
	HooksHung: {script: func(r *rig) {
		r.hook = func(*Process, Effect) Outcome { return Outcome{Hang: true} }
		r.move("n2")
		r.pass(beat)
	}},
	HooksForked: {setup: setup{hooks: true}, script: func(r *rig) {
		r.hook = func(*Process, Effect) Outcome { return Outcome{Took: ms, Fork: 20 * ms} }
		r.move("n2")
		r.pass(beat)
	}},
	HooksKilled: {setup: setup{hooks: true}, script: func(r *rig) {
		r.hook = func(*Process, Effect) Outcome { return Outcome{Hang: true, Deaf: true} }
		r.move("n2")
		r.pass(2 * stopTimeout)
	}},
	StuckLanded: {setup: setup{ungated: true}, script: func(r *rig) { r.stuckAndKilled() }},
	EffectsStarved: {script: func(r *rig) {
		r.starve = func(_ *Process, at GateStep) time.Duration {
			if at == BeforeEffect {
				return beat
			}
			return 0
		}
		r.move("n2")
		r.pass(2 * beat)
	}},
	LockWaits: {setup: setup{ungated: true}, script: func(r *rig) {
		r.stuckAndKilled()
		r.await("n3 starts again", func() bool { return r.Process("n3") != nil })
	}},
	OrphansEnded: {setup: setup{hooks: true}, script: func(r *rig) {
		r.hook = func(*Process, Effect) Outcome { return Outcome{Hang: true} }
		r.move("n2")
		r.pass(20 * ms)
		r.Process("n3").Kill()
		r.Launch("n3")
		r.pass(20 * ms)
	}},
	ListedReleased: {setup: setup{hooks: true}, script: func(r *rig) { r.Process("n3").Kill(); r.Launch("n3") }},
	LateAlives: {setup: setup{hooks: true, guard: true}, script: func(r *rig) {
		r.slowAlive(Outcome{Took: 200 * ms, Fork: 200 * ms}) // which no guard waits for
		r.Process("n3").Kill()
		r.await("n2 has it", r.has("n2"))
		r.pass(ttl)
	}},
	GuardKills:   {setup: setup{guard: true}, script: func(r *rig) { r.Process("n3").guard.Kill() }},
	GuardFreezes: {setup: setup{guard: true}, script: func(r *rig) { r.Process("n3").guard.Freeze(2 * guardAnswer); r.pass(2 * guardAnswer) }},
	GuardsStarved: {setup: setup{guard: true}, script: func(r *rig) {
		r.starve = func(_ *Process, at GateStep) time.Duration {
			if at == BeforeAct {
				return ms
			}
			return 0
		}
		r.Process("n3").Kill()
		r.pass(beat)
	}},
	PipesClosed: {setup: setup{guard: true}, script: func(r *rig) { r.adversary().closePipe(); r.pass(beat) }},
	Guards:      {setup: setup{guard: true}},
	GuardWaits: {setup: setup{guard: true, hooks: true}, script: func(r *rig) {
		r.Process("n3").guard.Kill()
		r.move("n2")
		r.await("n2 has it", r.has("n2"))
	}},
	KillsByGuard:  {setup: setup{guard: true}, script: func(r *rig) { r.Process("n3").Freeze(time.Second); r.pass(time.Second) }},
	GuardRemoves:  {setup: setup{guard: true}, script: func(r *rig) { r.Process("n3").Kill(); r.pass(beat) }},
	GuardDowns:    {setup: setup{guard: true, hooks: true}, script: func(r *rig) { r.Process("n3").Kill(); r.pass(beat) }},
	GuardGoodbyes: {setup: setup{guard: true}, script: func(r *rig) { r.Process("n3").Kill(); r.pass(beat) }},
	GuardExits:    {setup: setup{guard: true}, script: func(r *rig) { r.Process("n3").Kill(); r.pass(ttl) }},
	ListedAdopted: {setup: setup{guard: true, hooks: true, guarantee: fsm.AtLeastOne}, script: func(r *rig) {
		r.Process("n3").Kill()
		r.Launch("n3")
		r.pass(ttl)
	}},
	BetsLost: {setup: betting, script: func(r *rig) {
		r.Process("n3").guard.Kill()
		r.Process("n3").Kill()
		r.await("n2 has it", r.has("n2"))
	}},
	Starved:     {script: func(r *rig) { r.starved(BeforeFuse, 20*ms) }},
	GateRefused: {script: func(r *rig) { r.starved(BeforeCall, 20*ms) }},
	GateWaits: {script: func(r *rig) {
		r.releasesFail("n3")
		r.lapse("n3")
		r.pass(beat)
	}},
	CarriersLost: {script: func(r *rig) { r.SetCarrier(r.Process("n3").Machine(), false) }},
	ReportsUnfit: {script: func(r *rig) { r.SetCarrier(r.Process("n3").Machine(), false); r.pass(beat) }},
	ReportsMended: {script: func(r *rig) {
		r.SetCarrier(r.Process("n3").Machine(), false)
		r.pass(beat)
		r.SetCarrier(r.Process("n3").Machine(), true)
		r.pass(beat)
	}},
	AddressesRefreshed: {setup: setup{ungated: true}},
	AddressesExpired:   {setup: setup{ungated: true}, script: func(r *rig) { r.Process("n3").Kill(); r.pass(4 * time.Second) }},
	AddressesSwept:     {setup: setup{ungated: true}, script: func(r *rig) { r.Process("n3").Kill(); r.Launch("n3") }},
	BetsWon: {setup: setup{ungated: true}, script: func(r *rig) {
		r.Process("n3").Kill()
		r.await("n2 has it", r.has("n2"))
	}},
	GateShut:      {script: func(r *rig) { r.Process("n3").Kill(); r.pass(2 * ttl) }},
	SpecGuarantee: {script: func(r *rig) { r.adversary().guarantee() }},
	SpecTTL:       {script: func(r *rig) { r.adversary().ttl() }},
	ItemsRemoved:  {script: func(r *rig) { r.adversary().items() }},
	ItemsAdded:    {script: func(r *rig) { a := r.adversary(); a.items(); r.pass(20 * ms); a.items() }},
	SpecReplicas:  {setup: setup{hooks: true}, script: func(r *rig) { r.adversary().replicas() }},
	SpecPrefer:    {script: func(r *rig) { r.adversary().prefer() }},
	Cleanups:      {script: func(r *rig) { r.adversary().cleanup(); r.pass(beat) }},
	RanksRaised: {setup: copied, script: func(r *rig) {
		r.rank(1, "n2")
		r.swap(fsm.Move{Key: second, Was: r.token(second)}, fsm.Move{Key: item, Was: r.token(item), To: "n2"})
		r.await("n2 has it", r.has("n2"))
	}},
	RanksLowered: {setup: copied, script: func(r *rig) {
		r.swap(fsm.Move{Key: item, Was: r.token(item), To: "n2"}, fsm.Move{Key: second, To: "n3"})
		r.await("n3 has the second", r.hasRank(1, "n3"))
	}},
	SystemsBraked: {setup: braking, script: func(r *rig) { r.loseBoth() }},
	MovesBraked: {setup: braking, script: func(r *rig) {
		r.loseBoth()
		r.Commit(fsm.Assign{Moves: []fsm.Move{{Key: item, Was: r.slot().Token, To: "n2"}}})
		r.pass(beat)
	}},
	ItemsBraked: {setup: setup{hooks: true, brake: true}, script: func(r *rig) {
		r.hook = func(_ *Process, e Effect) Outcome { return Outcome{Took: ms, Fail: e.Kind == actions.Acquire} }
		r.Commit(fsm.Assign{
			Moves: []fsm.Move{{Key: item, Was: r.slot().Token, To: "n2", Cause: fsm.CauseFailed}},
			At:    r.Now().Milliseconds(),
		})
		r.await("it stays with n2", func() bool { return r.Agreed().Braked(item) })
	}},
	Forces: {setup: setup{hooks: true}, script: func(r *rig) {
		r.Process("n3").Kill()
		r.await("n3 is called down", r.owned("n2"))
		r.adversary().force()
		r.await("n2 has it", r.has("n2"))
	}},
	Leaves: {script: func(r *rig) { r.Process("n3").Stop(nil); r.pass(2 * beat) }},
	RegistrationsRefused: {script: func(r *rig) {
		r.Commit(fsm.Register{Member: "n3", Nonce: fsm.Nonce{1}, Process: fsm.Nonce{1}, Replaces: 1})
		r.pass(beat)
	}},
	Overdue: {script: func(r *rig) { // it is heard, and hears nothing
		r.cut("n1", "n3")
		r.cut("n2", "n3")
		r.Process("n3").Kill()
		r.Launch("n3")
		r.pass(2*ttl + 2*time.Second) // in vain: then it waits a second
	}},
	Downs: {script: func(r *rig) { r.Process("n3").Kill(); r.await("down", r.owned("n2")) }},
	DownsByVote: {script: func(r *rig) {
		r.Process("n3").Kill()
		r.await("down", r.owned("n2"))
	}},
	DownsByGoodbye: {script: func(r *rig) { r.Process("n3").Stop(nil); r.await("down", r.owned("n2")) }},
	DownsRefused: {script: func(r *rig) {
		m, _ := r.Agreed().Member("n3")
		r.Commit(fsm.Down{Member: "n3", Epoch: m.Epoch, Voters: 999})
		r.pass(beat)
	}},
	MovesDropped: {script: func(r *rig) {
		r.Commit(fsm.Assign{Moves: []fsm.Move{{Key: item, Was: 999, To: "n2"}}})
		r.pass(beat)
	}},
	Polls:     {script: func(r *rig) { r.cut("n3", "n1"); r.pass(4 * beat) }},
	Ballots:   {script: func(r *rig) { r.Process("n3").Kill(); r.pass(2 * slack) }},
	HeldPolls: {script: func(r *rig) { r.Process("n3").Kill(); r.pass(2 * slack) }},
	Refusals:  {script: func(r *rig) { r.Process("n2").Kill(); r.Launch("n2"); r.pass(beat * 3) }},
	Promises: {script: func(r *rig) {
		r.restart("n3")
		r.slowBallots("n2", 200*ms)
		r.await("n2 votes", func() bool { return r.Count[Ballots] > 0 })
		r.heal("n3", "n2")
		r.pass(2 * beat)
	}},
	Lapses:          {script: func(r *rig) { r.cut("n3", "n1", "n2"); r.pass(2 * ttl) }},
	Releases:        {script: func(r *rig) { r.move("n2"); r.pass(beat) }},
	ReportsReleased: {script: func(r *rig) { r.move("n2"); r.pass(2 * beat) }},
	ReportsSwept: {setup: setup{hooks: true}, script: func(r *rig) {
		r.Process("n3").Kill()
		r.await("n3 is called down", r.owned("n2"))
		r.Launch("n3")
		r.await("n2 has it", r.has("n2"))
	}},
	ReportsFailed: {script: func(r *rig) {
		r.hook = func(_ *Process, e Effect) Outcome { return Outcome{Took: ms, Fail: e.Kind == actions.Acquire} }
		r.move("n2")
		r.await("n2 gives up", func() bool { _, ok := r.Agreed().FailureOf("n2", item); return ok })
	}},
	Settles: {script: func(r *rig) { r.takeOver(); r.pass(4 * ttl) }},
	Goodbyes: {script: func(r *rig) {
		gone := false
		r.Process("n3").Stop(func() { gone = true })
		r.await("n3 exits", func() bool { return gone })
	}},
	VoterChanges: {script: func(r *rig) { r.log.append(entry{voters: r.Agreed().Voters().IDs[:2]}, nil); r.pass(beat) }},
	Superseded:   {script: func(r *rig) { r.takeOver(); r.pass(ttl) }},
	TakeOvers: {script: func(r *rig) {
		// n1 leads, says goodbye, and cannot commit it: its log hangs.
		r.Stall(time.Second)
		p := r.Process("n1")
		p.do(func() { p.live.Goodbye(p.machine.Now(), nil) })
		r.pass(ttl)
	}},
}

// orphan leaves a proposal behind when its leader is deposed, until one of them
// had the fate wanted.
func (r *rig) orphan(survives bool) {
	which := LostCommits
	if survives {
		which = LateCommits
	}
	for range 50 {
		l := r.Leader()
		l.propose(fsm.Encode(fsm.Probe{}), nil)
		next := r.Process("n1")
		if l == next {
			next = r.Process("n2")
		}
		r.Elect(next)
		if r.Count[which] > 0 {
			return
		}
		r.await("it leads", func() bool { return next.leading })
	}
}

// stuckAndKilled kills n3 while its call for the address stands in the kernel, and
// starts it again.
func (r *rig) stuckAndKilled() {
	r.move("n2")
	r.await("n2 has it", r.has("n2"))
	r.hook = func(*Process, Effect) Outcome { return Outcome{Took: ms, Stuck: 100 * ms} }
	r.move("n3")
	r.await("n3 has let go of nothing yet", func() bool { return r.Process("n3").inKernel > 0 })
	r.Process("n3").Kill()
	r.Launch("n3")
	r.pass(200 * ms)
}

// adversary is one that waits for orders.
func (r *rig) adversary() *Adversary { return &Adversary{w: r.World, base: r.cfg.Spec, end: time.Hour} }

// TestCounters: each counter counts, by a script that forces it.
func TestCounters(t *testing.T) {
	for c := range counters {
		t.Run(c.String(), func(t *testing.T) {
			f, ok := forcing[c]
			if !ok {
				f, ok = forcingOnline[c]
				f.setup = comingAndGoing
			}
			if !ok {
				t.Fatal("no script forces it")
			}
			r := newRig(t, f.setup)
			before := r.Count[c]
			if f.script != nil {
				if before != 0 && c != Refusals && c != Polls && c != Releases {
					t.Logf("founding alone counts it %d times", before)
				}
				f.script(r)
				before = r.Count[c] - before
			}
			if before == 0 {
				t.Errorf("never counted\n%s", tail(r.World, 30))
			}
			if err := r.Violation(); err != nil {
				t.Errorf("%v\n%s", err, tail(r.World, 60))
			}
		})
	}
}

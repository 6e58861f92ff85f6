package sim

import (
	"maps"
	"slices"
	"time"

	"github.com/flip-ha/flip/actions/guard"
	"github.com/flip-ha/flip/fsm"
)

// heal ends every fault at one instant and starts whatever does not run.
func (a *Adversary) heal() {
	w := a.w
	w.tracef("all is healed")
	a.slow = false
	for _, l := range w.net.links {
		*l = Link{Min: 200 * time.Microsecond, Max: time.Millisecond}
	}
	clear(w.log.cut)
	clear(w.log.lag)
	w.log.stalledUntil = 0
	for _, p := range slices.Clone(w.procs) {
		if p.Frozen() {
			p.frozenUntil = w.now
			w.After(0, p.thaw)
		}
	}
	for _, g := range slices.Clone(w.guards) {
		if g.Frozen() {
			g.frozenUntil = w.now
			w.After(0, g.thaw)
		}
	}
	for _, m := range w.machines {
		w.SetCarrier(m, true)
	}
	for _, m := range w.names {
		w.PowerOff(m)
		w.Launch(m)
	}
	a.tend()
}

// tend is what people do after the storm: they start what has stopped, and tell
// the cluster which machines are off for good.
func (a *Adversary) tend() {
	for _, m := range a.w.names {
		a.w.Launch(m)
		a.w.fence(m)
	}
	a.w.handOut()
	a.w.release()
	a.w.After(100*time.Millisecond, a.tend)
}

// edit proposes another Spec; apply changes a copy.
func (a *Adversary) edit(apply func(*fsm.Spec) bool) bool {
	old := a.w.checker.newest().Spec()
	spec := *old
	spec.Systems = maps.Clone(old.Systems)
	if !apply(&spec) {
		return false
	}
	a.w.Propose(fsm.SetSpec{Was: old.Version, Spec: spec})
	return true
}

// system draws one that has slots.
func (a *Adversary) system(s *fsm.Spec) (fsm.SystemID, bool) {
	var ids []fsm.SystemID
	for _, id := range slices.Sorted(maps.Keys(s.Systems)) {
		if split := s.Systems[id].Split; split == fsm.Shard || split == fsm.ChooseOne {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return "", false
	}
	return ids[a.w.rng.IntN(len(ids))], true
}

func (a *Adversary) guarantee() {
	done := a.edit(func(s *fsm.Spec) bool {
		id, ok := a.system(s)
		if !ok {
			return false
		}
		sys := s.Systems[id]
		switch {
		case sys.Action != fsm.ActionHooks && a.w.chance(0.5):
			sys = byHooks(sys)
		case sys.Action != a.base.Systems[id].Action:
			base := a.base.Systems[id]
			sys.Action, sys.IP, sys.Items = base.Action, base.IP, base.Items
		default:
			sys.Guarantee = fsm.AtLeastOne + fsm.AtMostOne - sys.Guarantee
			if sys.TakeoverAfter = 0; sys.Guarantee == fsm.AtMostOne && sys.Action == fsm.ActionHooks {
				sys.TakeoverAfter = a.base.Systems[id].TakeoverAfter
			}
		}
		s.Systems[id] = sys
		return true
	})
	if done {
		a.w.Count.add(SpecGuarantee)
	}
}

func (a *Adversary) ttl() {
	done := a.edit(func(s *fsm.Spec) bool {
		t := a.base.Timing
		switch a.w.rng.IntN(3) {
		case 0:
			t.Lease *= 2
		case 1:
			t.Lease = t.Lease * 3 / 4
		}
		s.Timing = t
		return true
	})
	if done {
		a.w.Count.add(SpecTTL)
	}
}

// items removes one, or brings one back.
func (a *Adversary) items() {
	var which Counter
	done := a.edit(func(s *fsm.Spec) bool {
		id, ok := a.system(s)
		if !ok {
			return false
		}
		sys, all := s.Systems[id], a.base.Systems[id].Items
		if sys.Action == fsm.ActionHooks {
			all = byHooks(a.base.Systems[id]).Items
		}
		if len(sys.Items) < len(all) {
			sys.Items, which = all, ItemsAdded
		} else {
			n := a.w.rng.IntN(len(all))
			sys.Items, which = slices.Delete(slices.Clone(all), n, n+1), ItemsRemoved
		}
		s.Systems[id] = sys
		return true
	})
	if done {
		a.w.Count.add(which)
	}
}

// force declares what is outstanding for one slot void.
func (a *Adversary) force() {
	var claims []fsm.Claim
	for slot := range a.w.checker.newest().Slots() {
		for _, e := range slot.Outstanding {
			if e.AtMostOne && !e.Void {
				claims = append(claims, fsm.Claim{Key: slot.Key, Member: e.Member, Epoch: e.Epoch, Token: e.Token})
			}
		}
	}
	if len(claims) > 0 {
		n := a.w.rng.IntN(len(claims))
		a.w.Propose(fsm.Force{Claims: claims[n : n+1]})
	}
}

// Hook is how hooks behave under an adversary.
func (a *Adversary) Hook(p *Process) Outcome {
	w := a.w
	if !a.slow {
		return Outcome{Took: w.between(time.Millisecond, 5*time.Millisecond)}
	}
	o := Outcome{Took: w.between(500*time.Microsecond, 15*time.Millisecond)}
	if w.now < a.broken[p.Name] {
		o.Fail = true
		return o
	}
	switch n := w.rng.IntN(100); {
	case n < 3:
		o.Fail = true
	case n < 4:
		o.Hang = true
	case n < 18:
		o.Took = w.between(0, 2*w.cfg.Spec.Timing.Lease)
	case n < 20:
		o.Took = w.between(0, 3*time.Second)
	case n < 22:
		o.Stuck = w.between(0, stuckMost)
	}
	o.Deaf = w.rng.IntN(10) == 0
	switch w.rng.IntN(60) {
	case 0: // longer than a guard waits
		o.Fork = w.between(0, 4*guard.DeathWait)
	case 1, 2:
		o.Fork = w.between(0, 30*time.Millisecond)
	}
	return o
}

// Starve is how the gate's thread is scheduled under an adversary.
func (a *Adversary) Starve(_ *Process, at GateStep) time.Duration {
	w := a.w
	if at >= BeforeNote {
		if !a.slow || w.rng.IntN(40) != 0 {
			return 0
		}
		return w.between(0, w.cfg.Spec.Timing.Lease)
	}
	switch n := w.rng.IntN(200); {
	case !a.slow || n >= 6:
		return w.between(0, 50*time.Microsecond)
	case n >= 3:
		return w.between(0, 2*gateFuse)
	default:
		return w.between(0, 3*w.cfg.Spec.Timing.Lease)
	}
}

package sim

import (
	"errors"
	"testing"

	"github.com/flip-ha/flip/fsm"
)

// isolate cuts a member from everybody and from the log, or heals that.
func (r *rig) isolate(cut bool, members ...fsm.MemberID) {
	for _, m := range members {
		r.Isolate(m, cut)
	}
}

// equal says whether all members have applied the same index.
func (r *rig) equal() bool {
	for _, m := range r.cfg.Voters {
		p := r.Process(m)
		if p == nil || p.at != r.log.last() {
			return false
		}
	}
	return true
}

func (r *rig) leaseless() bool {
	for _, m := range r.cfg.Voters {
		if p := r.Process(m); p == nil || p.Lease() || p.leading {
			return false
		}
	}
	return true
}

// TestTotalPartition: nobody reaches anybody, and nothing moves: not one hook
// call for an at-least-one item, neither then nor when it heals.
func TestTotalPartition(t *testing.T) {
	r := newRig(t, setup{hooks: true, guarantee: fsm.AtLeastOne})
	r.log.held = false
	before := r.Count
	r.isolate(true, "n1", "n2", "n3")
	r.await("no lease, no leader", r.leaseless)
	r.pass(3 * slack)
	r.isolate(false, "n1", "n2", "n3")
	r.await("equal applied indexes", func() bool { return r.log.leader != nil && r.log.leader.leading && r.equal() })
	r.pass(10 * ttl)
	if err := r.Violation(); err != nil {
		t.Errorf("%v\n%s", err, tail(r.World, 80))
	}
	if calls := r.Count[Acquires] + r.Count[Releases] - before[Acquires] - before[Releases]; calls != 0 {
		t.Errorf("%d hook calls\n%s", calls, tail(r.World, 80))
	}
	if !r.has("n3")() || len(r.Holders(item)) != 1 {
		t.Errorf("held by %v, the log says %+v", r.Holders(item), r.slot())
	}
}

// TestOneIsolated is the control of TestTotalPartition: what the others call
// down moves, and an isolated holder goes on serving.
func TestOneIsolated(t *testing.T) {
	r := newRig(t, setup{hooks: true, guarantee: fsm.AtLeastOne})
	r.isolate(true, "n3")
	r.await("n2 has it", r.has("n2"))
	if got := r.Holders(item); len(got) != 2 {
		t.Errorf("held by %v, want n3 to keep it and n2 to have it", got)
	}
	r.isolate(false, "n3")
	r.await("n3 lets go", func() bool { return len(r.Holders(item)) == 1 && len(r.slot().Outstanding) == 0 })
	if err := r.Violation(); err != nil {
		t.Errorf("%v\n%s", err, tail(r.World, 80))
	}
}

// TestCheckerSeesTwoHolders shows that the checker works: with no exclusivity at
// all, random storms break the promise soon and often.
func TestCheckerSeesTwoHolders(t *testing.T) {
	off := Without{FSM: fsm.RuleOutstanding | fsm.RuleDownSparesUngated | fsm.RuleUnsettled}
	found := 0
	seeds := 30
	if testing.Short() {
		seeds = 12
	}
	for seed := range uint64(seeds) {
		var v *Violation
		if errors.As(storm(seed, false, off).Violation(), &v) && v.Kind == TwoHolders {
			found++
		}
	}
	// In others a gap comes first: what is dropped from the set keeps nothing.
	if found < seeds/4 {
		t.Errorf("two holders in %d of %d seeds without exclusivity", found, seeds)
	}
}

// TestSeedReplays: the same seed is the same run, to the last line.
func TestSeedReplays(t *testing.T) {
	for seed, play := range map[uint64]func(uint64, bool, Without) *World{3: storm, 4: onlineStorm, 5: onlineStorm} {
		a, b := play(seed, true, Without{}), play(seed, true, Without{})
		if len(a.Trace()) < 100 {
			t.Fatalf("only %d lines", len(a.Trace()))
		}
		for i, line := range a.Trace() {
			if i >= len(b.Trace()) || b.Trace()[i] != line {
				t.Fatalf("seed %d: line %d differs:\n%s\n%s", seed, i, line, b.Trace()[min(i, len(b.Trace())-1)])
			}
		}
		if a.Count != b.Count {
			t.Errorf("seed %d: counts differ:\n%s\n%s", seed, &a.Count, &b.Count)
		}
	}
}

// TestChecker feeds the checker with what it must find, and with what it must
// let pass.
func TestChecker(t *testing.T) {
	hold := func(token fsm.Token, atMostOne bool) *Hold {
		return &Hold{Key: item, Token: token, AtMostOne: atMostOne, OK: true}
	}
	for _, tt := range []struct {
		name   string
		a, b   *Hold
		forced fsm.Token // on a
		want   bool
	}{
		{"two of at-most-one", hold(1, true), hold(2, true), 0, true},
		{"the older one forced", hold(1, true), hold(2, true), 1, false},
		{"forced, but held again since", hold(3, true), hold(4, true), 1, true},
		{"two of at-least-one", hold(1, false), hold(2, false), 0, false},
		{"made at-most-one, the other still there", hold(1, false), hold(2, true), 0, true},
		{"made at-least-one, taken over", hold(1, true), hold(2, false), 0, false},
		{"one token, one of them at-most-one", hold(1, true), hold(1, false), 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := New(Config{Voters: Names(3)})
			a, b := w.NewMachine("a"), w.NewMachine("b")
			a.holds[item], b.holds[item] = tt.a, tt.b
			w.checker.forced[machineKey{"a", item}] = tt.forced
			w.checker.held(a, tt.a)
			w.checker.held(b, tt.b)
			if got := w.Violation() != nil; got != tt.want {
				t.Errorf("found %v, want a violation: %v", w.Violation(), tt.want)
			}
		})
	}
}

// TestClock: when is the first instant at which the clock shows a time.
func TestClock(t *testing.T) {
	for _, rate := range []int64{slowest, even, fastest} {
		c := clock{since: 77, start: 12345, rate: rate}
		for local := c.start; local < c.start+5000; local += 7 {
			at := c.when(local)
			if c.at(at) < local || at > c.since && c.at(at-1) >= local {
				t.Fatalf("rate %d: when(%d) = %d shows %d, before it %d", rate, local, at, c.at(at), c.at(at-1))
			}
		}
	}
}

package sim

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// stormed is the cluster that a seed draws: three or five voters, with or
// without the gate, times like `fast` or `lan`.
func stormed(seed uint64) Config {
	n := 3 + 2*int(seed%2)
	ttl := []time.Duration{300, 120, 60, 200}[seed/4%4] * time.Millisecond
	names := Names(n)
	gated := Addresses("gated", 1, fsm.AtMostOne, "g1", "g2")
	bare := Addresses("bare", 2, fsm.AtMostOne, "u1", "u2")
	bare.IP.NoGate = true
	wide := Addresses("wide", 3, fsm.AtLeastOne, "w1")
	one := System("one", fsm.AtMostOne, "o1", "o2")
	one.Split = fsm.ChooseOne
	one.CleanOnStart = false
	all := System("all", fsm.AtLeastOne, "r1")
	all.Split = fsm.Replicate
	once := System("once", fsm.AtMostOne, "a", "b", "c")
	guarded := seed%8 != 7
	if guarded && seed/16%2 == 0 {
		once.TakeoverAfter = safeTakeover(ttl, once)
	}
	least := System("least", fsm.AtLeastOne, "d", "e", "f")
	if seed/32%2 == 1 {
		least.Replicas = 2
	}
	if seed/64%2 == 1 {
		once.Replicas = 2
		once.Items[0].Prefer = names[1:2]
	}
	if seed/128%2 == 1 {
		once.Failback, gated.Failback = fsm.NeverFailback, fsm.NeverFailback
		least.Failback, least.Mature = 2*ttl, ttl
	}
	brake := seed%4 == 1 // of five, so that enough are left to see most of a few lost
	if brake {
		once.NoBrake, least.NoBrake = false, false
	}
	spec := NewSpec(names, ttl, once, least, gated, bare, wide, one, all)
	if brake {
		s := spec.Servers["n4"]
		s.Systems = []fsm.SystemID{"all", "bare", "gated", "one", "wide"}
		spec.Servers["n4"] = s
	}
	if n == 5 {
		s := spec.Servers["n5"]
		s.Role, s.Systems = fsm.RoleArbiter, nil
		spec.Servers["n5"] = s
	}
	return Config{Seed: seed, Voters: names, Spec: spec, Gate: seed/2%2 == 1, Guard: guarded, Drift: true}
}

// storm runs one seed from its beginning to rest.
func storm(seed uint64, trace bool, rules Without) *World {
	return weather(stormed(seed), trace, rules)
}

// weather is a storm over a cluster, until all has come to rest.
func weather(cfg Config, trace bool, rules Without) *World {
	cfg.Trace, cfg.Rules = trace, rules
	var a *Adversary
	cfg.Hook = func(_ *World, p *Process, _ Effect) Outcome { return a.Hook(p) }
	cfg.Starve = func(_ *World, p *Process, at GateStep) time.Duration { return a.Starve(p, at) }
	cfg.Dying = func(w *World) time.Duration { return w.between(500*time.Microsecond, 35*time.Millisecond) }
	w := New(cfg)
	ttl := cfg.Spec.Timing.Lease
	a = w.Torment(min(14*time.Second, 40*ttl))
	w.Boot()
	w.Run(a.end)
	// LEASES.md bounds a down and a rejoin by 3.4 ttl each; then hooks and their
	// retries.
	limit := 8*w.Agreed().MaxTTL() + 5*time.Second
	if w.comesAndGoes() { // changes of voters that are still to come are spaced
		limit += 40 * w.Agreed().MaxTTL()
	}
	if missing := w.Settle(limit); missing != "" {
		w.checker.fail(Stuck, "%s", missing)
	}
	w.Run(w.Now() + 3*ttl)
	w.Compare()
	return w
}

func number(t *testing.T, env string) (uint64, bool) {
	t.Helper()
	s := os.Getenv(env)
	if s == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", env, err)
	}
	return n, true
}

// bulk is many seeds of one kind of storm.
type bulk struct {
	name     string
	storm    func(seed uint64, trace bool, rules Without) *World
	seeds    uint64
	from, to Counter // that must have counted
}

// replay prints what led to a violation.
func (b bulk) replay(t *testing.T, seed uint64) {
	t.Helper()
	w := b.storm(seed, true, Without{})
	lines := w.Trace()
	if n := len(lines); n > 150 && os.Getenv("FLIP_SEED") == "" {
		lines = append([]string{fmt.Sprintf("... %d lines before", n-150)}, lines[n-150:]...)
	}
	t.Errorf("seed %d: %v\n%s\nreplay: FLIP_SEED=%d go test -run '%s$' ./sim", seed, w.Violation(), strings.Join(lines, "\n"), seed, b.name)
}

// run plays the seeds side by side and adds up what they have counted.
func (b bulk) run(t *testing.T) {
	if seed, ok := number(t, "FLIP_SEED"); ok {
		b.replay(t, seed)
		return
	}
	if testing.Short() {
		b.seeds = 50
	}
	if n, ok := number(t, "FLIP_SEEDS"); ok {
		b.seeds = n
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // worlds are small and short-lived
	var mu sync.Mutex
	var sum Counters
	failed := 0
	began := time.Now()
	t.Run("seeds", func(t *testing.T) {
		workers := uint64(runtime.GOMAXPROCS(0))
		for first := range workers {
			t.Run(fmt.Sprintf("from %d", first), func(t *testing.T) {
				t.Parallel()
				for seed := first; seed < b.seeds; seed += workers {
					w := b.storm(seed, false, Without{})
					mu.Lock()
					sum.Sum(&w.Count)
					if w.Violation() != nil {
						failed++
					}
					stop := failed > 3
					mu.Unlock()
					if w.Violation() != nil {
						b.replay(t, seed)
					}
					if stop {
						return
					}
				}
			})
		}
	})
	t.Logf("%d seeds in %v: %s", b.seeds, time.Since(began).Round(time.Millisecond), &sum)
	if b.seeds < 500 || failed > 0 {
		return // too few for what is rare
	}
	for _, c := range sum.Zero() {
		if c >= b.from && c < b.to {
			t.Errorf("%v: never in %d seeds", c, b.seeds)
		}
	}
}

// TestAdversary runs whole clusters through random storms. FLIP_SEEDS sets how
// many, FLIP_SEED replays one.
func TestAdversary(t *testing.T) {
	bulk{name: "TestAdversary", storm: storm, seeds: 5000, from: 0, to: online}.run(t)
}

package e2e

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mono"
	"github.com/flip-ha/flip/e2e/probe"
	"github.com/flip-ha/flip/e2e/results"
)

// The faults whose outage a client sees, by the names in results.json.
const (
	holderCut   = "holder cut"
	leaderCut   = "leader and holder cut"
	carrierLost = "carrier lost"
	stopped     = "SIGTERM"
	plannedMove = "planned move"
	healed      = "heal"
	restarted   = "started again" // no aim: see stopAndStart
)

// aims are for how long a client may be without an answer.
var aims = map[string]map[string]time.Duration{
	"lan": {
		holderCut: 350 * time.Millisecond, leaderCut: 360 * time.Millisecond, carrierLost: 20 * time.Millisecond,
		stopped: 20 * time.Millisecond, plannedMove: 20 * time.Millisecond, healed: 50 * time.Millisecond,
	},
	"fast": {
		holderCut: 65 * time.Millisecond, leaderCut: 150 * time.Millisecond, carrierLost: 20 * time.Millisecond,
		stopped: 20 * time.Millisecond, plannedMove: 20 * time.Millisecond, healed: 50 * time.Millisecond,
	},
}

const (
	// calm is how long the addresses are probed before a fault and after all is
	// well again.
	calm = 300 * time.Millisecond
	// mostRepeats is how often a trial that says nothing is repeated.
	mostRepeats = 2
)

// trials is how often each fault is brought about.
func trials(t *testing.T) int {
	t.Helper()
	s := os.Getenv("FLIP_E2E_TRIALS")
	if s == "" {
		return 3
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("FLIP_E2E_TRIALS is %q", s)
	}
	return n
}

// record adds rows to the file of results, if one is wanted, and judges them.
func record(t *testing.T, rows []results.Result, want []results.Key) {
	t.Helper()
	for _, r := range rows {
		t.Logf("%-5s %-22s %-5s %d trials: median %.1f, worst %.1f, aim %.0f %s", r.Timing, r.Fault, r.Family, r.Trials, r.Median, r.Worst, r.Aim, r.Unit)
	}
	if path := os.Getenv("FLIP_E2E_RESULTS"); path != "" {
		if err := results.Write(path, rows); err != nil {
			t.Error(err)
		}
	}
	if err := results.Check(rows, want, trials(t)); err != nil {
		t.Error(err)
	}
}

func TestNetOutageLan(t *testing.T)  { testOutages(t, "lan") }
func TestNetOutageFast(t *testing.T) { testOutages(t, "fast") }

// testOutages brings about every fault, both families probed in each trial, and
// the wire watched all along.
func testOutages(t *testing.T, timing string) {
	n := newIPNetwork(t, timing, nil)
	o := &outages{ipNetwork: n, timing: timing, seen: map[results.Key][]time.Duration{}}
	n.settled()
	for range trials(t) {
		o.repeated(o.cutAndHeal(holderCut, false))
		o.repeated(o.cutAndHeal(leaderCut, true))
		o.repeated(o.carrier)
		o.repeated(o.stopAndStart)
	}
	var rows []results.Result
	var want []results.Key
	for _, fault := range []string{holderCut, leaderCut, carrierLost, stopped, plannedMove, healed, restarted} {
		for _, family := range []string{"ipv4", "ipv6"} {
			key := results.Key{Fault: fault, Timing: timing, Family: family}
			want = append(want, key)
			if d := o.seen[key]; len(d) > 0 {
				rows = append(rows, results.Of(key, d, aims[timing][fault]))
			}
		}
	}
	record(t, rows, want)
}

// outages collects what the trials of one timing show.
type outages struct {
	*ipNetwork
	timing string
	seen   map[results.Key][]time.Duration
}

// errRepeat means that a trial says nothing, because of the machine.
var errRepeat = errors.New("the trial says nothing")

// repeated makes a trial, and again while it says nothing, at most twice.
func (o *outages) repeated(trial func() error) {
	o.t.Helper()
	for i := 0; ; i++ {
		o.settled()
		err := trial()
		if err == nil {
			return
		}
		if !errors.Is(err, errRepeat) || i == mostRepeats {
			o.t.Fatalf("after %d repeats: %v", i, err)
		}
		o.t.Logf("repeated: %v", err)
	}
}

// phase is a stretch of a trial with one fault.
type phase struct {
	fault    string
	at       mono.Time // of the fault
	from, to mono.Time // what is judged
	controls []*lab.Host
}

// cutAndHeal cuts a host off silently, both networks, and heals it.
func (o *outages) cutAndHeal(fault string, leads bool) func() error {
	return func() error {
		victim := o.leader()
		if !leads {
			victim = o.others(victim)[0]
		}
		return o.trial(victim, fault, healed,
			func() mono.Time { return o.cut(o.CutSilently, lab.Both, victim) },
			func() mono.Time { return o.heal(victim) })
	}
}

// carrier takes the carrier of the service interface away; the cluster network
// stays. With the carrier back the group goes home: a planned move between two
// hosts that are well.
func (o *outages) carrier() error {
	victim := o.others(o.leader())[0]
	done := make(chan struct{})
	defer close(done)
	told, err := victim.CarrierGone(done)
	if err != nil {
		o.t.Fatal(err)
	}
	return o.trial(victim, carrierLost, plannedMove,
		func() mono.Time {
			at := o.cut(o.CutCable, lab.Service, victim)
			o.t.Logf("the kernel of %s told of it %v after the cut was begun", victim.Name, (<-told).Sub(at))
			return at
		},
		func() mono.Time { return o.heal(victim) })
}

// stopAndStart stops a daemon in order and starts it again: its group comes home
// too, while a process starts on cores that all hosts share.
func (o *outages) stopAndStart() error {
	victim := o.others(o.leader())[0]
	return o.trial(victim, stopped, restarted,
		func() mono.Time {
			at := mono.Now()
			o.signal(victim, syscall.SIGTERM)
			if code := o.exit(victim, 30*time.Second); code != 0 {
				o.t.Errorf("%s exited %d", victim.Name, code)
			}
			return at
		},
		func() mono.Time {
			at := mono.Now()
			o.start(victim)
			return at
		})
}

// trial brings a fault about and undoes it, and judges what the client saw.
func (o *outages) trial(victim *lab.Host, fault, undone string, do, undo func() mono.Time) error {
	g := o.heldBy(victim)
	p, w := o.probe(g.addrs()...), o.watch(g.addrs()...)
	waitFor(calm)
	begin := do()
	o.takenOver(settleLimit, victim, g.addrs()...)
	waitFor(calm)
	middle := undo()
	o.eventually(settleLimit, g.id+" back on "+victim.Name, func() error {
		if h := o.holder(g); h != victim {
			return fmt.Errorf("%v holds it", h)
		}
		return o.acquired()
	})
	for _, a := range g.addrs() {
		o.echoed(settleLimit, a, victim)
	}
	waitFor(calm)
	end := mono.Now()
	seen := p.stop()
	r := w.stop(o.network)
	for _, overlap := range r.overlaps() {
		o.t.Error(overlap)
	}
	if blind := r.blind(); blind != "" {
		return fmt.Errorf("%w: %s", errRepeat, blind)
	}
	others := o.others(victim)
	phases := []phase{{fault, begin, begin.Add(-calm / 2), middle, others}}
	if undone != "" {
		phases = append(phases, phase{undone, middle, middle, end, others})
	}
	return o.judge(seen, g, phases)
}

// judge notes the outages of all phases, of both families, or of none.
func (o *outages) judge(seen probed, g group, phases []phase) error {
	found := map[results.Key]probe.Verdict{}
	for _, ph := range phases {
		for i, family := range []string{"ipv4", "ipv6"} {
			v, err := seen.judge(g.addrs()[i], ph.from, ph.to, ph.controls...)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", ph.fault, family, err)
			}
			if v.Repeat != "" {
				return fmt.Errorf("%w: %s, %s: %s", errRepeat, ph.fault, family, v.Repeat)
			}
			found[results.Key{Fault: ph.fault, Timing: o.timing, Family: family}] = v
		}
	}
	at := map[string]mono.Time{}
	for _, ph := range phases {
		at[ph.fault] = ph.at
	}
	for key, v := range found {
		o.seen[key] = append(o.seen[key], v.Outage)
		o.t.Logf("%s: %-22s %s %v (from %v after it was begun; %d lost of %d, %d void)", g.id, key.Fault, key.Family, v.Outage.Round(100*time.Microsecond), v.From.Sub(at[key.Fault]).Round(100*time.Microsecond), v.Lost, v.Sent, v.Void)
	}
	return nil
}

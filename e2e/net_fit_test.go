package e2e

import (
	"fmt"
	"maps"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/gauge"
	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mono"
	"github.com/flip-ha/flip/e2e/results"
)

// fitness knows whether the machine could keep leases. Three hosts share its cores
// and its disk with those who measure, and it may share them with other machines:
// a row beyond its limit says nothing of flip when a daemon's thread has waited for
// a core for longer than the gate has to spare. It is left out then, and said to
// be, unless everything is asked for. Two holders at once have no excuse.
type fitness struct {
	*instrument
	n     *network
	bears time.Duration // the shortest stall that is an excuse
}

// stallsPerLease: a fifth of the lease is what a gate renewed in time has to spare.
const stallsPerLease = 5

// leases are those of the timings.
var leases = map[string]time.Duration{"lan": 300 * time.Millisecond, "fast": 50 * time.Millisecond}

func (n *network) gauged(timing string) *fitness {
	n.t.Helper()
	cfg := gauge.Config{Dir: n.Dir, Priority: lab.DaemonPriority}
	return &fitness{startInstrument(n.t, n.Wires, roleGauge, cfg), n, leases[timing] / stallsPerLease}
}

// excuse says what has stood still since a moment; "": nothing.
func (f *fitness) excuse(since mono.Time) string {
	f.n.t.Helper()
	if full() {
		return ""
	}
	var all []gauge.Stall
	f.ask(&all)
	long := gauge.Since(all, since, f.bears)
	if len(long) == 0 {
		return ""
	}
	worst := slices.MaxFunc(long, func(a, b gauge.Stall) int { return int(a.Len() - b.Len()) })
	return fmt.Sprintf("this machine stood still %d times for %v or more, at worst %s", len(long), f.bears, worst)
}

// excused leaves the test out if there is an excuse for what is wrong.
func (f *fitness) excused(since mono.Time, wrong string) {
	f.n.t.Helper()
	if why := f.excuse(since); why != "" && !f.n.t.Failed() {
		f.n.t.Skipf("not measured: %s; %s", why, wrong)
	}
}

// seenSoFar is a copy that later trials do not alter.
func (m *matrix) seenSoFar() map[results.Key][]time.Duration {
	seen := maps.Clone(m.seen)
	for key := range seen {
		seen[key] = slices.Clip(seen[key])
	}
	return seen
}

// A machine that stands still is an excuse, one that does not is none.
func TestNetGauge(t *testing.T) {
	n := newNetwork(t, "n1")
	f := n.gauged("lan")
	f.bears = time.Second // nothing here does that by itself
	began := mono.Now()
	if why := f.excuse(began); why != "" {
		t.Fatalf("before: %s", why)
	}
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		if err := f.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		waitFor(1200 * time.Millisecond)
	}
	why := f.excuse(began)
	if full() != (why == "") {
		t.Errorf("it stood still: %q", why)
	}
	if why := f.excuse(mono.Now()); why != "" {
		t.Errorf("since then: %s", why)
	}
}

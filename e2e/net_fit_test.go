package e2e

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/gauge"
	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mono"
)

// fitness knows whether the machine could keep leases. Three hosts share its cores
// and its disk with those who measure, and it may share them with other machines: an
// address that is lost once more at a trial's end says nothing of flip when a
// daemon's thread has waited for a core for longer than the gate has to spare. The
// trial is repeated then, as one with void probes is: at most twice, then it fails.
type fitness struct {
	*instrument
	bears time.Duration // the shortest stall that counts
}

// stallsPerLease: a fifth of the lease is what a gate renewed in time has to spare.
const stallsPerLease = 5

// leases are those of the timings.
var leases = map[string]time.Duration{"lan": 300 * time.Millisecond, "fast": 50 * time.Millisecond}

func (n *network) gauged(timing string) *fitness {
	n.t.Helper()
	cfg := gauge.Config{Dir: n.Dir, Priority: lab.DaemonPriority}
	return &fitness{startInstrument(n.t, n.Wires, roleGauge, cfg), leases[timing] / stallsPerLease}
}

// stood says what has stood still since a moment; "": nothing.
func (f *fitness) stood(since mono.Time) string {
	f.t.Helper()
	var all []gauge.Stall
	f.ask(&all)
	long := gauge.Since(all, since, f.bears)
	if len(long) == 0 {
		return ""
	}
	worst := slices.MaxFunc(long, func(a, b gauge.Stall) int { return int(a.Len() - b.Len()) })
	return fmt.Sprintf("this machine stood still %d times for %v or more, at worst %s", len(long), f.bears, worst)
}

// The gauge sees a machine that stands still, and none that does not.
func TestNetGauge(t *testing.T) {
	n := newNetwork(t, "n1")
	f := n.gauged("lan")
	f.bears = time.Second // nothing here does that by itself
	began := mono.Now()
	if what := f.stood(began); what != "" {
		t.Fatalf("before: %s", what)
	}
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		if err := f.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		waitFor(1200 * time.Millisecond)
	}
	if f.stood(began) == "" {
		t.Error("it stood still for 1.2 s, and was not seen to")
	}
	if what := f.stood(mono.Now()); what != "" {
		t.Errorf("since then: %s", what)
	}
}

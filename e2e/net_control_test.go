package e2e

import (
	"fmt"
	"testing"

	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/results"
	"github.com/flip-ha/flip/e2e/watch"
)

// withoutEnv takes protections away from a daemon, which goes on claiming them.
const withoutEnv = "FLIP_TEST_WITHOUT"

// controls are faults under which two hosts answer when nothing but the daemon
// itself lets an address go: the harness must see that.
var controls = []fault{
	{name: "control, no gate, guard and release: SIGSTOP of the daemon", do: stops((*lab.Host).Send)},
	{name: "control, no gate, guard and release: cut from its peers only", do: cutting(silently, lab.Cluster)},
}

// The same harness with gate and guard switched off: two hosts answer, and it
// sees so. What keeps the other tests from seeing any is flip, not a blind
// watcher.
func TestNetWithoutGateAndGuardTwoAnswer(t *testing.T) {
	m := newMatrix(t, "lan", nil, func(n *network) { n.env = append(n.env, withoutEnv+"=gate,guard,release") })
	var rows []results.Result
	var want []results.Key
	for _, f := range controls {
		t.Run(f.name, func(t *testing.T) {
			m.t, m.marks.t = t, t
			m.mend()
			m.settled()
			s := &scene{matrix: m, victim: m.others(m.leader())[0]}
			s.g = m.heldBy(s.victim)
			w := m.watch(s.g.addrs()...)
			waitFor(calm)
			s.begun = f.do(s)
			m.eventually(settleLimit, "another host holds the group too", func() error {
				for _, h := range m.others(s.victim) {
					if have, err := h.Addresses(); err != nil || len(have) == 4 {
						return err
					}
				}
				return fmt.Errorf("it does not")
			})
			waitFor(calm)
			s.continues()
			m.heal(s.victim)
			s.home()
			r := w.stop(m.network)
			for i, family := range families {
				key := results.Key{Fault: f.name, Timing: m.timing, Family: family}
				two := watch.Longest(r.Runs, s.g.addrs()[i])
				if two < calm {
					t.Errorf("%s: the watcher saw two holders for %v only", family, two)
				}
				row := results.Result{Fault: f.name, Timing: m.timing, Family: family, Trials: trials(t), Overlap: milliseconds(two)}
				rows, want = append(rows, row), append(want, key)
			}
		})
	}
	m.t, m.marks.t = t, t
	record(t, rows, want)
}

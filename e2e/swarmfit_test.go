package e2e

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mono"
	"github.com/flip-ha/flip/e2e/results"
)

// A thousand agents, their voters and those who watch have both cores of a small
// machine to themselves, or what is measured is the others' work: mostShared is how
// much of the machine others may take before a figure beyond its limit, or a lease that
// ended, says nothing of flip.
const mostShared = 0.25

// used is what the machine and the swarm have taken of the processors up to a moment.
type used struct {
	at   mono.Time
	busy time.Duration         // all
	own  map[int]time.Duration // the swarm's, and the test's, by process
}

// use looks at the processors.
func (s *swarmCluster) use() used {
	s.t.Helper()
	busy, err := lab.Busy()
	u := used{at: mono.Now(), busy: busy, own: map[int]time.Duration{}}
	pids := []int{os.Getpid(), s.herd.PID()}
	for _, id := range s.running() {
		pids = append(pids, s.procs[id].cmd.Process.Pid)
	}
	for _, pid := range pids {
		cpu, err2 := lab.CPU(pid)
		u.own[pid], err = cpu, errors.Join(err, err2)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return u
}

// shared says how much of the machine others have taken since then, if that was too
// much; "": it was not.
func (s *swarmCluster) shared(since used) string {
	s.t.Helper()
	now := s.use()
	others := now.busy - since.busy
	for pid, cpu := range now.own {
		others -= cpu - since.own[pid]
	}
	share := float64(others) / float64(now.at.Sub(since.at)) / float64(runtime.NumCPU())
	s.t.Logf("others took %.0f %% of the machine", 100*share)
	if share < mostShared {
		return ""
	}
	return fmt.Sprintf("others took %.0f %% of the machine", 100*share)
}

// row notes a figure of what was done since then; aim 0: it is printed and not judged.
// One beyond its limit on a machine that others worked on is left out.
func (s *swarmCluster) row(what, unit string, trials []float64, aim float64, since used) {
	s.t.Helper()
	key := results.Key{Fault: fmt.Sprintf("%d agents: %s", len(s.agents), what), Timing: "1 s"}
	r := results.Figures(key, unit, trials, aim)
	if why := s.shared(since); why != "" && aim > 0 && r.Median > r.Limit() && !full() {
		s.t.Logf("%s: median %.1f %s is beyond %.0f and left out: %s", what, r.Median, unit, r.Limit(), why)
		return
	}
	s.rows = append(s.rows, r)
}

// ended tells of leases that have ended since then: an error, but on a machine that
// others worked on.
func (s *swarmCluster) ended(what string, since used) {
	s.t.Helper()
	if why := s.shared(since); why != "" && !full() {
		s.t.Logf("%s, and %s", what, why)
		return
	}
	s.t.Error(what)
}

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mark"
	"github.com/flip-ha/flip/e2e/mono"
	"github.com/flip-ha/flip/e2e/results"
)

// bets is a system of hooks like jobs with a bet on time: after betAfter, above
// the smallest safe value for its stop_timeout, others take over.
const (
	bets     = "bet"
	betAfter = 6 * time.Second
)

// wager is a fault, and whether it breaks what a bet assumes: that the guard
// lives and that `down` succeeds.
type wager struct {
	name   string
	broken bool
	do     func(*scene) mono.Time
}

var wagers = []wager{
	{name: "bet: SIGKILL of the daemon", do: kills((*lab.Host).Send)},
	{name: "bet: SIGSTOP of the daemon", do: stops((*lab.Host).Send)},
	{name: "bet: silent cut", do: cutting(silently, lab.Both)},
	{name: "bet: SIGKILL of daemon and guard", broken: true, do: kills((*lab.Host).SignalBoth)},
	{name: "bet: SIGKILL of the daemon, down fails", broken: true, do: func(s *scene) mono.Time {
		s.downFails()
		return kills((*lab.Host).Send)(s)
	}},
}

// Both sides of the line: with a bet an item of hooks comes up elsewhere in time,
// and is alive twice only where guard or `down` did not do what the bet was on.
// Without a bet it is never alive twice, and waits as long as it must.
func TestNetBetsOnHooks(t *testing.T) {
	m := newMatrix(t, "lan", func(s spec) {
		with := hookSystem()
		with["takeover_after"], with["stop_timeout"] = betAfter.String(), "1s"
		s["cluster"].(spec)["system"].(spec)[bets] = with
		for _, one := range s["servers"].(spec) {
			one.(spec)["systems"] = []string{"vip", jobs, bets}
		}
	})
	var rows []results.Result
	var want []results.Key
	for _, w := range wagers {
		t.Run(w.name, func(t *testing.T) {
			m.t, m.marks.t = t, t
			took, two := m.wager(w)
			key := results.Key{Fault: w.name, Timing: m.timing}
			row := results.Of(key, []time.Duration{took}, 0)
			row.Twice = milliseconds(two)
			rows, want = append(rows, row), append(want, key)
		})
	}
	m.t, m.marks.t = t, t
	record(t, rows, want)
}

// wager brings a fault about. It returns how long it took until the victim's item
// of the system with the bet was alive elsewhere, and for how long twice.
func (m *matrix) wager(w wager) (took, two time.Duration) {
	m.t.Helper()
	m.mend()
	m.settled()
	s := &scene{matrix: m, victim: m.others(m.leader())[0]}
	defer s.cleanUp()
	item := m.heldItem(bets, s.victim)
	s.begun = w.do(s)
	var next mark.Life
	m.eventually(3*betAfter, bets+" "+item+" alive elsewhere", func() error {
		for _, l := range m.marks.report() {
			if l.System == bets && l.Item == item && l.Host != s.victim.Name && l.Lives {
				next = l
				return nil
			}
		}
		return fmt.Errorf("it is not")
	})
	waitFor(calm)
	for _, t := range mark.AliveTwice(m.marks.report(), s.begun) {
		switch {
		case t.For <= mark.InFlight:
		case t.A.System == bets && t.A.Item == item && w.broken:
			two = max(two, t.For)
		default:
			m.t.Error(t)
		}
	}
	if w.broken && two == 0 {
		m.t.Errorf("%s %s was not alive twice, although what the bet was on was broken", bets, item)
	}
	s.cleanUp()
	m.mend()
	m.settled()
	return next.From.Sub(s.begun), two
}

// heldItem is the item of a system of hooks that is alive on a host.
func (m *matrix) heldItem(system string, h *lab.Host) string {
	m.t.Helper()
	for _, l := range m.marks.report() {
		if l.System == system && l.Host == h.Name && l.Lives {
			return l.Item
		}
	}
	m.t.Fatalf("%s holds nothing of %s", h.Name, system)
	return ""
}

// downFails has every `down` fail until the scene is cleaned up.
func (s *scene) downFails() {
	s.t.Helper()
	file := filepath.Join(s.marks.dir, mark.DownFails)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.after = append(s.after, func() {
		if err := os.Remove(file); err != nil {
			s.t.Error(err)
		}
	})
}

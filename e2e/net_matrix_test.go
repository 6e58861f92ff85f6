package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mark"
	"github.com/flip-ha/flip/e2e/mono"
	"github.com/flip-ha/flip/e2e/probe"
	"github.com/flip-ha/flip/e2e/results"
	"github.com/flip-ha/flip/e2e/watch"
)

const (
	// calm is how long the addresses are probed before a fault and after all is
	// well again.
	calm = 300 * time.Millisecond
	// mostRepeats is how often a trial that says nothing is repeated.
	mostRepeats = 2
	// jobs is the system of hooks beside the addresses.
	jobs = "job"
)

// fault is a row of the matrix: what is done to a host that holds one group of
// addresses and one item of hooks, and what comes of it.
type fault struct {
	name   string
	leader bool // is done to the leader's host; else to another
	aim    aim
	core   bool // belongs to the short list
	do     func(*scene) mono.Time
	// over waits until the fault has had its effect; nil: until another host
	// answers for the group.
	over func(*scene)
	undo func(*scene) mono.Time // nil: nothing but a start of what has ended
	// undone names the row of the outage from undo on; "": it is the fault's own.
	undone string
	// alsoCut: the next host is no control either.
	alsoCut bool
}

// aim is for how long a client may be without an answer, by timing; a timing
// without one is printed and not judged.
type aim map[string]time.Duration

func aims(lan, fast time.Duration) aim {
	return aim{"lan": lan * time.Millisecond, "fast": fast * time.Millisecond}
}

// undoneAims are those of the rows of undoing.
var undoneAims = map[string]aim{healed: aims(50, 50), plannedMove: aims(20, 20)}

// The rows of undoing. The return to a daemon that is started, on cores that all
// hosts share, has no aim.
const (
	healed      = "heal"
	plannedMove = "planned move"
	restarted   = "started again"
)

// matrix is a network of addresses and hooks that faults are brought about in,
// one after the other, and what was seen.
type matrix struct {
	*ipNetwork
	timing string
	marks  *marks
	fit    *fitness
	seen   map[results.Key][]time.Duration
	two    map[results.Key]time.Duration // the longest that two hosts answered
	twice  map[string]time.Duration      // by fault: the longest that two of an item's processes were alive
	done   []fault
}

// newMatrix starts three hosts that hold one group and one item each; change, if
// any, changes the configuration.
func newMatrix(t *testing.T, timing string, change func(spec), prepare ...func(*network)) *matrix {
	t.Helper()
	m := &matrix{
		ipNetwork: &ipNetwork{newNetwork(t, "n1", "n2", "n3"), groups(3)}, timing: timing,
		seen: map[results.Key][]time.Duration{}, two: map[results.Key]time.Duration{}, twice: map[string]time.Duration{},
	}
	for _, f := range prepare {
		f(m.network)
	}
	m.marks = newMarks(m.network)
	m.fit = m.gauged(timing)
	var data []any
	for _, g := range m.groups {
		data = append(data, g.data())
	}
	s := ipSpec(timing, data...)
	// Each lapse of a lease of 50 ms would start processes, on the cores that all
	// hosts share, until the next leases lapse for want of them.
	if timing != "fast" {
		for _, h := range m.Hosts {
			s["servers"].(spec)[h.Name] = spec{"systems": []string{"vip", jobs}}
		}
		s["cluster"].(spec)["system"].(spec)[jobs] = hookSystem()
	}
	if change != nil {
		change(s)
	}
	m.configure(s)
	m.start()
	m.settled()
	return m
}

// hookSystem is an at-most-one system of markers, one for each host.
func hookSystem() spec {
	return spec{
		"type": "shard", "guarantee": "at-most-one", "alive": "mark_up", "down": "mark_down",
		"start_timeout": "5s", "stop_timeout": "5s", "data": []string{"one", "two", "three"},
	}
}

// scene is one trial.
type scene struct {
	*matrix
	victim *lab.Host
	g      group
	trial  int
	begun  mono.Time
	guard  int // the victim's, before the fault; 0: none
	ice    *lab.Freezer
	after  []func() // run before all is to be well again
}

// run brings each fault about, in a subtest of its own.
func (m *matrix) run(faults []fault) {
	parent := m.t
	defer func() { m.t, m.marks.t, m.fit.t = parent, parent, parent }()
	for _, f := range faults {
		parent.Run(f.name, func(t *testing.T) {
			m.t, m.marks.t, m.fit.t = t, t, t
			m.done = append(m.done, f)
			defer func() {
				if t.Skipped() {
					m.done = m.done[:len(m.done)-1]
				}
			}()
			for i := 0; i < trials(t) || i < secondThoughts && m.beyond(f); i++ {
				m.repeated(func() error { return m.play(f, i) })
			}
		})
	}
}

// errRepeat means that a trial says nothing, because of the machine.
var errRepeat = errors.New("the trial says nothing")

// repeated makes a trial, and again while it says nothing, at most twice.
func (m *matrix) repeated(trial func() error) {
	m.t.Helper()
	for i := 0; ; i++ {
		m.mend()
		m.settled()
		err := trial()
		if err == nil {
			return
		}
		if !errors.Is(err, errRepeat) || i == mostRepeats {
			m.t.Fatalf("after %d repeats: %v", i, err)
		}
		m.t.Logf("repeated: %v", err)
	}
}

// mend undoes what a trial that failed may have left.
func (m *matrix) mend() {
	m.t.Helper()
	m.heal(m.Hosts...)
	for _, h := range m.Hosts {
		if h.Running() {
			_, _ = h.SignalBoth(syscall.SIGCONT)
		} else {
			m.start(h)
		}
	}
}

// play brings a fault about and undoes it, and judges what the client, the wire
// and the hooks saw.
func (m *matrix) play(f fault, trial int) error {
	m.t.Helper()
	s := &scene{matrix: m, victim: m.leader(), trial: trial}
	if !f.leader {
		s.victim = m.others(s.victim)[0]
	}
	s.g = m.heldBy(s.victim)
	s.guard, _ = s.victim.Guard()
	began := mono.Now()
	p, w := m.probe(s.g.addrs()...), m.watch(s.g.addrs()...)
	waitFor(calm)
	defer s.cleanUp()
	s.begun = f.do(s)
	if f.over != nil {
		f.over(s)
	} else {
		m.takenOver(settleLimit, s.victim, s.g.addrs()...)
	}
	waitFor(calm)
	middle := mono.Now()
	if f.undo != nil {
		middle = f.undo(s)
	}
	s.cleanUp()
	s.home()
	waitFor(calm)
	end := mono.Now()
	seen := p.stop()
	r := w.stop(m.network)
	for _, overlap := range r.overlaps() {
		m.t.Error(overlap)
	}
	m.hooks(f, began)
	if blind := r.blind(); blind != "" {
		return fmt.Errorf("%w: %s", errRepeat, blind)
	}
	phases := []phase{{f.name, f.aim[m.timing], s.begun, s.begun.Add(-calm / 2), end}}
	if f.undone != "" {
		phases[0].to = middle
		phases = append(phases, phase{f.undone, undoneAims[f.undone][m.timing], middle, middle, end})
	}
	return s.judge(seen, r, f, phases)
}

func (s *scene) cleanUp() {
	for _, f := range s.after {
		f()
	}
	s.after = nil
}

// home waits until the group is back where it was; a daemon that has ended is
// started, as systemd would.
func (s *scene) home() {
	s.t.Helper()
	s.eventually(settleLimit, s.g.id+" back on "+s.victim.Name, func() error {
		for _, h := range s.Hosts {
			if !h.Running() {
				s.start(h)
			}
		}
		if h := s.holder(s.g); h != s.victim {
			return fmt.Errorf("%v holds it", h)
		}
		return s.acquired()
	})
	s.forget()
	for _, a := range s.g.addrs() {
		s.echoed(settleLimit, a, s.victim)
	}
}

// hooks judges what was alive since a moment.
func (m *matrix) hooks(f fault, since mono.Time) {
	m.t.Helper()
	lives := m.marks.report()
	worst := time.Duration(0)
	for _, two := range mark.AliveTwice(lives, since) {
		worst = max(worst, two.For)
		if two.For > mark.InFlight {
			m.t.Error(two)
		}
	}
	if back := mark.TokensGoBack(lives); back != "" {
		m.t.Error(back)
	}
	m.twice[f.name] = max(m.twice[f.name], worst)
}

// phase is a stretch of a trial with one fault.
type phase struct {
	row      string
	aim      time.Duration // 0: what is not judged need not be repeated either
	at       mono.Time     // of the fault
	from, to mono.Time     // what is judged
}

// judge notes the outages of all phases, of both families, or of none.
func (s *scene) judge(seen probed, r report, f fault, phases []phase) error {
	controls := s.others(s.victim)
	if f.alsoCut {
		controls = controls[1:]
	}
	found := map[results.Key]probe.Verdict{}
	began := map[string]mono.Time{}
	for _, ph := range phases {
		began[ph.row] = ph.at
		for i, family := range families {
			v, err := seen.judge(s.g.addrs()[i], ph.from, ph.to, controls...)
			if errors.Is(err, probe.ErrNotRecovered) {
				if what := s.fit.stood(ph.from); what != "" {
					return fmt.Errorf("%w: %s, %s: %w, and %s", errRepeat, ph.row, family, err, what)
				}
			}
			if err != nil {
				return fmt.Errorf("%s, %s: %w", ph.row, family, err)
			}
			if v.Repeat != "" && ph.aim > 0 {
				return fmt.Errorf("%w: %s, %s: %s", errRepeat, ph.row, family, v.Repeat)
			}
			found[results.Key{Fault: ph.row, Timing: s.timing, Family: family}] = v
		}
	}
	for key, v := range found {
		s.seen[key] = append(s.seen[key], v.Outage)
		s.t.Logf("%s: %s %s: %v in %d; %d lost of %d, %d void%s", s.g.id, key.Fault, key.Family, v.Outage.Round(100*time.Microsecond),
			v.Times, v.Lost, v.Sent, v.Void, when(v, began[key.Fault]))
	}
	for i, family := range families {
		key := results.Key{Fault: f.name, Timing: s.timing, Family: family}
		s.two[key] = max(s.two[key], watch.Longest(r.Runs, s.g.addrs()[i]))
	}
	return nil
}

// when says from when to when something was lost.
func when(v probe.Verdict, began mono.Time) string {
	if v.Times == 0 {
		return ""
	}
	return fmt.Sprintf(", from %v to %v after it was begun", v.From.Sub(began).Round(100*time.Microsecond), v.To.Sub(began).Round(100*time.Microsecond))
}

var families = []string{"ipv4", "ipv6"}

// marks are the hooks' markers and their monitor.
type marks struct {
	*instrument
	dir string
}

// newMarks starts the monitor and puts the hooks where daemons find them.
func newMarks(n *network) *marks {
	n.t.Helper()
	dir := filepath.Join(n.Dir, "marks")
	if err := os.Mkdir(dir, 0o700); err != nil {
		n.t.Fatal(err)
	}
	for name, script := range map[string]string{"mark_up": mark.Alive, "mark_down": mark.Down} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700); err != nil {
			n.t.Fatal(err)
		}
	}
	n.env = append(n.env, "PATH="+dir+":"+os.Getenv("PATH"), mark.DirEnv+"="+dir, mark.MarkerEnv+"="+os.Args[0])
	cfg := mark.Config{Socket: filepath.Join(dir, mark.SocketEnd)}
	return &marks{startInstrument(n.t, n.Client.Space, roleMarks, cfg), dir}
}

// report is who was alive when, until now.
func (m *marks) report() []mark.Life {
	m.t.Helper()
	var lives []mark.Life
	m.ask(&lives)
	return lives
}

package e2e

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mono"
	"github.com/flip-ha/flip/e2e/results"
)

// The faults that the rows of other tests are compared with.
const (
	carrierLost = "cable of the service network cut"
	killed      = "SIGKILL of the daemon"
)

var noOutage = aims(20, 20)

// faults is the matrix. What a client sees of a fault that leads to a takeover
// is a lease and a little more, or less than that if the guard can say goodbye.
var faults = slices.Concat(cuts, deaths, strangers, pressures, doubles)

var cuts = []fault{
	{
		name: "silent cut", aim: aims(350, 65), core: true, undone: healed,
		do: cutting(silently, lab.Both), undo: (*scene).heals,
	},
	{
		name: "silent cut of leader and holder", leader: true, aim: aims(360, 150), core: true, undone: healed,
		do: cutting(silently, lab.Both), undo: (*scene).heals,
	},
	{
		name: "cable cut", aim: aims(350, 65), undone: healed,
		do: cutting((*lab.Lab).CutCable, lab.Both), undo: (*scene).heals,
	},
	{
		name: carrierLost, aim: aims(20, 20), core: true, undone: plannedMove,
		do: (*scene).losesCarrier, undo: (*scene).heals,
	},
	{
		name: "one-way cut: not heard", aim: aims(350, 65), undone: healed,
		do: cutting(unheard, lab.Both), undo: (*scene).heals,
	},
	{
		name: "one-way cut: does not hear", aim: aims(350, 65), undone: healed,
		do: cutting(deaf, lab.Both), undo: (*scene).heals,
	},
	{
		name: "cut from its peers only", aim: aims(350, 65), core: true, undone: healed,
		do: cutting(silently, lab.Cluster), undo: (*scene).heals,
	},
}

var deaths = []fault{
	{name: killed, aim: aims(20, 20), core: true, do: kills((*lab.Host).Send), undone: restarted},
	{name: "SIGKILL of the leader's daemon", leader: true, aim: aims(40, 40), core: true, do: kills((*lab.Host).Send), undone: restarted},
	{name: "SIGKILL of the guard", aim: noOutage, do: kills((*lab.Host).SignalGuard), over: (*scene).otherGuard},
	{name: "SIGKILL of daemon and guard", aim: aims(350, 65), do: kills((*lab.Host).SignalBoth), undone: restarted},
	{
		name: "SIGSTOP of the daemon for 5 s", aim: aims(350, 65),
		do: stops((*lab.Host).Send), undo: (*scene).continues, undone: restarted,
	},
	{
		name: "SIGSTOP of the guard for 5 s", aim: noOutage,
		do: stops((*lab.Host).SignalGuard), over: (*scene).otherGuard, undo: (*scene).continues,
	},
	{
		name: "SIGSTOP of daemon and guard for 5 s", aim: aims(350, 65),
		do: stops((*lab.Host).SignalBoth), undo: (*scene).continues, undone: restarted,
	},
	{name: "SIGTERM", aim: aims(20, 20), core: true, do: (*scene).terminates, undo: (*scene).starts, undone: restarted},
	{name: "restart", do: (*scene).restarts, over: (*scene).nothing},
}

var strangers = []fault{
	{name: "nft flush ruleset", aim: noOutage, do: (*scene).flushesRules, over: (*scene).nothing},
	{name: "ip addr replace by a stranger", aim: noOutage, do: (*scene).replacesAddress, over: (*scene).ownAgain},
	{name: "ip addr del by a stranger", do: (*scene).deletesAddress, over: (*scene).ownAgain},
}

var pressures = []fault{
	{name: "CPU hogs, 4 per core", do: (*scene).hogs, over: func(*scene) { waitFor(2 * time.Second) }},
	{name: "SIGKILL beside CPU hogs", do: func(s *scene) mono.Time { s.hogs(); return kills((*lab.Host).Send)(s) }, undone: restarted},
	{name: "memory short, the hogs killed", do: (*scene).memoryShort, over: (*scene).nothing},
	{name: "memory short, the daemon killed", do: (*scene).killedForMemory, undone: restarted},
}

var doubles = []fault{
	{name: "cut that heals during the takeover", aim: aims(350, 65), do: (*scene).healsMidway, over: (*scene).nothing},
	{
		name: "SIGKILL of a holder that is cut off", aim: aims(350, 65), undone: healed, undo: (*scene).heals,
		do: func(s *scene) mono.Time { s.cut(s.CutSilently, lab.Both, s.victim); return kills((*lab.Host).Send)(s) },
	},
	{
		name: "SIGKILL of a holder while another host is cut off", alsoCut: true,
		do: (*scene).killedAlone, over: (*scene).nobodyHolds, undo: func(s *scene) mono.Time { return s.heal(s.Hosts...) },
	},
}

// The ways to cut.
type cutHow func(*lab.Lab, lab.Networks, ...*lab.Host) (mono.Time, error)

var silently cutHow = (*lab.Lab).CutSilently

func unheard(l *lab.Lab, nets lab.Networks, hosts ...*lab.Host) (mono.Time, error) {
	return l.CutOneWay(lab.Unheard, nets, hosts...)
}

func deaf(l *lab.Lab, nets lab.Networks, hosts ...*lab.Host) (mono.Time, error) {
	return l.CutOneWay(lab.Deaf, nets, hosts...)
}

func cutting(how cutHow, nets lab.Networks) func(*scene) mono.Time {
	return func(s *scene) mono.Time {
		s.t.Helper()
		at, err := how(s.Lab, nets, s.victim)
		if errors.Is(err, lab.ErrUnavailable) {
			s.t.Skipf("this kernel cannot cut so: %v", err)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		return at
	}
}

func (s *scene) heals() mono.Time { return s.heal(s.victim) }

// nothing is to be waited for: home does.
func (s *scene) nothing() {}

// losesCarrier says when the holder's kernel told of it.
func (s *scene) losesCarrier() mono.Time {
	done := make(chan struct{})
	s.after = append(s.after, func() { close(done) })
	told, err := s.victim.CarrierGone(done)
	if err != nil {
		s.t.Fatal(err)
	}
	at := s.cut(s.CutCable, lab.Service, s.victim)
	s.t.Logf("the kernel of %s told of it %v after the cut was begun", s.victim.Name, (<-told).Sub(at))
	return at
}

type signalHow func(*lab.Host, syscall.Signal) (mono.Time, error)

// sent signals the victim's daemon, its guard, or both.
func (s *scene) sent(how signalHow, sig syscall.Signal) mono.Time {
	s.t.Helper()
	at, err := how(s.victim, sig)
	if err != nil {
		s.t.Fatal(err)
	}
	return at
}

func kills(how signalHow) func(*scene) mono.Time {
	return func(s *scene) mono.Time { return s.sent(how, syscall.SIGKILL) }
}

func stops(how signalHow) func(*scene) mono.Time {
	return func(s *scene) mono.Time { return s.sent(how, syscall.SIGSTOP) }
}

// continues has what was stopped go on when its 5 s are over. A guard that went on
// may have killed the daemon, or the daemon its guard.
func (s *scene) continues() mono.Time {
	waitFor(5*time.Second - mono.Now().Sub(s.begun))
	at := mono.Now()
	_, _ = s.victim.SignalBoth(syscall.SIGCONT)
	return at
}

// otherGuard waits until the daemon has another guard.
func (s *scene) otherGuard() {
	s.eventually(20*time.Second, "another guard", func() error {
		now, err := s.victim.Guard()
		if err == nil && now == s.guard {
			err = fmt.Errorf("it is still process %d", now)
		}
		return err
	})
}

func (s *scene) terminates() mono.Time {
	at := s.sent((*lab.Host).Send, syscall.SIGTERM)
	if code := s.exit(s.victim, 30*time.Second); code != 0 {
		s.t.Errorf("%s exited %d", s.victim.Name, code)
	}
	return at
}

func (s *scene) starts() mono.Time {
	at := mono.Now()
	s.start(s.victim)
	return at
}

func (s *scene) restarts() mono.Time {
	at := s.terminates()
	s.start(s.victim)
	return at
}

// flushesRules does what a stranger can to the gate. Whether the kernel keeps
// strangers out is what status says.
func (s *scene) flushesRules() mono.Time {
	before, err := s.victim.GateTables()
	st, err2 := s.status(s.victim)
	if err := errors.Join(err, err2); err != nil {
		s.t.Fatal(err)
	}
	if len(before) == 0 {
		s.t.Fatalf("%s has no gate", s.victim.Name)
	}
	at := mono.Now()
	if err := s.victim.FlushRuleset(); err != nil {
		s.t.Fatal(err)
	}
	if owned := errors.Is(s.victim.DeleteGate(), lab.ErrOwned); owned != st.Node.Gate.Owned {
		s.t.Errorf("the kernel kept a stranger from the tables: %v; status says %v", owned, st.Node.Gate.Owned)
	}
	s.eventually(5*time.Second, "the gate's tables", func() error {
		have, err := s.victim.GateTables()
		if err == nil && !slices.Equal(have, before) {
			err = fmt.Errorf("they are %v, were %v", have, before)
		}
		return err
	})
	return at
}

// replacesAddress makes the group's addresses permanent, as tools do that know
// nothing of flip.
func (s *scene) replacesAddress() mono.Time {
	return s.addr("replace %s/%d dev " + lab.ServiceInterface)
}

func (s *scene) deletesAddress() mono.Time {
	return s.addr("del %s/%d dev " + lab.ServiceInterface)
}

func (s *scene) addr(line string) mono.Time {
	s.t.Helper()
	at := mono.Now()
	var lines []string
	for _, a := range s.g.addrs() {
		lines = append(lines, "addr "+fmt.Sprintf(line, a, a.BitLen()))
	}
	if err := s.victim.Space.IP(lines...); err != nil {
		s.t.Fatal(err)
	}
	return at
}

// ownAgain waits until the group's addresses are as flip plumbs them: with a
// lifetime.
func (s *scene) ownAgain() {
	s.eventually(25*time.Second, "the addresses with a lifetime", func() error {
		for _, a := range s.g.addrs() {
			mortal, err := s.victim.Mortal(a)
			if err == nil && !mortal {
				err = fmt.Errorf("%s is there for ever", a)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// hogs keep all cores busy until the fault is undone.
func (s *scene) hogs() mono.Time {
	at := mono.Now()
	for range hogsPerCore * cores() {
		s.after = append(s.after, s.helper(roleSpin).end)
	}
	return at
}

func TestNetFaultsLan(t *testing.T) {
	m := newMatrix(t, "lan", nil)
	m.run(faults)
	m.record()
}

// With the short timing the short list, unless everything is asked for.
func TestNetFaultsFast(t *testing.T) {
	list := faults
	if !full() {
		list = slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return !f.core })
	}
	m := newMatrix(t, "fast", nil)
	m.run(list)
	m.record()
}

// full reports whether everything is asked for, at whatever time it takes.
func full() bool { return os.Getenv("FLIP_E2E_FULL") != "" }

// trials is how often each fault is brought about.
func trials(t *testing.T) int {
	t.Helper()
	s := os.Getenv("FLIP_E2E_TRIALS")
	if s == "" {
		return 1
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

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

func TestLateCause(t *testing.T) {
	const gap = 120 * time.Millisecond
	for name, test := range map[string]struct {
		t    trouble
		want cause
	}{
		"nothing to be seen":              {trouble{}, causeUnknown},
		"suspended":                       {trouble{slept: time.Hour, continued: true}, causeSuspend},
		"a little sleep explains nothing": {trouble{slept: gap/2 - 1}, causeUnknown},
		"stopped":                         {trouble{continued: true, waited: gap}, causeStopped},
		"starved":                         {trouble{waited: gap / 2, paused: gap, cycles: 1}, causeStarved},
		"waits a little":                  {trouble{waited: gap/2 - 1}, causeUnknown},
		"the collector stops all":         {trouble{paused: gap / 2, cycles: 1}, causeGC},
		"the collector takes the cores":   {trouble{waited: gap / 3, ran: gap, cycles: 1}, causeGC},
		"a collection that cost little":   {trouble{ran: gap / 3, cycles: 1}, causeUnknown},
		"busy with something else":        {trouble{ran: gap}, causeUnknown},
		"paging":                          {trouble{faults: 50, sync: gap}, causePaging},
		"a page":                          {trouble{faults: 1}, causeUnknown},
		"disk":                            {trouble{sync: gap}, causeDisk},
		"a disk that is fast enough":      {trouble{sync: gap / 3}, causeUnknown},
	} {
		if got := test.t.why(gap); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
	for _, c := range []cause{causeSuspend, causeStopped, causeStarved, causeGC, causePaging, causeDisk, causeUnknown} {
		if c.do() == "" {
			t.Errorf("%s: nothing to do", c)
		}
	}
}

func TestVitalsSince(t *testing.T) {
	was := vitals{boot: 10, mono: 5, waited: map[string]time.Duration{"1": 7, "2": 100}, ran: 3, cycles: 1, continued: 1}
	now := vitals{
		boot: 110, mono: 25, waited: map[string]time.Duration{"1": 57, "2": 101, "3": 40}, ran: 9, paused: 4, cycles: 3, faults: 2,
		continued: 2,
	}
	want := trouble{slept: 80, waited: 50, ran: 6, paused: 4, cycles: 2, faults: 2, continued: true}
	if got := now.since(was); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestSchedstat(t *testing.T) {
	for raw, want := range map[string][2]time.Duration{"123 45 6\n": {123, 45}, "0 0 0": {}} {
		if ran, waited, ok := schedstat([]byte(raw)); !ok || ran != want[0] || waited != want[1] {
			t.Errorf("%q: %v %v %v", raw, ran, waited, ok)
		}
	}
	for _, raw := range []string{"", "1 2", "a 2 3", "1 b 3", "1 2 3 4"} {
		if _, _, ok := schedstat([]byte(raw)); ok {
			t.Errorf("%q was read", raw)
		}
	}
	if waited, ran := schedstats("/proc/self/task"); len(waited) == 0 || ran == 0 {
		if _, err := os.Stat("/proc/self/schedstat"); err != nil {
			t.Skip("this kernel has no schedstat")
		}
		t.Errorf("own threads: %v %v", waited, ran)
	}
	if waited, ran := schedstats(filepath.Join(t.TempDir(), "none")); len(waited) != 0 || ran != 0 {
		t.Errorf("nobody's: %v %v", waited, ran)
	}
}

// One line for a bout, one alarm for a minute, and every gap counted.
func TestLateBout(t *testing.T) {
	var out bytes.Buffer
	counted, now := 0, time.Unix(1000, 0)
	timing := func() fsm.Timing { return fsm.Timing{Heartbeat: 50 * time.Millisecond, Lease: 300 * time.Millisecond} }
	l := newLateness(timing, func() { counted++ }, zerolog.New(&out))
	l.now = func() time.Time { return now }
	lines := func() int { return strings.Count(out.String(), "\n") }

	l.late(50 * time.Millisecond) // a gap of just a third
	if len(l.gaps) != 0 || len(l.alarms()) != 0 {
		t.Fatal("a third of the lease is not above it")
	}
	l.late(51 * time.Millisecond)
	if gap := <-l.gaps; gap != 101*time.Millisecond {
		t.Fatalf("a gap of %v", gap)
	}
	l.synced(90 * time.Millisecond)
	for range 5 {
		l.happened(110*time.Millisecond, trouble{})
		now = now.Add(time.Second)
	}
	l.happened(150*time.Millisecond, trouble{waited: time.Second})
	if lines() != 1 || counted != 6 || !strings.Contains(out.String(), string(causeDisk)) {
		t.Errorf("%d lines, %d gaps: %s", lines(), counted, out.String())
	}
	a := l.alarms()
	if len(a) != 1 || !strings.Contains(a[0].What, "6 of this") || !strings.Contains(a[0].What, "150 ms of a lease of 300 ms: starved") {
		t.Errorf("%+v", a)
	}
	now = now.Add(lateAgain)
	l.turn()
	l.turn() // what the disk did is long ago
	l.happened(110*time.Millisecond, trouble{})
	if lines() != 2 || !strings.Contains(out.String(), `"gaps":6`) || strings.Count(out.String(), string(causeDisk)) != 1 {
		t.Errorf("%s", out.String())
	}
	now = now.Add(lateShown + 1)
	if a := l.alarms(); len(a) != 0 {
		t.Errorf("long ago: %+v", a)
	}
	l.happened(110*time.Millisecond, trouble{})
	if a := l.alarms(); len(a) != 1 || !strings.Contains(a[0].What, "1 of this") {
		t.Errorf("%+v", a)
	}
}

// A process that is stopped gets SIGCONT with its first breath.
func TestLateRunSeesTheSignal(t *testing.T) {
	var out bytes.Buffer
	told := make(chan struct{}, 1)
	timing := func() fsm.Timing { return fsm.Timing{Heartbeat: 50 * time.Millisecond, Lease: 300 * time.Millisecond} }
	l := newLateness(timing, func() { told <- struct{}{} }, zerolog.New(&out))
	looked := make(chan struct{}, 1)
	l.look = func() vitals { poke(looked); return vitals{} }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	<-looked // the handler stands
	for deadline := time.After(10 * time.Second); ; {
		if err := syscall.Kill(os.Getpid(), syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		l.late(time.Second)
		<-told
		if b := l.alarms(); len(b) > 0 && strings.Contains(b[0].What, string(causeStopped)) {
			break
		}
		select {
		case <-deadline:
			t.Fatalf("the signal was not seen: %+v", l.alarms())
		default:
		}
		l.mu.Lock()
		l.bout = bout{}
		l.mu.Unlock()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

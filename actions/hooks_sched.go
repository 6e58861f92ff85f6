package actions

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// The policies whose threads run before all ordinary ones; see sched(7).
const (
	schedFIFO     = 1
	schedRR       = 2
	schedDeadline = 6
)

// startOrdinary is os.StartProcess for a program that must not run at this
// process's priority: under SCHED_RR a hook with a loop in it would starve the
// machine, flip's own heartbeats with it. permit is asked last; its error comes
// back as it is.
//
// A child inherits the scheduling of the thread that forks it, and giving up
// priority takes no privilege. So a thread of its own does that, forks, and
// ends: raising it again might be refused.
func startOrdinary(permit func() error, path string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	launch := func() (*os.Process, error) {
		if err := permit(); err != nil {
			return nil, err
		}
		return os.StartProcess(path, argv, attr)
	}
	// Of this thread, as of all: the unit sets it before the program starts.
	now, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return nil, fmt.Errorf("read this process's scheduling: %w", err)
	}
	if !favoured(now) {
		return launch()
	}
	var proc *os.Process
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		plain := unix.SchedAttr{Size: unix.SizeofSchedAttr, Nice: max(now.Nice, 0)}
		if err = unix.SchedSetAttr(0, &plain, 0); err != nil {
			err = fmt.Errorf("give a hook ordinary scheduling: %w", err)
			return
		}
		proc, err = launch()
	}()
	<-done
	return proc, err
}

// favoured reports whether a thread runs before ordinary ones.
func favoured(a *unix.SchedAttr) bool {
	return a.Policy == schedFIFO || a.Policy == schedRR || a.Policy == schedDeadline || a.Nice < 0
}

// ordinaryVictim makes a hook, and the services that it starts, what the kernel may
// end for want of memory: flip and its guard ask to be spared, for themselves alone.
// A hook's first instant passes before that; it has forked nothing by then.
func ordinaryVictim(pid int) {
	own, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil || !strings.HasPrefix(string(own), "-") {
		return
	}
	// To be spared less takes no privilege; one that has ended needs nothing.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("0"), 0o644)
}

package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	wakeCount = 200
	wakeEvery = 5 * time.Millisecond
	schedRR   = 2
)

// WakeUps measures how late this machine wakes a thread that sleeps until a
// point in time, with the real-time priority that the daemon has (0: none).
func WakeUps(ctx context.Context, priority int, t Timing) Finding {
	late, real, err := measureWakeUps(ctx, wakeCount, wakeEvery, priority)
	if err != nil {
		return skip("wake-ups", err.Error())
	}
	return judgeWakeUps(spreadOf(late), real, t)
}

func judgeWakeUps(s spread, real bool, t Timing) Finding {
	how := "with ordinary scheduling"
	if real {
		how = "with real-time scheduling, as the daemon"
	}
	f := Finding{
		Check: "wake-ups", Verdict: OK,
		Found: fmt.Sprintf("p99 %s late, worst %s of %d, %s; heartbeat %s", brief(s.p99), brief(s.max), s.n, how, brief(t.Heartbeat)),
	}
	do := "see who keeps the processors (top, /proc/pressure/cpu; steal in vmstat 1 is the hypervisor's)"
	if !real {
		do = "give the daemon real-time scheduling (CPUSchedulingPolicy=rr in its unit); else " + do
	}
	switch {
	case s.p99 > t.Lease/3:
		f.Verdict, f.Do = Bad, do+": at this rate leases end by themselves"
	case s.p99 > t.Heartbeat || s.max > t.Lease/3:
		f.Verdict, f.Do = Warn, do
	}
	return f
}

// favour gives the calling thread a real-time priority, 0 for none, as far as this
// user may, until back is called: the process's first thread outlives the
// goroutine that is locked to it.
func favour(priority int) (done bool, back func()) {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: schedRR, Priority: uint32(priority)}
	if priority <= 0 || unix.SchedSetAttr(0, &attr, 0) != nil {
		return false, func() {}
	}
	return true, func() {
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr}, 0) // giving up takes no privilege
	}
}

// measureWakeUps sleeps on a thread of its own, which ends with the measurement:
// its priority is nobody else's.
func measureWakeUps(ctx context.Context, n int, every time.Duration, priority int) (late []time.Duration, real bool, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		var back func()
		real, back = favour(priority)
		defer back()
		var now unix.Timespec
		if err = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
			err = os.NewSyscallError("clock_gettime", err)
			return
		}
		next := now.Nano()
		for range n {
			if err = ctx.Err(); err != nil {
				return
			}
			next += every.Nanoseconds()
			at := unix.NsecToTimespec(next)
			for {
				e := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &at, nil)
				if e == nil {
					break
				}
				if !errors.Is(e, unix.EINTR) {
					err = os.NewSyscallError("clock_nanosleep", e)
					return
				}
			}
			if err = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
				err = os.NewSyscallError("clock_gettime", err)
				return
			}
			late = append(late, time.Duration(now.Nano()-next))
			if now.Nano()-next > every.Nanoseconds() {
				next = now.Nano() // one long gap is one, not many
			}
		}
	}()
	<-done
	return late, real, err
}

// Package mono is the one clock of the network lab: CLOCK_MONOTONIC, which all
// processes of a machine share, so that times taken by the prober, the watcher
// and the test can be compared.
package mono

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
)

// Time is nanoseconds of CLOCK_MONOTONIC.
type Time int64

// Now reads the clock.
func Now() Time {
	var ts unix.Timespec
	// It cannot fail: the clock exists and the pointer is good.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return Time(ts.Nano())
}

// FromReal turns a moment of the wall clock, such as a kernel's receive stamp,
// which lies at most a moment back, into a Time.
func FromReal(ns int64) Time { return Now() - Time(time.Now().UnixNano()-ns) }

// Sub is the duration from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Add is the moment d after t.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// SleepUntil blocks this thread until t; it is on time to some 60 us where an
// ordinary timer of the runtime is so to a millisecond. For processes that
// send on a schedule.
func SleepUntil(t Time) {
	ts := unix.NsecToTimespec(int64(t))
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil) == unix.EINTR {
	}
}

// Stamp is when the kernel received what came with these control messages, of a
// socket with SO_TIMESTAMPNS; now, if they do not say.
func Stamp(oob []byte) Time {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return Now()
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
			sec := int64(binary.NativeEndian.Uint64(m.Data))
			return FromReal(sec*int64(time.Second) + int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return Now()
}

package udp

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Boottime is the time since this machine booted, suspends included
// (CLOCK_BOOTTIME): the one clock that leases are counted on. A machine that
// slept through its lease sees so at once.
func Boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Since Linux 2.6.39 it cannot fail; without it no lease can be kept.
		panic(fmt.Sprintf("read CLOCK_BOOTTIME: %v", err))
	}
	return time.Duration(ts.Nano())
}

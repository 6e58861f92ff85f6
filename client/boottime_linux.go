package client

import (
	"time"

	"golang.org/x/sys/unix"
)

// boottime goes on while the machine is suspended, as the daemons' leases do.
func boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // the clock has been there since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}

package sim

import "time"

// Rates of clocks, in thousandths. LEASES.md allows any two clocks to differ by
// 10 %: 1048/953 is just below that.
const (
	slowest = 953
	fastest = 1048
	even    = 1000
)

// clock is one machine's CLOCK_BOOTTIME: it starts near 0 at each boot and runs
// at a rate of its own.
type clock struct {
	since time.Duration // true time at which it showed start
	start time.Duration
	rate  int64
}

// at is what the clock shows at a true time.
func (c clock) at(now time.Duration) time.Duration {
	return c.start + time.Duration(int64(now-c.since)*c.rate/1000)
}

// when is the first true time at which the clock shows local or more.
func (c clock) when(local time.Duration) time.Duration {
	d := int64(local - c.start)
	t := c.since + time.Duration((d*1000+c.rate-1)/c.rate)
	for c.at(t) < local {
		t++
	}
	return t
}

// drift is a random clock for a machine that boots now.
func (w *World) drift() clock {
	c := clock{since: w.now, start: w.between(time.Second, time.Minute), rate: even}
	if w.cfg.Drift {
		switch w.rng.IntN(4) { // extremes find most
		case 0:
			c.rate = slowest
		case 1:
			c.rate = fastest
		default:
			c.rate = slowest + w.rng.Int64N(fastest-slowest+1)
		}
	}
	return c
}

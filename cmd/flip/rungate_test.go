package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// A gate that would never be open is none: leases go up to 30 ms, ticks down to
// HZ=100.
func TestFuseFitsTheTick(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct{ lease, tick, want time.Duration }{
		{50 * ms, 4 * ms, 12 * ms},
		{50 * ms, 1 * ms, 3 * ms},
		{50 * ms, 10 * ms, 0},
		{60 * ms, 10 * ms, 0},
		{30 * ms, 4 * ms, 0},
		{90 * ms, 10 * ms, 30 * ms},
	} {
		fuse, err := fuseFor(c.lease, c.tick)
		if fuse != c.want || (c.want == 0) != errors.Is(err, errCoarseTick) {
			t.Errorf("lease %v, tick %v: fuse %v, %v; want %v", c.lease, c.tick, fuse, err, c.want)
		}
	}
	if fuse, err := gateFuse(fsm.Timing{Lease: 300 * ms}); fuse != 0 || err != nil {
		t.Errorf("a usual lease has the usual fuse: %v, %v", fuse, err)
	}
}

func TestGateName(t *testing.T) {
	long := fsm.MemberID(strings.Repeat("node", 15))
	if got := gateName("n1"); got != "flip-n1" {
		t.Errorf("%q", got)
	}
	if a, b := gateName(long), gateName(long+"2"); len(a) > longestName || a == b {
		t.Errorf("%q and %q", a, b)
	}
}

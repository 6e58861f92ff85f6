package gauge

import (
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/mono"
)

func TestSince(t *testing.T) {
	const ms = mono.Time(time.Millisecond)
	var l log
	for _, s := range []Stall{{Thread, 0, 4 * ms}, {Thread, 10 * ms, 30 * ms}, {Disk, 50 * ms, 56 * ms}, {Disk, 80 * ms, 180 * ms}} {
		l.add(s)
	}
	for _, tt := range []struct {
		since  mono.Time
		length time.Duration
		want   int
	}{
		{0, 0, 3}, // what is too short to count is not kept
		{0, 10 * time.Millisecond, 2},
		{31 * ms, 10 * time.Millisecond, 1},
		{100 * ms, 10 * time.Millisecond, 1}, // it had begun before
		{181 * ms, 0, 0},
		{0, time.Second, 0},
	} {
		if got := Since(l.stalls, tt.since, tt.length); len(got) != tt.want {
			t.Errorf("since %d of %v: %v, want %d", tt.since/ms, tt.length, got, tt.want)
		}
	}
	for range most {
		l.add(Stall{Thread, 200 * ms, 206 * ms})
	}
	if len(l.stalls) != most || l.stalls[0].From != 200*ms {
		t.Errorf("%d are kept, from %v on", len(l.stalls), l.stalls[0])
	}
}

package doctor

import (
	"strings"
	"testing"
	"time"
)

func TestMembers(t *testing.T) {
	well, refused, trip, loss := "", "refused", 20*time.Millisecond, 0.001
	clock := func(d time.Duration) *time.Duration { return &d }
	share := func(x float64) *float64 { return &x }
	for name, tt := range map[string]struct {
		m      Member
		daemon bool
		want   string // verdict and words of each line
	}{
		"well": {
			Member{TCP: &well, UDP: &well, RoundTrip: &trip, Loss: &loss, Clock: clock(-80 * time.Millisecond), Within: time.Millisecond},
			true,
			"ok reachable n2: TCP and UDP at 10.0.0.2:2200\nok link n2: round trip 20 ms, 0.1 % of heartbeats not answered\nok clock n2: 80 ms behind this one, to 1 ms\n",
		},
		"alone":       {Member{TCP: &well}, false, "ok reachable n2: TCP at 10.0.0.2:2200; UDP cannot be asked without the daemon\n"},
		"nobody":      {Member{TCP: &refused}, false, "warn reachable n2: TCP: refused\n"},
		"not yet":     {Member{TCP: &well}, true, "skip reachable n2: UDP: the daemon has not found out yet; ask again in some seconds\n"},
		"both":        {Member{TCP: &refused, UDP: &refused}, true, "bad reachable n2: TCP: refused\nbad reachable n2: UDP: refused\n"},
		"far":         {Member{TCP: &well, UDP: &well, RoundTrip: clock(51 * time.Millisecond)}, true, "ok reachable n2: TCP and UDP at 10.0.0.2:2200\nwarn link n2: round trip 51 ms\n"},
		"too far":     {Member{TCP: &well, UDP: &well, RoundTrip: clock(101 * time.Millisecond), Loss: share(0.02)}, true, "ok reachable n2: TCP and UDP at 10.0.0.2:2200\nbad link n2: round trip 101 ms, 2.0 % of heartbeats not answered\n"},
		"lossy":       {Member{TCP: &well, UDP: &well, Loss: share(0.01)}, true, "ok reachable n2: TCP and UDP at 10.0.0.2:2200\nwarn link n2: 1.0 % of heartbeats not answered\n"},
		"lost":        {Member{TCP: &well, UDP: &well, Loss: share(0), LossFrom: share(0.05)}, true, "ok reachable n2: TCP and UDP at 10.0.0.2:2200\nbad link n2: 0.0 % of heartbeats not answered, 5.0 % of its own lost\n"},
		"clock":       {Member{TCP: &well, UDP: &well, Clock: clock(-1100 * time.Millisecond), Within: 50 * time.Millisecond}, true, "ok reachable n2: TCP and UDP at 10.0.0.2:2200\nwarn clock n2: 1.1 s behind this one, to 50 ms: no lease depends on it, but logs of the two are hard to compare\n"},
		"clock, dull": {Member{TCP: &well, UDP: &well, Clock: clock(1100 * time.Millisecond), Within: 1200 * time.Millisecond}, true, "ok reachable n2: TCP and UDP at 10.0.0.2:2200\nok clock n2: the same as here, as far as can be told (to 1.2 s)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.m.Name, tt.m.Addr = "n2", "10.0.0.2:2200"
			all := Members([]Member{tt.m}, tt.daemon, lan)
			whole(t, all...)
			if got := lines(all); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
	if got := lines(Members(nil, true, lan)); !strings.HasPrefix(got, "skip members") {
		t.Errorf("%s", got)
	}
}

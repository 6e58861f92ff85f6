package sim_test

import (
	"testing"
	"time"
)

// A member that was away for long is served at once when it comes back, also
// when it is the leader's only other voter by then.
func TestRealLongAway(t *testing.T) {
	away := time.Minute
	if testing.Short() {
		away = 15 * time.Second
	}
	for _, alone := range []bool{false, true} {
		bubble(t, 31, 3, rules{}, func(t *testing.T, w *world) {
			w.boot()
			var others []*node
			for _, p := range w.running() {
				if p != w.leader() {
					others = append(others, p)
				}
			}
			w.halt(others[0])
			time.Sleep(away)
			if alone {
				others[1].kill()
			}
			began := time.Now()
			w.start(others[0].name)
			// An election, a new voter's pause (slack), leases and hooks.
			if soon := 2 * time.Second; !w.within(soon, w.settled) {
				t.Fatalf("alone %v: not at rest after %v: %s", alone, soon, w.unfinished())
			}
			t.Logf("alone %v: at rest after %v", alone, time.Since(began))
		})
	}
}

package raftnode

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestStopwatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var syncs, applies []time.Duration
		s := &stopwatch{Measure: Measure{
			Sync:  func(d time.Duration) { syncs = append(syncs, d) },
			Apply: func(d time.Duration) { applies = append(applies, d) },
		}}
		began := time.Now()
		time.Sleep(2 * time.Millisecond)
		s.stored(7, began)
		time.Sleep(3 * time.Millisecond)
		s.applied(6) // written together with 7: counted once, with the last
		s.applied(7)
		s.applied(8) // came by a snapshot
		if len(syncs) != 1 || syncs[0] != 2*time.Millisecond || len(applies) != 1 || applies[0] != 5*time.Millisecond {
			t.Errorf("syncs %v, applies %v", syncs, applies)
		}
		// A new leader overwrites what was never committed.
		s.stored(12, time.Now())
		s.stored(9, time.Now())
		time.Sleep(time.Millisecond)
		s.applied(9)
		if len(applies) != 2 || applies[1] != time.Millisecond {
			t.Errorf("after a cut: %v", applies)
		}
		for i := range uint64(10 * arrivalsKept) {
			s.stored(20+i, time.Now())
		}
		if len(s.arrivals) > arrivalsKept {
			t.Errorf("%d arrivals are kept", len(s.arrivals))
		}
	})
}

package sim_test

import (
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// loseLeader kills the leader, which holds items too, and answers with how long
// it took until others have acquired all that may move; false: not in time.
func (w *world) loseLeader() (time.Duration, bool) {
	w.boot()
	lost := w.leader()
	if w.ownedBy(lost.name) == 0 {
		w.t.Fatal("the leader holds nothing")
	}
	began := time.Now()
	lost.kill()
	ok := w.within(rest, func() bool {
		s, _ := w.newest()
		for slot := range s.Slots() {
			// A hook's item that at most one may hold waits for its dead holder.
			if slot.System != sysMost && (slot.Owner == lost.name || slot.Acquired == 0) {
				return false
			}
		}
		return true
	})
	return time.Since(began), ok
}

// The leader is lost together with what it holds.
func TestRealLeaderLostWithItsItems(t *testing.T) {
	var worst time.Duration
	for seed := range uint64(5) {
		bubble(t, seed, 3+2*int(seed%2), rules{}, func(t *testing.T, w *world) {
			took, ok := w.loseLeader()
			if !ok {
				t.Fatalf("not taken over: %s", w.unfinished())
			}
			worst = max(worst, took)
		})
	}
	// The silence, counted anew by the new leader's first poll at worst, after an
	// election of about three heartbeats of Raft's.
	if most := 3*slack + 500*time.Millisecond; worst > most {
		t.Errorf("took %v, more than %v", worst, most)
	}
	t.Logf("worst: %v", worst)
	bubble(t, 0, 3, rules{blind: true}, func(t *testing.T, w *world) {
		if _, ok := w.loseLeader(); ok {
			t.Error("nobody is ever called down, and yet the items moved")
		}
	})
}

// A dead holder's at-most-one hook waits for its return; control: an executor
// that does not wait for who is outstanding makes two holders.
func TestRealDeadHolder(t *testing.T) {
	for _, left := range []rules{{}, {unblocked: true}} {
		bubble(t, 7, 3, left, func(t *testing.T, w *world) {
			w.boot()
			victim := w.alive("n2")
			w.halt(victim)
			key := fsm.Key{System: sysMost, Item: "i2"}
			w.until(rest, "n2's items have moved", func() bool { return w.ownedBy("n2") == 0 })
			time.Sleep(rest)
			s, _ := w.newest()
			slot, _ := s.Slot(key)
			if left.unblocked {
				if w.violation() == "" {
					t.Error("outstanding holders are ignored and nothing shows it")
				}
				return
			}
			if slot.Acquired != 0 || len(slot.Outstanding) == 0 {
				t.Errorf("a dead holder is passed over: %+v", slot)
			}
			w.start("n2")
			w.until(rest, "the dead holder came back and everything rests", w.settled)
		})
	}
}

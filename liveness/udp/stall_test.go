package udp

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/raftnode"
)

// stalling is a disk whose writes hang on demand.
type stalling struct {
	raft.LogStore
	raft.StableStore
	mu   sync.Mutex
	hang chan struct{} // not nil: writes wait until it is closed
}

func (s *stalling) wait() {
	s.mu.Lock()
	hang := s.hang
	s.mu.Unlock()
	if hang != nil {
		<-hang
	}
}

// stall lets every write hang from now on, until the test ends.
func (s *stalling) stall(t *testing.T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hang := make(chan struct{})
	s.hang = hang
	t.Cleanup(func() { close(hang) })
}

func (s *stalling) StoreLog(l *raft.Log) error    { s.wait(); return s.LogStore.StoreLog(l) }
func (s *stalling) StoreLogs(l []*raft.Log) error { s.wait(); return s.LogStore.StoreLogs(l) }
func (s *stalling) Set(k, v []byte) error         { s.wait(); return s.StableStore.Set(k, v) }
func (s *stalling) SetUint64(k []byte, v uint64) error {
	s.wait()
	return s.StableStore.SetUint64(k, v)
}

// gone reports whether the log shows a member down with nothing left to it.
func gone(state *fsm.State, m fsm.MemberID) bool {
	for slot := range state.Slots() {
		if slot.Owner == m {
			return false
		}
	}
	shown, _ := state.Member(m)
	return !shown.Up
}

// A server whose disk hangs cannot read the log any more: it loses its lease, and
// the others take over. What it owns it holds until then, and grants go on.
func TestStalledDiskOfAnOwner(t *testing.T) {
	for range 3 {
		fit := false
		t.Run("", func(t *testing.T) { fit = stallAnOwner(t) })
		if fit || t.Failed() {
			return
		}
	}
	t.Error("each time this machine held the servers up")
}

// stallAnOwner has the disk of one that does not lead hang; false: another has lost its
// lease too, on a machine that had its endpoint wait for a fifth of it.
func stallAnOwner(t *testing.T) bool {
	s := newServers(t, lan)
	leader := s.leased()
	var owner, other *server
	for _, n := range s.all {
		if n != leader {
			owner, other = n, owner
		}
	}
	owner.disk.stall(t)
	began := time.Now()
	s.until("its lease ends", func() bool { _, ok := owner.beat.Lease(); return !ok })
	lapsed := time.Since(began)
	for _, n := range []*server{leader, other} {
		s.when(n, "it is down", func(state *fsm.State) bool { return gone(state, owner.name) })
		if _, ok := n.beat.Lease(); !ok {
			late := time.Duration(n.late.Load())
			if late > lan.Lease/5 {
				t.Logf("%s has lost its lease, and was late by %v", n.name, late)
				return false
			}
			t.Errorf("%s has lost its lease, and was never later than by %v", n.name, late)
		}
	}
	t.Logf("its lease ended %v after the stall, its items moved after %v", lapsed, time.Since(began))
	// The next commit that it does not read comes with the leader's probe, ttl later
	// its lease ends; it registers once more in vain, which counts as being heard.
	if took := time.Since(began); took < fsm.Slack(lan.Lease) || took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	return true
}

// A leader whose disk hangs keeps its followers quiet until it gives up.
func TestStalledDiskOfTheLeader(t *testing.T) {
	for range 3 {
		led := false
		t.Run("", func(t *testing.T) { led = stallTheLeader(t) })
		if led || t.Failed() {
			return
		}
	}
	t.Error("each time another one led by the time its disk hung")
}

// stallTheLeader has a leader's disk hang; false: on a busy machine it had just lost its
// place, and as a follower it does not give up.
func stallTheLeader(t *testing.T) bool {
	s := newServers(t, lan)
	leader := s.leased()
	leader.disk.stall(t)
	began := time.Now()
	led, err := s.falls(leader)
	if !led {
		return false
	}
	gaveUp := time.Since(began)
	if !errors.Is(err, raftnode.ErrStalled) || gaveUp < 2*time.Second {
		t.Errorf("%v after %v", err, gaveUp)
	}
	// Its daemon's guard ends it, and says goodbye.
	leader.die()
	s.mourn(leader)
	for _, n := range s.all {
		if n != leader {
			s.when(n, "it is down", func(state *fsm.State) bool { return gone(state, leader.name) })
		}
	}
	t.Logf("it gave up %v after the stall, its items moved %v later", gaveUp, time.Since(began)-gaveUp)
	return true
}

// falls waits for what a leader's Node ends with; false: it does not end, and all follow
// another one.
func (s *servers) falls(leader *server) (bool, error) {
	s.t.Helper()
	look, limit := time.NewTicker(50*time.Millisecond), time.NewTimer(30*time.Second)
	defer look.Stop()
	defer limit.Stop()
	others := 0 // looks in a row that found another leader; one that falls is replaced, too
	for {
		select {
		case err := <-leader.fell:
			return true, err
		case <-look.C:
			others++
			for _, n := range s.all {
				if name, _ := n.Leader(); n != leader && (name == "" || name == leader.name) {
					others = 0
				}
			}
			if others > 60 {
				return false, nil
			}
		case <-limit.C:
			s.t.Fatalf("%s does not give up", leader.name)
		}
	}
}

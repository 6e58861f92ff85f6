package raftnode

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// flaky is a transport whose calls fail as long as it is cut.
type flaky struct {
	raft.Transport
	cut atomic.Bool
}

var errCut = errors.New("cut")

func (f *flaky) AppendEntries(raft.ServerID, raft.ServerAddress, *raft.AppendEntriesRequest, *raft.AppendEntriesResponse) error {
	if f.cut.Load() {
		return errCut
	}
	return nil
}

var (
	beatCall = &raft.AppendEntriesRequest{Term: 1}
	logCall  = &raft.AppendEntriesRequest{Term: 1, PrevLogEntry: 7, PrevLogTerm: 1}
)

// replicate makes one failing call of the replication and tells when it is
// answered.
func replicate(t *testing.T, p *patient) <-chan time.Duration {
	t.Helper()
	began, answered := time.Now(), make(chan time.Duration, 1)
	go func() {
		if err := p.AppendEntries("n2", "a:2", logCall, nil); !errors.Is(err, errCut) {
			t.Errorf("answered with %v", err)
		}
		answered <- time.Since(began)
	}()
	return answered
}

func TestPatientWaitsForAHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{}
		f.cut.Store(true)
		p := newPatient(f, 10*time.Second)
		_ = p.AppendEntries("n2", "a:2", beatCall, nil)
		answered := replicate(t, p)
		for range 5 { // away for 5 s, with a heartbeat tried each second
			time.Sleep(time.Second)
			_ = p.AppendEntries("n2", "a:2", beatCall, nil)
			synctest.Wait()
			if len(answered) != 0 {
				t.Fatal("answered while the follower is away: Raft would count it up to a pause of 10 s")
			}
		}
		f.cut.Store(false)
		if err := p.AppendEntries("n3", "a:3", beatCall, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(answered) != 0 {
			t.Fatal("answered by another follower's heartbeat")
		}
		if err := p.AppendEntries("n2", "a:2", beatCall, nil); err != nil {
			t.Fatal(err)
		}
		if got := <-answered; got != 5*time.Second {
			t.Errorf("answered after %v, want at the heartbeat", got)
		}
	})
}

func TestPatientGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{}
		f.cut.Store(true)
		p := newPatient(f, 10*time.Second)
		_ = p.AppendEntries("n2", "a:2", beatCall, nil)
		if got := <-replicate(t, p); got != 10*time.Second {
			t.Errorf("nobody tries any more: answered after %v", got)
		}
		_ = p.AppendEntries("n2", "a:2", beatCall, nil)
		answered := replicate(t, p)
		synctest.Wait()
		p.release()
		p.release()
		if got := <-answered; got != 0 {
			t.Errorf("released: answered after %v", got)
		}
	})
}

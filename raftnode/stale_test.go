package raftnode

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
)

// A candidate with the shorter log that still names the dead leader would refuse the
// other one for ever, and be refused by it.
func TestStaleLeaderIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		dead := w.leader()
		var behind, ahead *testNode
		for _, n := range nodes {
			switch {
			case n == dead:
			case behind == nil:
				behind = n
			default:
				ahead = n
			}
		}
		w.cut(behind, true)
		if _, err := dead.Propose(t.Context(), fsm.Cleanup{}); err != nil {
			t.Fatal(err)
		}
		w.until(time.Second, "the other one has more in its log", func() bool { return ahead.LastIndex() > behind.LastIndex() })
		w.cut(ahead, true)
		if err := w.halt(dead); err != nil {
			t.Fatal(err)
		}
		// What the race leaves: a candidate that names the leader.
		r := behind.raft.Load()
		header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(dead.self), Addr: []byte(dead.addr)}
		if err := behind.trans.TimeoutNow("", behind.addr, &raft.TimeoutNowRequest{RPCHeader: header}, &raft.TimeoutNowResponse{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // it votes for itself
		beat := &raft.AppendEntriesRequest{RPCHeader: header, Term: r.CurrentTerm()}
		if err := behind.trans.AppendEntries("", behind.addr, beat, &raft.AppendEntriesResponse{}); err != nil {
			t.Fatal(err)
		}
		if addr, _ := r.LeaderWithID(); addr != dead.addr || r.State() != raft.Candidate {
			t.Fatalf("it is a %v, and the leader is %q", r.State(), addr)
		}
		w.cut(ahead, false)
		w.cut(behind, false)
		w.until(5*time.Second, "one of the two leads", func() bool { return w.leader() != nil && w.leader() != dead })
	})
}

package server

import (
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// world is a State built by the commands a cluster would commit.
type world struct {
	t  *testing.T
	s  *fsm.State
	at fsm.Index
}

func spec() fsm.Spec {
	return fsm.Spec{
		Timing: fsm.Timing{
			Preset: "lan", Heartbeat: 50 * time.Millisecond, Lease: 300 * time.Millisecond,
			RaftHeartbeat: 100 * time.Millisecond, RaftElection: 100 * time.Millisecond, RaftLease: 50 * time.Millisecond,
		},
		Quorum: 2, RemoveOnFailure: true,
		Servers: map[fsm.MemberID]fsm.Server{
			"n1": {Name: "n1", Addr: "127.0.0.1:2201", Role: fsm.RoleVoter, Systems: []fsm.SystemID{"ip", "log", "one"}},
			"n2": {Name: "n2", Addr: "127.0.0.1:2202", Role: fsm.RoleVoter, Systems: []fsm.SystemID{"ip", "log", "one"}},
			"n3": {Name: "n3", Addr: "127.0.0.1:2203", Role: fsm.RoleArbiter},
		},
		Systems: map[fsm.SystemID]fsm.System{
			"ip":  {Name: "ip", Split: fsm.Shard, Guarantee: fsm.AtLeastOne, Action: fsm.ActionHooks, Alive: "up", Down: "down", Items: []fsm.Item{{ID: "a"}, {ID: "b"}}},
			"log": {Name: "log", Split: fsm.Replicate, Guarantee: fsm.AtLeastOne, Action: fsm.ActionHooks, Alive: "up", Down: "down", Items: []fsm.Item{{ID: "l"}}},
			"one": {Name: "one", Split: fsm.ChooseOne, Guarantee: fsm.AtMostOne, Action: fsm.ActionHooks, Alive: "up", Down: "down", Items: []fsm.Item{{ID: "x"}}},
		},
	}
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, s: fsm.New()}
	w.voters("n1/i", "n2/i", "n3/i")
	w.do(fsm.SetSpec{Cluster: "c1", Spec: spec()})
	return w
}

func (w *world) voters(ids ...fsm.VoterID) {
	w.at++
	w.s = w.s.WithVoters(fsm.Voters{Index: w.at, IDs: ids})
}

// do commits a command that must apply.
func (w *world) do(c fsm.Command) fsm.Index {
	w.t.Helper()
	w.at++
	next, res, err := w.s.Apply(w.at, fsm.Encode(c))
	if err != nil || !res.Applied || len(res.Dropped) > 0 {
		w.t.Fatalf("apply %+v: %+v, %v", c, res, err)
	}
	w.s = next
	return w.at
}

func (w *world) register(names ...fsm.MemberID) {
	w.t.Helper()
	for _, n := range names {
		m, _ := w.s.Member(n)
		nonce := fsm.Nonce{byte(w.at), n[1]}
		w.do(fsm.Register{Member: n, Nonce: nonce, Process: nonce, Replaces: m.Epoch, Host: fsm.Host{Machine: "m-" + string(n), Boot: "b", Instance: "i"}, Wire: [2]uint16{1, 1}})
	}
}

func (w *world) move(sys fsm.SystemID, item fsm.ItemID, to fsm.MemberID) {
	w.t.Helper()
	k := fsm.Key{System: sys, Item: item}
	slot, _ := w.s.Slot(k)
	w.do(fsm.Assign{Moves: []fsm.Move{{Key: k, Was: slot.Token, Home: to, To: to, Reason: "first placing"}}})
}

func (w *world) acquired(sys fsm.SystemID, item fsm.ItemID) {
	w.t.Helper()
	k := fsm.Key{System: sys, Item: item}
	slot, _ := w.s.Slot(k)
	m, _ := w.s.Member(slot.Owner)
	w.do(fsm.Report{Member: slot.Owner, Epoch: m.Epoch, Acquired: []fsm.Claim{{Key: k, Member: slot.Owner, Epoch: m.Epoch, Token: slot.Token}}})
}

func (w *world) down(m fsm.MemberID, moves ...fsm.Move) {
	w.t.Helper()
	mem, _ := w.s.Member(m)
	w.do(fsm.Down{Member: m, Epoch: mem.Epoch, Voters: w.s.Voters().Index, Moves: moves, Evidence: []fsm.Vote{{Voter: "n2/i", Silent: 330}, {Voter: "n3/i", Silent: 330}}})
}

// running has everything placed and acquired.
func running(t *testing.T) *world {
	w := newWorld(t)
	w.register("n1", "n2", "n3")
	for _, p := range []struct {
		sys  fsm.SystemID
		item fsm.ItemID
		to   fsm.MemberID
	}{{"ip", "a", "n1"}, {"ip", "b", "n2"}, {"one", "x", "n1"}} {
		w.move(p.sys, p.item, p.to)
		w.acquired(p.sys, p.item)
	}
	return w
}

func (w *world) local() Local {
	ok := api.Finding{Code: api.FindOK}
	return Local{
		Node:   api.Node{ID: "n2", Ready: true, Epoch: 4, Lease: api.Lease{Running: true, LeftMS: 200}},
		Leader: "n3", LeaderAddr: "127.0.0.1:2203",
		Peers: map[fsm.MemberID]Peer{
			"n1": {Heard: 20 * time.Millisecond, Ever: true, TCP: ok, UDP: ok},
			"n3": {Heard: 30 * time.Millisecond, Ever: true, TCP: ok, UDP: ok},
		},
	}
}

func (w *world) status() api.Status { return Compose(w.local(), w.s, w.at) }

func (w *world) row(sys fsm.SystemID, item fsm.ItemID) api.Row {
	w.t.Helper()
	for _, r := range Assignments(w.s, api.Stamp{}, sys).Rows {
		if r.Item == item {
			return r
		}
	}
	w.t.Fatalf("no row %s/%s", sys, item)
	return api.Row{}
}

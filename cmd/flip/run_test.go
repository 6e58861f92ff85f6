package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/raftnode"
	"github.com/flip-ha/flip/secure"
)

// agreed is a State that grows by one entry a call.
type agreed struct {
	t  *testing.T
	s  *fsm.State
	at fsm.Index
}

func (a *agreed) apply(c fsm.Command) fsm.Index {
	a.t.Helper()
	a.at++
	next, res, err := a.s.Apply(a.at, fsm.Encode(c))
	if err != nil || !res.Applied {
		a.t.Fatalf("apply %+v: %v, %v", c, res.Why, err)
	}
	a.s = next
	return a.at
}

func (a *agreed) register(m fsm.MemberID) fsm.Epoch {
	n := fsm.Nonce([]byte(fmt.Sprintf("%-16s", m)))
	return fsm.Epoch(a.apply(fsm.Register{Member: m, Nonce: n, Process: n, Host: fsm.Host{Machine: string(m)}}))
}

// three is a cluster in which n1 has x, n2 has y and z, and nobody has acquired
// anything yet.
func three(t *testing.T) *agreed {
	t.Helper()
	a := &agreed{t: t, s: fsm.New()}
	servers := map[fsm.MemberID]fsm.Server{}
	for _, m := range []fsm.MemberID{"n1", "n2", "n3"} {
		servers[m] = fsm.Server{Name: m, Role: fsm.RoleVoter, Systems: []fsm.SystemID{"s"}}
	}
	servers["n4"] = fsm.Server{Name: "n4", Role: fsm.RoleArbiter}
	a.apply(fsm.SetSpec{Cluster: "c", Spec: fsm.Spec{Servers: servers, Systems: map[fsm.SystemID]fsm.System{"s": {
		Name: "s", Split: fsm.Shard, Guarantee: fsm.AtMostOne, Action: fsm.ActionHooks, Alive: "up", Down: "down",
		Items: []fsm.Item{{ID: "x"}, {ID: "y"}, {ID: "z"}},
	}}}})
	for _, m := range []fsm.MemberID{"n1", "n2", "n4"} {
		a.register(m)
	}
	a.apply(fsm.Assign{Moves: []fsm.Move{
		{Key: fsm.Key{System: "s", Item: "x"}, To: "n1"},
		{Key: fsm.Key{System: "s", Item: "y"}, To: "n2"},
		{Key: fsm.Key{System: "s", Item: "z"}, To: "n2"},
	}})
	return a
}

// A stop waits for what the node itself has, not for what any other waits for.
func TestHeldByIsOneNodesOwn(t *testing.T) {
	a := three(t)
	x := fsm.Key{System: "s", Item: "x"}
	if got := heldBy(a.s, a.s, "n1"); !slices.Equal(got, []fsm.Key{x}) {
		t.Errorf("n1 has %v", got)
	}
	if got := heldBy(a.s, a.s, "n4"); len(got) != 0 {
		t.Errorf("the arbiter has %v", got)
	}
	// Moved in the very moment of the announcement: it was n1's, and its entry is
	// there until it reports.
	before := a.s
	slot, _ := a.s.Slot(x)
	a.apply(fsm.Assign{Moves: []fsm.Move{{Key: x, Was: slot.Token, To: "n2"}}})
	if got := heldBy(before, a.s, "n1"); !slices.Equal(got, []fsm.Key{x}) {
		t.Errorf("after the move n1 has to hand over %v", got)
	}
	if handedOver(a.s, "n1", x) {
		t.Error("handed over although n1 may still hold it")
	}
	n1, _ := a.s.Member("n1")
	a.apply(fsm.Report{Member: "n1", Epoch: n1.Epoch, Released: []fsm.Claim{{Key: x, Member: "n1", Epoch: n1.Epoch, Token: slot.Token}}})
	if handedOver(a.s, "n1", x) {
		t.Error("handed over although n2 has not acquired it")
	}
	n2, _ := a.s.Member("n2")
	slot, _ = a.s.Slot(x)
	a.apply(fsm.Report{Member: "n2", Epoch: n2.Epoch, Acquired: []fsm.Claim{{Key: x, Member: "n2", Epoch: n2.Epoch, Token: slot.Token}}})
	if !handedOver(a.s, "n1", x) {
		t.Error("not handed over although n2 has acquired it")
	}
}

func TestHasHeir(t *testing.T) {
	a := three(t)
	if !a.s.HasHeir("n1", "s") {
		t.Error("n2 could take n1's items")
	}
	n2, _ := a.s.Member("n2")
	a.apply(fsm.Leave{Member: "n2", Epoch: n2.Epoch})
	if a.s.HasHeir("n1", "s") {
		t.Error("n2 is leaving, n3 has never registered, n4 does not serve it")
	}
	a.register("n3")
	if !a.s.HasHeir("n1", "s") {
		t.Error("n3 could take n1's items")
	}
}

func TestNotProposed(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	reset := &net.OpError{Op: "read", Err: errors.New("connection reset")}
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{fmt.Errorf("ask n1: %w", refused), true},
		{fmt.Errorf("ask n1: %w", reset), false}, // it may have been
		{fmt.Errorf("ask n1: %w", api.NotLeader("n2", "a:1")), true},
		{fmt.Errorf("ask n1: %w", api.NoLeader("x")), true},
		{&secure.WrongPeerError{}, true},
		{&api.Error{Code: api.CodeInternal}, false},
	} {
		if got := notProposed(tt.err); got != tt.want {
			t.Errorf("%v: %v", tt.err, got)
		}
	}
}

func TestHostOf(t *testing.T) {
	h, err := hostOf("rack-7", "i1")
	if err != nil || h.Machine != "rack-7" || h.Instance != "i1" || h.Boot == "" {
		t.Errorf("%+v, %v", h, err)
	}
	saved := machineFiles
	defer func() { machineFiles = saved }()
	machineFiles = []string{"/nonexistent"}
	h, err = hostOf("", "i1")
	if err != nil || h.Machine != fsm.BootMachine+h.Boot {
		t.Errorf("without a number of its own: %+v, %v", h, err)
	}
}

func TestTCPFindingWords(t *testing.T) {
	for trouble, want := range map[raftnode.Trouble]string{
		raftnode.TroubleNone: api.FindOK, raftnode.TroubleRefused: api.FindRefused, raftnode.TroubleSilent: api.FindSilent,
		raftnode.TroubleName: api.FindSilent, raftnode.TroubleKey: api.FindKey, raftnode.TroubleCluster: api.FindCluster,
		raftnode.TroubleVoters: api.FindVoters, raftnode.TroubleWire: api.FindWire, raftnode.TroubleOther: api.FindName,
	} {
		f := tcpFinding(raftnode.Finding{Trouble: trouble, Words: "words", Hint: "hint"})
		if f.Code != want {
			t.Errorf("%s: %s, want %s", trouble, f.Code, want)
		}
		if trouble != raftnode.TroubleNone && !strings.Contains(f.Detail, "words: hint") {
			t.Errorf("%s: %q", trouble, f.Detail)
		}
	}
}

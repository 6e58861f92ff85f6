package client

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/api/server"
	"github.com/flip-ha/flip/fsm"
)

// town is a node whose State is what the commands make of it, and a server of it.
type town struct {
	t       testing.TB
	age     atomic.Int64
	socket  string
	mu      sync.Mutex
	state   *fsm.State
	at      fsm.Index
	changed chan struct{}
}

func (n *town) View() (*fsm.State, fsm.Index) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state, n.at
}

func (n *town) Changed(after fsm.Index) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.at > after {
		done := make(chan struct{})
		close(done)
		return done
	}
	return n.changed
}

func (n *town) Leader() (fsm.MemberID, string) { return "n1", "127.0.0.1:2201" }
func (n *town) Status() api.Status             { return api.Status{Stamp: n.stamp()} }
func (n *town) stamp() api.Stamp               { return api.Stamp{AgeMS: n.age.Load()} }

// do applies a command; one that is refused changes nothing.
func (n *town) do(c fsm.Command) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	next, res, err := n.state.Apply(n.at+1, fsm.Encode(c))
	if err != nil {
		n.t.Fatalf("apply %+v: %v", c, err)
	}
	n.state, n.at = next, n.at+1
	close(n.changed)
	n.changed = make(chan struct{})
	return res.Applied
}

// townSpec has n servers that serve a system of items and one of partitions.
func townSpec(servers, items, partitions int) fsm.Spec {
	s := fsm.Spec{
		Timing:  fsm.Timing{Preset: "lan", Heartbeat: 50 * time.Millisecond, Lease: 300 * time.Millisecond, RaftHeartbeat: 100 * time.Millisecond, RaftElection: 100 * time.Millisecond, RaftLease: 50 * time.Millisecond},
		Quorum:  1,
		Servers: map[fsm.MemberID]fsm.Server{}, Systems: map[fsm.SystemID]fsm.System{},
	}
	for i := range servers {
		name := fsm.MemberID("n" + strconv.Itoa(i+1))
		s.Servers[name] = fsm.Server{Name: name, Addr: fmt.Sprintf("127.0.0.1:%d", 2201+i), Role: fsm.RoleVoter, Systems: []fsm.SystemID{"all", "data", "ring"}}
	}
	plain := fsm.System{Split: fsm.Shard, Guarantee: fsm.AtLeastOne, Action: fsm.ActionHooks, Alive: "up", Down: "down"}
	data, ring, all := plain, plain, plain
	data.Name, ring.Name, all.Name, all.Split = "data", "ring", "all", fsm.Replicate
	for i := range items {
		data.Items = append(data.Items, fsm.Item{ID: fsm.ItemID(fmt.Sprintf("i%07d", i))})
	}
	all.Items = []fsm.Item{{ID: "a"}, {ID: "b"}}
	ring.Replicas = 2
	ring.Partitions = &fsm.Partitions{Count: partitions, Hash: fsm.FNV64a}
	for i := range partitions {
		ring.Items = append(ring.Items, fsm.Item{ID: fsm.ItemID(strconv.Itoa(i))})
	}
	slices.SortFunc(ring.Items, func(a, b fsm.Item) int { return strings.Compare(string(a.ID), string(b.ID)) })
	s.Systems["data"], s.Systems["ring"], s.Systems["all"] = data, ring, all
	return s
}

// settle founds a town, with its daemon on a socket.
func settle(t testing.TB, spec fsm.Spec) *town {
	t.Helper()
	n := &town{t: t, state: fsm.New(), changed: make(chan struct{})}
	n.state = n.state.WithVoters(fsm.Voters{Index: 1, IDs: []fsm.VoterID{"n1/i"}})
	n.at = 1
	n.do(fsm.SetSpec{Cluster: "c", Spec: spec})
	for i := range len(spec.Servers) {
		n.register(fsm.MemberID("n" + strconv.Itoa(i+1)))
	}
	n.socket = filepath.Join(t.TempDir(), "s")
	return n
}

func (n *town) register(m fsm.MemberID) bool {
	state, at := n.View()
	was, _ := state.Member(m)
	nonce := fsm.Nonce{byte(at), byte(at >> 8), 1}
	return n.do(fsm.Register{Member: m, Nonce: nonce, Process: nonce, Replaces: was.Epoch, Host: fsm.Host{Machine: "m-" + string(m), Boot: "b", Instance: "i"}, Wire: [2]uint16{1, 1}})
}

func (n *town) move(k fsm.Key, to fsm.MemberID) bool {
	state, _ := n.View()
	slot, _ := state.Slot(k)
	return n.do(fsm.Assign{Moves: []fsm.Move{{Key: k, Was: slot.Token, Home: to, To: to, Reason: "so"}}})
}

func (n *town) acquired(k fsm.Key) bool {
	state, _ := n.View()
	slot, _ := state.Slot(k)
	m, _ := state.Member(slot.Owner)
	return n.do(fsm.Report{Member: slot.Owner, Epoch: m.Epoch, Acquired: []fsm.Claim{{Key: k, Member: slot.Owner, Epoch: m.Epoch, Token: slot.Token}}})
}

func (n *town) down(m fsm.MemberID) bool {
	state, _ := n.View()
	was, _ := state.Member(m)
	return n.do(fsm.Down{Member: m, Epoch: was.Epoch, Voters: state.Voters().Index})
}

// open serves until the function it returns is called, or the test ends.
func (n *town) open() (shut func()) {
	n.t.Helper()
	l, err := server.ListenUnix(n.socket)
	if err != nil {
		n.t.Fatal(err)
	}
	hub := server.NewHub(n)
	s := server.NewLocal(server.LocalConfig{Log: zerolog.Nop(), Node: n, Status: n, Stamp: n.stamp, Hub: hub})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = hub.Run(ctx) })
	running.Go(func() { _ = s.Run(ctx, l) })
	shut = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	n.t.Cleanup(shut)
	return shut
}

package agent

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/wake"
)

// fakeLive stands for liveness.
type fakeLive struct {
	self    fsm.MemberID
	changed chan struct{}

	mu     sync.Mutex
	mute   bool // does not register
	nonce  fsm.Nonce
	state  *fsm.State
	at     fsm.Index
	leader fsm.VoterID
	back   bool // was shown an older index
	// newest is what the voters acknowledge; Behind when it was not read for a lease.
	newest fsm.Index
	since  time.Time
}

// Read implements Detector.
func (f *fakeLive) Read(s *fsm.State, at fsm.Index, leading bool, leader fsm.VoterID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.back = f.back || at < f.at || leading
	f.state, f.at, f.leader = s, at, leader
	wake.Signal(f.changed)
}

// Behind implements Detector.
func (f *fakeLive) Behind() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at < f.newest && time.Since(f.since) >= lan.Lease
}

// acknowledged says that the voters have applied an index.
func (f *fakeLive) acknowledged(at fsm.Index) {
	f.mu.Lock()
	f.newest, f.since = at, time.Now()
	f.mu.Unlock()
	time.AfterFunc(lan.Lease, func() { wake.Signal(f.changed) })
}

// Changed implements Detector.
func (f *fakeLive) Changed() <-chan struct{} { return f.changed }

// Register implements enroll.Registrar.
func (f *fakeLive) Register() (fsm.Register, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mute || f.state == nil {
		return fsm.Register{}, false
	}
	m, _ := f.state.Member(f.self)
	if m.Nonce == f.nonce {
		return fsm.Register{}, false
	}
	return fsm.Register{
		Member: f.self, Nonce: f.nonce, Process: f.nonce, Replaces: m.Epoch,
		Host: fsm.Host{Machine: "m", Boot: "b", Instance: "i"}, Wire: [2]uint16{1, 1},
	}, true
}

// Settled implements enroll.Registrar.
func (f *fakeLive) Settled() (fsm.Settle, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == nil || f.mute {
		return fsm.Settle{}, false
	}
	m, ok := f.state.Member(f.self)
	if !ok || m.Nonce != f.nonce || m.Settled {
		return fsm.Settle{}, false
	}
	return fsm.Settle{Member: f.self, Epoch: m.Epoch}, true
}

// testAgent is a Node that runs.
type testAgent struct {
	*Node
	t     *testing.T
	live  *fakeLive
	peers *client.Peers
	stop  func()
}

func (c *cluster) agent(name fsm.MemberID, change ...func(*Config)) *testAgent {
	c.t.Helper()
	a := &testAgent{t: c.t, live: &fakeLive{self: name, nonce: fsm.Nonce([]byte(fmt.Sprintf("%-16s", name))), changed: make(chan struct{}, 1)}}
	a.peers = c.peersOf(name)
	cfg := Config{
		Self: name, Instance: "i", Seed: specOf(len(c.voters), crowd), Peers: Over(a.peers),
		Detector: a.live, Registrar: a.live, Log: c.log.With().Str("node", string(name)).Logger(),
	}
	for _, f := range change {
		f(&cfg)
	}
	a.Node = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	a.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Errorf("%s: %v", name, err)
		}
		if a.live.back {
			c.t.Errorf("%s was shown an older index", name)
		}
	})
	c.t.Cleanup(a.stop)
	return a
}

// peersOf are the ways of one agent; to be closed within the bubble.
func (c *cluster) peersOf(name fsm.MemberID) *client.Peers {
	p := client.NewPeersOver(c.dial(name))
	c.t.Cleanup(p.Close)
	return p
}

// owns lists what an agent reads that it owns.
func (a *testAgent) owns() string {
	s, _ := a.View()
	out := ""
	for slot := range s.Slots() {
		if slot.Owner == a.cfg.Self {
			out += string(slot.Item)
		}
	}
	return out
}

func (a *testAgent) at() fsm.Index {
	_, at := a.View()
	return at
}

// served waits until a voter serves the agent, it has registered and read all.
func (a *testAgent) served(c *cluster, limit time.Duration) time.Duration {
	a.t.Helper()
	return until(a.t, limit, "served", func() bool {
		_, at := c.now()
		return a.Source() != "" && a.at() >= at && (a.live.mute || c.settled(a.cfg.Self))
	})
}

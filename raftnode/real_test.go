package raftnode

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/flip-ha/flip/fsm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// runReal runs a node on a real directory over real connections.
func runReal(t *testing.T, s *Store, spec fsm.Spec) (*Node, func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	self := Address(spec.Servers["n1"].Addr, fsm.NewVoterID("n1", s.Instance()))
	trans := NewTransport(Streams(l, noDial, self), spec.Timing, zerolog.Nop())
	live := &fakeLive{self: "n1", nonce: fsm.Nonce{byte(time.Now().UnixNano()), byte(time.Now().UnixNano() >> 8), 1}, changed: make(chan struct{}, 1)}
	n, err := Open(Config{
		Self: "n1", Instance: s.Instance(), Cluster: s.Cluster(), DataDir: s.dir, Seed: spec, Digest: digest,
		SaveCluster: s.SetCluster, Log: zerolog.Nop(),
	}, Deps{Logs: s.Logs(), Stable: s.Stable(), Snaps: s.Snapshots(), Trans: trans, Detector: live, Registrar: live, Peers: wire{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	return n, func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func noDial(context.Context, raft.ServerAddress) (net.Conn, error) {
	return nil, fmt.Errorf("nobody to dial")
}

// waitReal waits for the State to be so.
func waitReal(t *testing.T, n *Node, so func(*fsm.State) bool) {
	t.Helper()
	end := time.NewTimer(10 * time.Second)
	defer end.Stop()
	for {
		s, at := n.View()
		if so(s) {
			return
		}
		select {
		case <-n.Changed(at):
		case <-end.C:
			t.Fatalf("not in time: %+v", n.Phase())
		}
	}
}

// waitFor polls what has no signal.
func waitFor(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(10 * time.Second)
	defer end.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatalf("not in time: %s", what)
		}
	}
}

func TestStreams(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	self := Address("10.0.0.1:2200", "n1/abc")
	var dialled raft.ServerAddress
	s := Streams(l, func(ctx context.Context, to raft.ServerAddress) (net.Conn, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("no deadline")
		}
		dialled = to
		return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	}, self)
	if s.Addr().String() != string(self) || s.Addr().Network() == "" {
		t.Errorf("address %v", s.Addr())
	}
	conn, err := s.Dial("10.0.0.2:2200/n2/def", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if dialled != "10.0.0.2:2200/n2/def" {
		t.Errorf("dialled %s", dialled)
	}
	if _, err := s.Dial("10.0.0.2:2200", time.Second); err == nil {
		t.Error("an address without an instance was dialled")
	}
}

func TestSplitAddress(t *testing.T) {
	for _, a := range []raft.ServerAddress{"", "x", "h:1/n", "h:1/n/", "h:1//i", "/n/i", "h:1/n/i/j"} {
		if _, _, err := SplitAddress(a); err == nil {
			t.Errorf("%q was taken apart", a)
		}
	}
	host, id, err := SplitAddress(Address("[::1]:2200", "n1/abc"))
	if err != nil || host != "[::1]:2200" || id != "n1/abc" {
		t.Errorf("%s %s %v", host, id, err)
	}
}

// Three nodes over real connections: founding, a lost leader, and nothing left
// running afterwards.
func TestThreeOverTCP(t *testing.T) {
	w := &world{t: t, nodes: make(map[fsm.MemberID]*testNode), cuts: make(map[fsm.MemberID]bool), log: zerolog.Nop()}
	defer w.stopAll()
	spec := specOf("n1", "n2", "n3")
	listeners := map[string]net.Listener{}
	for name, s := range spec.Servers {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatalf("listen for %s: %v", name, err)
		}
		listeners[s.Addr] = l
	}
	nodes := map[fsm.MemberID]*testNode{}
	for name, s := range spec.Servers {
		d := newDisk()
		nodes[name] = w.start(name, spec, d, func(_ *Config, deps *Deps) {
			deps.Trans = NewTransport(Streams(listeners[s.Addr], func(ctx context.Context, to raft.ServerAddress) (net.Conn, error) {
				host, _, err := SplitAddress(to)
				if err != nil {
					return nil, err
				}
				return (&net.Dialer{}).DialContext(ctx, "tcp", listeners[host].Addr().String())
			}, Address(s.Addr, fsm.NewVoterID(name, d.instance))), spec.Timing, zerolog.Nop())
		})
	}
	for _, n := range nodes {
		waitFor(t, "three voters and all assigned", func() bool {
			s, _ := n.View()
			return len(s.Voters().IDs) == 3 && n.assigned()
		})
	}
	lost := w.leader()
	name := lost.cfg.Self
	if err := w.halt(lost); err != nil {
		t.Fatal(err)
	}
	delete(nodes, name)
	for _, n := range nodes {
		n.live.set(func() { n.live.dead[name] = true })
	}
	for _, n := range nodes {
		waitFor(t, "its items moved", func() bool { return n.assigned() && !strings.Contains(n.owners(), string(name)) })
	}
}

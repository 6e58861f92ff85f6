package udp

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/config"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
	"github.com/flip-ha/flip/raftnode"
	"github.com/flip-ha/flip/secure"
)

var lan = fsm.Timing{
	Heartbeat: 50 * time.Millisecond, Lease: 300 * time.Millisecond,
	RaftHeartbeat: 100 * time.Millisecond, RaftElection: 100 * time.Millisecond, RaftLease: 50 * time.Millisecond,
}

// server is one daemon's agreement and heartbeats, without effects: real sockets,
// TLS and a data directory, real time.
type server struct {
	name  fsm.MemberID
	self  secure.Identity
	host  fsm.Host
	nonce fsm.Nonce
	port  *secure.Listener
	trans *raft.NetworkTransport
	store *raftnode.Store
	disk  *stalling
	beat  *Endpoint
	*raftnode.Node
	stop  context.CancelFunc
	fell  chan error // what its Node ended with, if that was a stall
	ended chan struct{}
	late  atomic.Int64 // by how much its endpoint was later than it wanted to be, at worst
}

// servers are all of them, and how they reach each other.
type servers struct {
	t    *testing.T
	spec fsm.Spec
	all  map[fsm.MemberID]*server
}

// Peers of raftnode: straight into the other's Node.
type straight struct{ all *servers }

func (s straight) Hello(_ context.Context, addr string, name fsm.MemberID, mine raftnode.Hello) (raftnode.Hello, error) {
	if n := s.all.all[name]; n != nil && n.Node != nil {
		return n.Hello(mine), nil
	}
	return raftnode.Hello{}, fmt.Errorf("dial %s: nobody", addr)
}

func (s straight) Propose(ctx context.Context, to raft.ServerAddress, cmd []byte) (fsm.Result, error) {
	_, id, err := raftnode.SplitAddress(to)
	if err != nil {
		return fsm.Result{}, err
	}
	return s.all.all[id.Member()].ProposeBytes(ctx, cmd)
}

func newServers(t *testing.T, timing fsm.Timing) *servers {
	t.Helper()
	s := &servers{t: t, all: map[fsm.MemberID]*server{}, spec: fsm.Spec{
		Timing: timing, Quorum: 2, RemoveOnFailure: true, Servers: map[fsm.MemberID]fsm.Server{},
		Systems: map[fsm.SystemID]fsm.System{"ip": {
			Name: "ip", Split: fsm.Shard, Guarantee: fsm.AtMostOne, Action: fsm.ActionHooks, Alive: "up", Down: "down", Config: []byte("{}"),
			Items: []fsm.Item{{ID: "a"}, {ID: "b"}, {ID: "c"}}, StartTimeout: time.Minute, StopTimeout: time.Minute,
		}},
	}}
	listeners := map[fsm.MemberID]net.Listener{}
	for _, name := range three {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[name] = l
		s.spec.Servers[name] = fsm.Server{
			Name: name, Addr: l.Addr().String(), Role: fsm.RoleVoter, Systems: []fsm.SystemID{"ip"},
		}
	}
	for _, name := range three {
		s.all[name] = s.open(name, listeners[name])
	}
	for _, n := range s.all {
		s.run(n)
	}
	t.Cleanup(func() {
		for _, n := range s.all {
			n.stop()
		}
		for _, n := range s.all {
			<-n.ended
			_ = n.store.Close() // waits for a write that hangs: the stall has ended
		}
	})
	return s
}

// open makes one server; data directories are where the operator's would be, on
// a disk.
func (s *servers) open(name fsm.MemberID, l net.Listener) *server {
	s.t.Helper()
	dir, err := os.MkdirTemp("", "flip-live-")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	store, err := raftnode.OpenStore(s.t.Context(), dir, zerolog.Nop())
	if err != nil {
		s.t.Fatal(err)
	}
	n := &server{name: name, store: store, self: secure.Identity{Name: name, Instance: store.Instance()}, nonce: nonce(), fell: make(chan error, 1), ended: make(chan struct{})}
	n.disk = &stalling{LogStore: store.Logs(), StableStore: store.Stable()}
	n.host = fsm.Host{Machine: "m-" + string(name), Boot: "b", Instance: store.Instance()}
	n.port = secure.Listen(l, keys().Server(n.self), zerolog.Nop())
	conn, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	p := liveness.New(liveness.Config{
		Self: name, Instance: n.self.Instance, Host: n.host, Process: n.nonce, Gate: true, Started: Boottime(),
		NewNonce: nonce, Wire: [2]uint16{1, 1}, Seed: s.spec, Voter: true,
	})
	n.beat = New(Config{
		Self: name, Resolve: s.resolve, Clock: Boottime, Log: zerolog.Nop(),
		Cluster: func() string { return s.cluster(n) },
		Measure: Measure{Late: func(d time.Duration) { n.late.Store(max(n.late.Load(), int64(d))) }},
	}, conn, keys().Box(secure.Sender{Name: name, Instance: n.self.Instance, Process: n.nonce}), p)
	self := raftnode.Address(l.Addr().String(), fsm.NewVoterID(name, n.self.Instance))
	n.trans = raftnode.NewTransport(raftnode.Streams(n.port.Raft(), n.dial, self), s.spec.Timing, zerolog.Nop())
	n.Node, err = raftnode.Open(raftnode.Config{
		Self: name, Instance: n.self.Instance, DataDir: dir, Seed: s.spec, Digest: config.VotersDigest,
		Wire: [2]uint16{1, 1}, SaveCluster: store.SetCluster, Hears: n.beat.Hears, Leased: n.beat.Leased, Log: zerolog.Nop(),
	}, raftnode.Deps{
		Logs: n.disk, Stable: n.disk, Snaps: store.Snapshots(), Trans: n.trans,
		Detector: n.beat, Registrar: n.beat, Farewells: n.beat, Peers: straight{s},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func nonce() (n fsm.Nonce) {
	_, _ = rand.Read(n[:])
	return n
}

func (s *servers) resolve(m fsm.MemberID) (net.Addr, bool) {
	addr, err := net.ResolveUDPAddr("udp", s.spec.Servers[m].Addr)
	return addr, err == nil
}

func (s *servers) cluster(n *server) string {
	if n.Node == nil {
		return ""
	}
	state, _ := n.View()
	return state.Cluster()
}

func (n *server) dial(ctx context.Context, to raft.ServerAddress) (net.Conn, error) {
	addr, id, err := raftnode.SplitAddress(to)
	if err != nil {
		return nil, err
	}
	want := secure.Identity{Name: id.Member(), Instance: id.Instance()}
	return (&tls.Dialer{Config: keys().Client(n.self, want, secure.ProtoRaft)}).DialContext(ctx, "tcp", addr)
}

func (s *servers) run(n *server) {
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	parts := make(chan error, 3)
	go func() { parts <- n.port.Run(ctx) }()
	go func() { parts <- n.beat.Run(ctx) }()
	go func() { parts <- n.Run(ctx) }()
	go func() {
		defer close(n.ended)
		for range cap(parts) {
			switch err := <-parts; {
			case errors.Is(err, raftnode.ErrStalled):
				n.fell <- err
			case err != nil:
				s.t.Errorf("%s: %v", n.name, err)
			}
		}
	}()
}

// when waits until a server's log says so.
func (s *servers) when(n *server, what string, so func(*fsm.State) bool) {
	s.t.Helper()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	for {
		state, at := n.View()
		if so(state) {
			return
		}
		select {
		case <-n.Changed(at):
		case <-limit.C:
			leader, _ := n.Leader()
			s.t.Fatalf("%s: not in time: %s\nleader %q\nbrakes %+v\nslots %+v\njournal %+v\nmembers %+v",
				n.name, what, leader, state.Brakes(), slices.Collect(state.Slots()), state.Journal(), state.Members())
		}
	}
}

// until polls what has no signal.
func (s *servers) until(what string, so func() bool) {
	s.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-limit.C:
			s.t.Fatalf("not in time: %s", what)
		}
	}
}

// leased waits until every server's log shows three voters and all items with an
// owner, and that all have a lease.
func (s *servers) leased() *server {
	s.t.Helper()
	for _, n := range s.all {
		s.when(n, "founded", func(state *fsm.State) bool {
			owned := 0
			for slot := range state.Slots() {
				if slot.Owner != "" {
					owned++
				}
			}
			return owned == 3 && len(state.Voters().IDs) == 3
		})
		s.until(string(n.name)+" has a lease", func() bool { _, ok := n.beat.Lease(); return ok })
	}
	name, _ := s.all["n1"].Leader()
	return s.all[name]
}

// die ends a server as SIGKILL does: its sockets close, nothing else is said.
func (n *server) die() {
	_ = n.port.Close()
	_ = n.trans.Close()
	n.trans.CloseStreams()
	n.stop()
}

// mourn says goodbye for a dead server, as its guard does.
func (s *servers) mourn(n *server) {
	s.t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	box := keys().Box(secure.Sender{Name: n.name, Instance: n.self.Instance, Process: nonce()})
	bye := liveness.Goodbye{Dead: true, Goodbye: fsm.Goodbye{Member: n.name, Host: n.host, Process: n.nonce, Epoch: n.beat.Epoch()}}
	for name := range s.all {
		raw, err := encode(packet{cluster: s.cluster(n), to: name, kind: kindGoodbye, msg: bye})
		if err != nil {
			s.t.Fatal(err)
		}
		addr, _ := s.resolve(name)
		if _, err := conn.WriteTo(box.Seal(raw), addr); err != nil {
			s.t.Fatal(err)
		}
	}
}

// The leader, which holds an item, is killed, and its guard says goodbye: how
// long until each of the others has read that it is down and its item moved.
func TestDeadLeaderIsFollowedAtOnce(t *testing.T) {
	for name, timing := range map[string]fsm.Timing{
		"lan": lan,
		"fast": {
			Heartbeat: 10 * time.Millisecond, Lease: 50 * time.Millisecond,
			RaftHeartbeat: 50 * time.Millisecond, RaftElection: 50 * time.Millisecond, RaftLease: 25 * time.Millisecond,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var took []time.Duration
			for range 3 {
				t.Run("", func(t *testing.T) { took = append(took, dieAndFollow(t, timing)) })
			}
			slices.Sort(took)
			t.Logf("from the kill to the Down in both logs: median %v, worst %v of %d", took[len(took)/2], took[len(took)-1], len(took))
			// By votes it takes slack of the lease since the last heartbeat at least.
			// The best counts: this machine may have other things to do.
			if least := fsm.Slack(timing.Lease) - timing.Heartbeat; name == "lan" && took[0] > least {
				t.Errorf("not sooner than by votes (%v): %v", least, took)
			}
		})
	}
}

func dieAndFollow(t *testing.T, timing fsm.Timing) time.Duration {
	s := newServers(t, timing)
	dead := s.leased()
	began := time.Now()
	dead.die()
	s.mourn(dead)
	for _, n := range s.all {
		if n != dead {
			s.when(n, "the dead leader is down and its item has moved", func(state *fsm.State) bool { return gone(state, dead.name) })
		}
	}
	return time.Since(began)
}

package raftnode

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

// bubble runs f under a virtual clock; a goroutine that is left behind fails it.
func bubble(t *testing.T, f func(*testing.T, *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, nodes: make(map[fsm.MemberID]*testNode), cuts: make(map[fsm.MemberID]bool), agents: make(map[fsm.MemberID]testAgent), log: zerolog.Nop()}
		if os.Getenv("RAFTNODE_LOG") != "" {
			w.log = zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, NoColor: true, TimeFormat: "05.000"}).With().Timestamp().Logger()
		}
		f(t, w)
		w.stopAll()
	})
}

// world is a network of nodes in one bubble.
type world struct {
	t   *testing.T
	log zerolog.Logger

	mu    sync.Mutex
	nodes map[fsm.MemberID]*testNode // those that run
	cuts  map[fsm.MemberID]bool
	sent  int // proposals that went from node to node

	agents map[fsm.MemberID]testAgent // those that run
}

// testNode is one node and what stands around it.
type testNode struct {
	*Node
	disk  *disk
	live  *fakeLive
	trans *testTransport
	addr  raft.ServerAddress
	stop  context.CancelFunc
	err   error
	ended chan struct{}
}

// disk is what survives a restart.
type disk struct {
	instance, cluster string
	store             *raft.InmemStore
	snaps             raft.SnapshotStore
	logs              raft.LogStore    // in place of store, if not nil
	stable            raft.StableStore // in place of store, if not nil
}

var instances int

func newDisk() *disk {
	instances++
	return &disk{instance: fmt.Sprintf("i%d", instances), store: raft.NewInmemStore(), snaps: raft.NewInmemSnapshotStore()}
}

// testTransport is Raft's in-memory one without pipelines, as flip runs the real one.
type testTransport struct{ *raft.InmemTransport }

func (testTransport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// hello and propose travel through the world.
type wire struct {
	w    *world
	from fsm.MemberID
}

func (p wire) reach(ctx context.Context, host string) (*testNode, error) {
	p.w.mu.Lock()
	name := fsm.MemberID(strings.TrimSuffix(host, ":1"))
	n, cut := p.w.nodes[name], p.w.cuts[name] || p.w.cuts[p.from]
	p.w.mu.Unlock()
	if cut {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if n == nil {
		return nil, fmt.Errorf("dial %s: %w", host, syscall.ECONNREFUSED)
	}
	return n, nil
}

func (p wire) Hello(ctx context.Context, addr string, _ fsm.MemberID, mine Hello) (Hello, error) {
	n, err := p.reach(ctx, addr)
	if err != nil {
		return Hello{}, err
	}
	return n.Hello(mine), nil
}

func (p wire) Propose(ctx context.Context, to raft.ServerAddress, cmd []byte) (fsm.Result, error) {
	host, id, err := SplitAddress(to)
	if err != nil {
		return fsm.Result{}, err
	}
	n, err := p.reach(ctx, host)
	if err != nil || n.self != id {
		return fsm.Result{}, fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	p.w.mu.Lock()
	p.w.sent++
	p.w.mu.Unlock()
	return n.ProposeBytes(ctx, cmd)
}

var lan = fsm.Timing{
	Preset: "lan", Heartbeat: 50 * time.Millisecond, Lease: 300 * time.Millisecond,
	RaftHeartbeat: 100 * time.Millisecond, RaftElection: 100 * time.Millisecond, RaftLease: 50 * time.Millisecond,
}

// specOf is a cluster of voters that all serve the one system "ip" with items a to d.
func specOf(names ...fsm.MemberID) fsm.Spec {
	s := fsm.Spec{Timing: lan, Quorum: len(names)/2 + 1, RemoveOnFailure: true, Servers: map[fsm.MemberID]fsm.Server{}, Systems: map[fsm.SystemID]fsm.System{}}
	for _, n := range names {
		s.Servers[n] = fsm.Server{Name: n, Addr: string(n) + ":1", Role: fsm.RoleVoter, Systems: []fsm.SystemID{"ip"}}
	}
	s.Systems["ip"] = fsm.System{
		Name: "ip", Split: fsm.Shard, Guarantee: fsm.AtLeastOne, Action: fsm.ActionHooks, Alive: "up", Down: "down", Config: []byte("{}"),
		Items:        []fsm.Item{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "d"}},
		StartTimeout: time.Minute, StopTimeout: time.Minute,
		NoBrake: true, // in three servers the second loss would be one too many
	}
	return s
}

func digest(s fsm.Spec) [32]byte { return sha256.Sum256([]byte(strings.Join(voterList(s), "\n"))) }

// start runs a node on d; opts change what it is made from.
func (w *world) start(name fsm.MemberID, spec fsm.Spec, d *disk, opts ...func(*Config, *Deps)) *testNode {
	w.t.Helper()
	tn := &testNode{disk: d, ended: make(chan struct{})}
	tn.addr = Address(spec.Servers[name].Addr, fsm.NewVoterID(name, d.instance))
	_, inner := raft.NewInmemTransport(tn.addr)
	tn.trans = &testTransport{inner}
	instances++
	tn.live = &fakeLive{self: name, nonce: fsm.Nonce{byte(instances), byte(instances >> 8), 1}, changed: make(chan struct{}, 1), dead: map[fsm.MemberID]bool{}, unspaced: true}
	cfg := Config{
		Self: name, Instance: d.instance, Cluster: d.cluster, DataDir: "/data/" + string(name), Seed: spec, Digest: digest,
		Version: "test", Wire: [2]uint16{1, 1}, Log: w.log.With().Str("node", string(name)).Logger(),
		SaveCluster: func(id string) error { d.cluster = id; return nil },
	}
	deps := Deps{Logs: d.store, Stable: d.store, Snaps: d.snaps, Trans: tn.trans, Detector: tn.live, Registrar: tn.live, Peers: wire{w, name}, Farewells: tn.live}
	if d.logs != nil {
		deps.Logs = d.logs
	}
	if d.stable != nil {
		deps.Stable = d.stable
	}
	for _, o := range opts {
		o(&cfg, &deps)
	}
	n, err := Open(cfg, deps)
	if err != nil {
		w.t.Fatal(err)
	}
	tn.Node = n
	inner.Connect(tn.addr, inner)
	w.connect(tn, true)
	ctx, cancel := context.WithCancel(context.Background())
	tn.stop = cancel
	w.mu.Lock()
	w.nodes[name] = tn
	w.mu.Unlock()
	go func() {
		defer close(tn.ended)
		tn.err = n.Run(ctx)
		w.connect(tn, false)
		w.mu.Lock()
		delete(w.nodes, name)
		w.mu.Unlock()
	}()
	return tn
}

// connect links a node's transport with all others, or cuts it off.
func (w *world) connect(tn *testNode, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.nodes {
		if o == tn {
			continue
		}
		if on && !w.cuts[o.cfg.Self] {
			o.trans.Connect(tn.addr, tn.trans.InmemTransport)
			tn.trans.Connect(o.addr, o.trans.InmemTransport)
		} else {
			o.trans.Disconnect(tn.addr)
			tn.trans.Disconnect(o.addr)
		}
	}
}

// mute loses a node's greetings and proposals, but nothing of Raft's.
func (w *world) mute(tn *testNode, off bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cuts[tn.cfg.Self] = off
}

// cut takes a node off the network, or puts it back.
func (w *world) cut(tn *testNode, off bool) {
	w.mute(tn, off)
	w.connect(tn, !off)
}

// halt stops a node and returns what its Run returned.
func (w *world) halt(tn *testNode) error {
	tn.stop()
	<-tn.ended
	return tn.err
}

func (w *world) stopAll() {
	w.mu.Lock()
	var all []*testNode
	for _, n := range w.nodes {
		all = append(all, n)
	}
	w.mu.Unlock()
	for _, n := range all {
		n.stop()
	}
	for _, n := range all {
		<-n.ended
	}
}

// until waits, in virtual time, for a condition.
func (w *world) until(d time.Duration, what string, cond func() bool) {
	w.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if cond() {
			return
		}
	}
	w.t.Fatalf("not within %v: %s\n%s", d, what, w.describe())
}

// never watches, in virtual time, that something does not happen.
func (w *world) never(d time.Duration, what string, cond func() bool) {
	w.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if cond() {
			w.t.Fatalf("it happened: %s\n%s", what, w.describe())
		}
	}
}

func (w *world) describe() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for name, n := range w.nodes {
		s, at := n.View()
		leader, _ := n.Leader()
		fmt.Fprintf(&b, "%s: at %d, leader %q, voters %v, %s", name, at, leader, s.Voters(), n.Phase().Words)
		for slot := range s.Slots() {
			fmt.Fprintf(&b, " %s=%s", slot.Item, slot.Owner)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// leader is the node that leads by its own account, Barrier passed; nil: none.
func (w *world) leader() *testNode {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		n.readMu.Lock()
		leads := n.leading
		n.readMu.Unlock()
		if leads {
			return n
		}
	}
	return nil
}

// owners are the items' owners as a node sees them, in order.
func (n *testNode) owners() string {
	s, _ := n.View()
	var out []string
	for slot := range s.Slots() {
		out = append(out, string(slot.Owner))
	}
	return strings.Join(out, " ")
}

// assigned reports whether each of the items has an owner.
func (n *testNode) assigned() bool {
	s, _ := n.View()
	have := 0
	for slot := range s.Slots() {
		if slot.Owner != "" {
			have++
		}
	}
	return have == 4
}

// voters is how many servers have a vote as a node sees it.
func (n *testNode) voters() int {
	s, _ := n.View()
	return len(s.Voters().IDs)
}

// three starts a cluster of three and waits until it works.
func (w *world) three() (map[fsm.MemberID]*testNode, fsm.Spec) {
	w.t.Helper()
	spec := specOf("n1", "n2", "n3")
	nodes := map[fsm.MemberID]*testNode{}
	for _, name := range []fsm.MemberID{"n1", "n2", "n3"} {
		nodes[name] = w.start(name, spec, newDisk())
	}
	w.until(20*time.Second, "three voters with all assigned", func() bool {
		for _, n := range nodes {
			s, _ := n.View()
			if len(s.Voters().IDs) != 3 || !n.assigned() {
				return false
			}
		}
		return true
	})
	return nodes, spec
}

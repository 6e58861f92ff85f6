package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/api/server"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is a log without Raft and the voters that show it, each as far as the test
// lets it. They are the shipped servers, over pipes.
type cluster struct {
	t   *testing.T
	log zerolog.Logger

	mu       sync.Mutex
	state    *fsm.State
	at       fsm.Index
	voters   map[fsm.MemberID]*voter
	leader   fsm.MemberID
	proposed int           // commands that a leader took
	commit   chan struct{} // not nil: a leader answers only once it is closed
}

// voter is one server.
type voter struct {
	c     *cluster
	name  fsm.MemberID
	addr  string
	parts *server.Parts
	stop  func()

	mu      sync.Mutex
	state   *fsm.State
	at      fsm.Index
	leader  leader // as it believes
	age     time.Duration
	stuck   bool          // its log stands still
	hung    chan struct{} // not nil: it says nothing until this is closed
	changed chan struct{}
	asked   int // streams asked for
	conns   chan net.Conn
	gone    bool
}

var lan = fsm.Timing{
	Preset: "lan", Heartbeat: 50 * time.Millisecond, Lease: 300 * time.Millisecond,
	RaftHeartbeat: 100 * time.Millisecond, RaftElection: 100 * time.Millisecond, RaftLease: 50 * time.Millisecond,
}

func specOf(voters, agents int) fsm.Spec {
	s := fsm.Spec{Timing: lan, Quorum: 2, RemoveOnFailure: true, Servers: map[fsm.MemberID]fsm.Server{}, Systems: map[fsm.SystemID]fsm.System{}}
	add := func(name fsm.MemberID, role fsm.Role) {
		s.Servers[name] = fsm.Server{Name: name, Addr: string(name) + ":1", Role: role, Systems: []fsm.SystemID{"ip"}}
	}
	for i := range voters {
		add(fsm.MemberID(fmt.Sprintf("v%d", i+1)), fsm.RoleVoter)
	}
	for i := range agents {
		add(fsm.MemberID(fmt.Sprintf("a%d", i+1)), fsm.RoleAgent)
	}
	s.Systems["ip"] = fsm.System{
		Name: "ip", Split: fsm.Shard, Guarantee: fsm.AtLeastOne, Action: fsm.ActionHooks, Alive: "up", Down: "down", Config: []byte("{}"),
		Items:        []fsm.Item{{ID: "a"}, {ID: "b"}, {ID: "c"}},
		StartTimeout: time.Minute, StopTimeout: time.Minute,
	}
	return s
}

// bubble runs f under a virtual clock, on three voters led by v1 and one agent's spec.
func bubble(t *testing.T, f func(*testing.T, *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t, newCluster(t, 3))
	})
}

func newCluster(t *testing.T, voters int) *cluster {
	c := &cluster{t: t, log: zerolog.Nop(), state: fsm.New(), voters: map[fsm.MemberID]*voter{}, leader: "v1"}
	if os.Getenv("AGENT_LOG") != "" {
		c.log = zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, NoColor: true, TimeFormat: "05.000"}).With().Timestamp().Logger()
	}
	spec := specOf(voters, 2)
	var ids []fsm.VoterID
	for name, s := range spec.Servers {
		if s.Votes() {
			ids = append(ids, fsm.NewVoterID(name, "i-"+string(name)))
		}
	}
	slices.Sort(ids)
	c.at++
	c.state = c.state.WithVoters(fsm.Voters{Index: c.at, IDs: ids})
	c.do(fsm.SetSpec{Cluster: "c1", Spec: spec})
	t.Cleanup(c.end)
	for i, id := range ids {
		c.do(fsm.Register{
			Member: id.Member(), Nonce: fsm.Nonce{9, byte(i)}, Process: fsm.Nonce{9, byte(i)},
			Host: fsm.Host{Machine: string(id), Instance: id.Instance()}, Wire: [2]uint16{1, 1},
		})
		c.start(id.Member())
	}
	return c
}

// do commits a command that must apply.
func (c *cluster) do(cmd fsm.Command) fsm.Index {
	c.t.Helper()
	res, at := c.apply(fsm.Encode(cmd))
	if !res.Applied || len(res.Dropped) > 0 {
		c.t.Fatalf("apply %+v: %+v", cmd, res)
	}
	return at
}

func (c *cluster) apply(cmd []byte) (fsm.Result, fsm.Index) {
	c.mu.Lock()
	next, res, err := c.state.Apply(c.at+1, cmd)
	if err != nil {
		c.t.Errorf("apply: %v", err)
	}
	c.at++
	c.state = next
	at := c.at
	c.mu.Unlock()
	c.spread()
	return res, at
}

func (c *cluster) now() (*fsm.State, fsm.Index) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state, c.at
}

// settled reports whether the log shows that a member has.
func (c *cluster) settled(m fsm.MemberID) bool {
	state, _ := c.now()
	is, _ := state.Member(m)
	return is.Settled
}

// spread lets the voters read the log.
func (c *cluster) spread() {
	c.mu.Lock()
	defer c.mu.Unlock()
	addr := string(c.leader) + ":1"
	if v := c.voters[c.leader]; v != nil {
		addr = v.addr
	}
	for _, v := range c.voters {
		v.see(c.state, c.at, leader{c.leader, addr})
	}
}

// leads has another voter lead.
func (c *cluster) leads(m fsm.MemberID) {
	c.mu.Lock()
	c.leader = m
	c.mu.Unlock()
	c.spread()
}

func (c *cluster) move(item fsm.ItemID, to fsm.MemberID) fsm.Index {
	c.t.Helper()
	k := fsm.Key{System: "ip", Item: item}
	state, _ := c.now()
	slot, _ := state.Slot(k)
	return c.do(fsm.Assign{Moves: []fsm.Move{{Key: k, Was: slot.Token, To: to, Reason: "a test"}}})
}

func (v *voter) see(s *fsm.State, at fsm.Index, leader leader) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.stuck {
		return
	}
	v.leader = leader
	if s == v.state && at == v.at {
		return
	}
	v.state, v.at = s, at
	close(v.changed)
	v.changed = make(chan struct{})
}

func (v *voter) set(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
}

// View implements server.PartNode.
func (v *voter) View() (*fsm.State, fsm.Index) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state, v.at
}

// Changed implements server.PartNode.
func (v *voter) Changed(after fsm.Index) <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.at > after {
		done := make(chan struct{})
		close(done)
		return done
	}
	return v.changed
}

// Leader implements server.PartNode.
func (v *voter) Leader() (fsm.MemberID, string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.leader.name == "" {
		return "", ""
	}
	return v.leader.name, v.leader.addr
}

// Age implements server.PartNode.
func (v *voter) Age() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.age
}

// Hello implements server.PeerNode.
func (v *voter) Hello(h api.Hello) api.Hello { return h }

// ProposeBytes implements server.PeerNode.
func (v *voter) ProposeBytes(ctx context.Context, cmd []byte) (fsm.Result, error) {
	v.c.mu.Lock()
	leader, wait := v.c.leader, v.c.commit
	if leader == v.name {
		v.c.proposed++
	}
	v.c.mu.Unlock()
	if leader != v.name {
		name, addr := v.Leader()
		return fsm.Result{}, api.NotLeader(string(name), addr)
	}
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return fsm.Result{}, &api.Error{Code: api.CodeUncertain, Message: "lost"}
		}
	}
	res, _ := v.c.apply(cmd)
	return res, nil
}

// start runs a voter with what the log holds.
func (c *cluster) start(name fsm.MemberID) *voter {
	c.mu.Lock()
	v := &voter{c: c, name: name, addr: string(name) + ":1", state: c.state, at: c.at, leader: leader{c.leader, string(c.leader) + ":1"}, changed: make(chan struct{}), conns: make(chan net.Conn)}
	c.mu.Unlock()
	v.parts = server.NewParts(v)
	members := server.NewMembers(server.MembersConfig{
		Log: zerolog.Nop(), Node: v, Peer: v, Parts: v.parts,
		Identify: func(c net.Conn) (fsm.MemberID, error) { return c.(*pipe).from, nil },
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = v.parts.Run(ctx) })
	l := &listener{v: v, closed: make(chan struct{})}
	running.Go(func() {
		if err := members.Run(ctx, l); err != nil {
			c.t.Errorf("%s: %v", name, err)
		}
	})
	v.stop = sync.OnceFunc(func() {
		v.set(func() { v.gone = true })
		v.wakeUp()
		cancel()
		running.Wait()
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.voters[name] = v
	return v
}

func (c *cluster) voter(name fsm.MemberID) *voter {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.voters[name]
}

// kill ends a voter: its connections break.
func (c *cluster) kill(name fsm.MemberID) { c.voter(name).stop() }

func (c *cluster) end() {
	for _, v := range c.voters {
		v.stop()
	}
}

// times is how often a connection to it was wanted.
func (v *voter) times() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.asked
}

// hang has a voter say nothing: its machine was switched off.
func (v *voter) hang() { v.set(func() { v.hung = make(chan struct{}) }) }

func (v *voter) wakeUp() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.hung != nil {
		close(v.hung)
		v.hung = nil
	}
}

// silence waits while the voter hangs.
func (v *voter) silence(closed <-chan struct{}) {
	v.mu.Lock()
	hung := v.hung
	v.mu.Unlock()
	if hung != nil {
		select {
		case <-hung:
		case <-closed:
		}
	}
}

// listener hands out the pipes that agents have dialled.
type listener struct {
	v      *voter
	once   sync.Once
	closed chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.v.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: l.v.addr} }

// pipe is a voter's end of a connection.
type pipe struct {
	net.Conn
	v      *voter
	from   fsm.MemberID
	once   sync.Once
	closed chan struct{}
}

func (p *pipe) Write(b []byte) (int, error) {
	p.v.silence(p.closed)
	return p.Conn.Write(b)
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.Conn.Close()
}

// dial connects an agent to a voter.
func (c *cluster) dial(from fsm.MemberID) func(context.Context, client.Target) (net.Conn, error) {
	return func(ctx context.Context, to client.Target) (net.Conn, error) {
		v := c.voter(to.Name)
		refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		if v == nil || v.addr != to.Addr {
			return nil, refused
		}
		v.mu.Lock()
		gone, hung := v.gone, v.hung != nil
		v.asked++
		v.mu.Unlock()
		if gone {
			return nil, refused
		}
		if hung {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		mine, theirs := net.Pipe()
		select {
		case v.conns <- &pipe{Conn: theirs, v: v, from: from, closed: make(chan struct{})}:
			return mine, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

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
	wake(f.changed)
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
	time.AfterFunc(lan.Lease, func() { wake(f.changed) })
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
	a := &testAgent{t: c.t, live: &fakeLive{self: name, nonce: fsm.Nonce{1, name[1]}, changed: make(chan struct{}, 1)}}
	a.peers = c.peersOf(name)
	cfg := Config{
		Self: name, Instance: "i", Seed: specOf(len(c.voters), 2), Peers: Over(a.peers),
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

// until waits, in virtual time, for something to become so; it says how long it took.
func until(t *testing.T, limit time.Duration, what string, so func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !so() {
		if time.Since(began) > limit {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
	}
	return time.Since(began)
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

var errNone = errors.New("none")

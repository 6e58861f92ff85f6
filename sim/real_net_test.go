package sim_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/raftnode"
)

// link is one direction between two members.
type link struct{ from, to fsm.MemberID }

// network carries datagrams, Raft's calls and the requests of the TLS port over
// the same directed links. A cut link swallows what is sent, as a firewall does:
// the sender learns of it by its own timeout.
type network struct {
	mu    sync.Mutex
	rng   *rand.Rand
	ports map[fsm.MemberID]*node // the process that has a member's port
	addrs map[fsm.MemberID]*net.UDPAddr
	names map[string]fsm.MemberID
	cuts  map[link]bool
	loss  float64 // of datagrams
	// gullible leaves out the check of the certificate at the other end of a
	// connection: whoever has the port answers.
	gullible bool
}

func newNetwork(seed uint64, spec fsm.Spec) *network {
	n := &network{
		rng:   rand.New(rand.NewPCG(seed, 2)),
		ports: map[fsm.MemberID]*node{}, addrs: map[fsm.MemberID]*net.UDPAddr{},
		names: map[string]fsm.MemberID{}, cuts: map[link]bool{},
	}
	for name, s := range spec.Servers {
		addr, err := net.ResolveUDPAddr("udp", s.Addr)
		if err != nil {
			panic(err)
		}
		n.addrs[name], n.names[s.Addr] = addr, name
	}
	return n
}

// resolve says where a member's datagrams go.
func (n *network) resolve(m fsm.MemberID) (net.Addr, bool) {
	addr, ok := n.addrs[m]
	return addr, ok
}

func (n *network) cut(from, to fsm.MemberID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cuts[link{from, to}]
}

// set cuts links or puts them back.
func (n *network) set(cut bool, links ...link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range links {
		n.cuts[l] = cut
	}
}

// heal puts everything back at one instant.
func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cuts)
	n.loss = 0
}

func (n *network) lose(share float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = share
}

func (n *network) port(m fsm.MemberID) *node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ports[m]
}

// open gives a process its member's port; shut takes it away again.
func (n *network) open(p *node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports[p.name] = p
}

func (n *network) shut(p *node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ports[p.name] == p {
		delete(n.ports, p.name)
	}
}

// delay is how long something is on its way.
func (n *network) delay() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return 100*time.Microsecond + time.Duration(n.rng.Int64N(int64(time.Millisecond)))
}

// carry delivers a datagram, or loses it.
func (n *network) carry(from *conn, to net.Addr, data []byte) {
	wait := n.delay()
	n.mu.Lock()
	defer n.mu.Unlock()
	name := n.names[to.String()]
	lost := n.rng.Float64() < n.loss
	if lost || n.cuts[link{from.self, name}] {
		return
	}
	d := datagram{n.addrs[from.self], append([]byte(nil), data...)}
	time.AfterFunc(wait, func() {
		if p := n.port(name); p != nil {
			select {
			case p.conn.in <- d:
			default: // a full socket loses
			}
		}
	})
}

var errDead = errors.New("this process has ended")

// travel takes a request to the process that has a member's port, or waits for
// the end of ctx on a link that is cut.
func (n *network) travel(ctx context.Context, from *node, to fsm.MemberID) (*node, error) {
	if err := n.pass(ctx, from, from.name, to); err != nil {
		return nil, err
	}
	p := n.port(to)
	if p == nil {
		return nil, fmt.Errorf("dial %s: %w", to, syscall.ECONNREFUSED)
	}
	return p, nil
}

// pass waits for what is on its way in one direction, on behalf of a process.
func (n *network) pass(ctx context.Context, of *node, from, to fsm.MemberID) error {
	timer := time.NewTimer(n.delay())
	defer timer.Stop()
	over := timer.C
	if n.cut(from, to) {
		over = nil
	}
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-of.killed:
		return errDead
	}
}

// peers are the requests of one process to others, outside Raft.
type peers struct {
	net  *network
	self *node
}

// Hello implements raftnode.Peers.
func (p peers) Hello(ctx context.Context, addr string, _ fsm.MemberID, mine raftnode.Hello) (raftnode.Hello, error) {
	to, err := p.net.travel(ctx, p.self, p.net.names[addr])
	if err != nil {
		return raftnode.Hello{}, err
	}
	theirs := to.raft.Hello(mine)
	return theirs, p.net.pass(ctx, p.self, to.name, p.self.name)
}

// Propose implements raftnode.Peers.
func (p peers) Propose(ctx context.Context, addr raft.ServerAddress, cmd []byte) (fsm.Result, error) {
	_, id, err := raftnode.SplitAddress(addr)
	if err != nil {
		return fsm.Result{}, err
	}
	to, err := p.net.travel(ctx, p.self, id.Member())
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fsm.Result{}, fmt.Errorf("%w: %w", raftnode.ErrNotLeader, err)
	case err != nil:
		return fsm.Result{}, err
	case to.id() != id && !p.net.gullible:
		return fsm.Result{}, fmt.Errorf("%w: wrong instance", raftnode.ErrNotLeader)
	}
	res, err := to.raft.ProposeBytes(ctx, cmd)
	if back := p.net.pass(ctx, p.self, to.name, p.self.name); back != nil {
		return fsm.Result{}, back
	}
	return res, err
}

// rpcTimeout is what raftnode.NewTransport gives Raft's calls at these timings.
const rpcTimeout = time.Second

// transport is Raft's in-memory one over the network's links; it keeps the
// pre-vote and has no pipelines, as the shipped transport.
type transport struct {
	*raft.InmemTransport
	net  *network
	self *node
}

var _ raft.WithPreVote = (*transport)(nil)

func newTransport(n *network, self *node, addr raft.ServerAddress) *transport {
	_, inner := raft.NewInmemTransportWithTimeout(addr, rpcTimeout)
	inner.Connect(addr, inner)
	return &transport{InmemTransport: inner, net: n, self: self}
}

// call makes one call over both directions of a link.
func (t *transport) call(target raft.ServerAddress, do func() error) error {
	if target == t.LocalAddr() {
		return do() // the message to itself with which a voter takes over
	}
	_, id, err := raftnode.SplitAddress(target)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), rpcTimeout)
	defer cancel()
	to, err := t.net.travel(ctx, t.self, id.Member())
	if err != nil {
		return fmt.Errorf("call %s: %w", target, err)
	}
	if to.id() != id && !t.net.gullible {
		return fmt.Errorf("call %s: %s answers there", target, to.id())
	}
	t.Connect(target, to.trans.InmemTransport)
	if err := do(); err != nil {
		return err
	}
	return t.net.pass(ctx, t.self, to.name, t.self.name)
}

// AppendEntriesPipeline implements raft.Transport.
func (t *transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// AppendEntries implements raft.Transport.
func (t *transport) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	return t.call(to, func() error { return t.InmemTransport.AppendEntries(id, to, req, resp) })
}

// RequestVote implements raft.Transport.
func (t *transport) RequestVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return t.call(to, func() error { return t.InmemTransport.RequestVote(id, to, req, resp) })
}

// RequestPreVote implements raft.WithPreVote.
func (t *transport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return t.call(to, func() error { return t.InmemTransport.RequestPreVote(id, to, req, resp) })
}

// InstallSnapshot implements raft.Transport.
func (t *transport) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	return t.call(to, func() error { return t.InmemTransport.InstallSnapshot(id, to, req, resp, data) })
}

// TimeoutNow implements raft.Transport.
func (t *transport) TimeoutNow(id raft.ServerID, to raft.ServerAddress, req *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return t.call(to, func() error { return t.InmemTransport.TimeoutNow(id, to, req, resp) })
}

// datagram is one on its way.
type datagram struct {
	from net.Addr
	data []byte
}

// conn is a udp.Conn; its deadline works as net.Pipe's.
type conn struct {
	net    *network
	self   fsm.MemberID
	in     chan datagram
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	timer   *time.Timer
	expired chan struct{}
}

func (n *network) listen(self fsm.MemberID) *conn {
	return &conn{net: n, self: self, in: make(chan datagram, 1024), expired: make(chan struct{}), closed: make(chan struct{})}
}

// ReadFrom implements udp.Conn.
func (c *conn) ReadFrom(buf []byte) (int, net.Addr, error) {
	c.mu.Lock()
	expired := c.expired
	c.mu.Unlock()
	select {
	case <-expired: // a deadline in the past comes first, as with a socket
		return 0, nil, os.ErrDeadlineExceeded
	default:
	}
	select {
	case d := <-c.in:
		return copy(buf, d.data), d.from, nil
	case <-expired:
		return 0, nil, os.ErrDeadlineExceeded
	case <-c.closed:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo implements udp.Conn.
func (c *conn) WriteTo(data []byte, to net.Addr) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	c.net.carry(c, to, data)
	return len(data), nil
}

// SetReadDeadline implements udp.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil && !c.timer.Stop() {
		<-c.expired
	}
	c.timer = nil
	select {
	case <-c.expired:
		c.expired = make(chan struct{})
	default:
	}
	expired := c.expired
	if wait := time.Until(t); wait > 0 {
		c.timer = time.AfterFunc(wait, func() { close(expired) })
	} else {
		close(expired)
	}
	return nil
}

// Close implements udp.Conn.
func (c *conn) Close() error { c.once.Do(func() { close(c.closed) }); return nil }

package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
	"github.com/flip-ha/flip/secure"
)

var (
	keys      = sync.OnceValue(func() *secure.Keys { return derive("the cluster's key") })
	otherKeys = sync.OnceValue(func() *secure.Keys { return derive("another key") })
)

func derive(key string) *secure.Keys {
	k, err := secure.Derive([]byte(key))
	if err != nil {
		panic(err)
	}
	return k
}

// wire is an in-memory network for bubbles: every datagram takes a millisecond.
type wire struct {
	mu    sync.Mutex
	conns map[netip.AddrPort]*wireConn
	cut   func(from, to netip.AddrPort) bool
	sent  []letter // everything ever sent
}

type letter struct {
	at       time.Time
	from, to netip.AddrPort
	data     []byte
}

type datagram struct {
	from net.Addr
	data []byte
}

func newWire() *wire { return &wire{conns: map[netip.AddrPort]*wireConn{}} }

func (w *wire) listen(addr *net.UDPAddr) *wireConn {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &wireConn{
		wire: w, addr: addr, in: make(chan datagram, 4096),
		expired: make(chan struct{}), closed: make(chan struct{}),
	}
	w.conns[keyOf(addr)] = c
	return c
}

// carry delivers a datagram, whoever says he sent it.
func (w *wire) carry(from net.Addr, to net.Addr, data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	data = append([]byte(nil), data...)
	w.sent = append(w.sent, letter{time.Now(), keyOf(from), keyOf(to), data})
	target := w.conns[keyOf(to)]
	if target == nil || w.cut != nil && w.cut(keyOf(from), keyOf(to)) {
		return
	}
	d := datagram{from, data}
	time.AfterFunc(time.Millisecond, func() {
		select {
		case target.in <- d:
		default: // a full socket loses
		}
	})
}

// letters are the datagrams sent to an address.
func (w *wire) letters(to net.Addr) (out []letter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.sent {
		if l.to == keyOf(to) {
			out = append(out, l)
		}
	}
	return out
}

// wireConn is a Conn on a wire; its deadline works as net.Pipe's.
type wireConn struct {
	wire   *wire
	addr   net.Addr
	in     chan datagram
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	timer   *time.Timer
	expired chan struct{}
}

func (c *wireConn) ReadFrom(buf []byte) (int, net.Addr, error) {
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

func (c *wireConn) WriteTo(data []byte, to net.Addr) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	c.wire.carry(c.source(), to, data)
	return len(data), nil
}

// source is the address that what it sends seems to come from.
func (c *wireConn) source() net.Addr {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	return c.addr
}

func (c *wireConn) SetReadDeadline(t time.Time) error {
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

func (c *wireConn) Close() error { c.once.Do(func() { close(c.closed) }); return nil }

// cluster is some endpoints in one bubble and the log they share.
type cluster struct {
	t     *testing.T
	wire  *wire
	addrs map[fsm.MemberID]*net.UDPAddr
	nodes map[fsm.MemberID]*node
	state *fsm.State
	at    fsm.Index
	id    string
	begin time.Time
}

type node struct {
	*Endpoint
	conn  *wireConn
	stop  context.CancelFunc
	ended chan error
}

const (
	beat = 50 * time.Millisecond
	ttl  = 300 * time.Millisecond
)

func newCluster(t *testing.T, names ...fsm.MemberID) *cluster {
	c := &cluster{
		t: t, wire: newWire(), id: "c1", state: fsm.New(), begin: time.Now(),
		addrs: map[fsm.MemberID]*net.UDPAddr{}, nodes: map[fsm.MemberID]*node{},
	}
	spec := fsm.Spec{
		Timing:  fsm.Timing{Heartbeat: beat, Lease: ttl},
		Servers: map[fsm.MemberID]fsm.Server{},
	}
	var ids []fsm.VoterID
	for i, name := range names {
		c.addrs[name] = &net.UDPAddr{IP: net.IPv4(10, 0, 0, byte(i+1)), Port: 2200}
		spec.Servers[name] = fsm.Server{Name: name, Addr: c.addrs[name].String(), Role: fsm.RoleVoter}
		ids = append(ids, fsm.NewVoterID(name, "i-"+string(name)))
	}
	for i, name := range names {
		c.start(name, spec, byte(i+1))
	}
	c.commit(fsm.SetSpec{Cluster: c.id, Spec: spec})
	c.at++
	c.state = c.state.WithVoters(fsm.Voters{Index: c.at, IDs: ids})
	c.show()
	return c
}

// start runs a node whose clock has nothing to do with the others'.
func (c *cluster) start(name fsm.MemberID, seed fsm.Spec, process byte) {
	clock := func() time.Duration { return time.Since(c.begin) + time.Duration(process)*time.Hour }
	nonces := byte(0)
	instance := "i-" + string(name)
	p := liveness.New(liveness.Config{
		Self: name, Instance: instance, Process: fsm.Nonce{process}, Started: clock(), Voter: true, Seed: seed,
		Host:     fsm.Host{Machine: "m-" + string(name), Boot: "b", Instance: instance},
		NewNonce: func() fsm.Nonce { nonces++; return fsm.Nonce{process, nonces} },
	})
	n := &node{conn: c.wire.listen(c.addrs[name]), ended: make(chan error, 1)}
	n.Endpoint = New(Config{
		Self: name, Clock: clock, Log: zerolog.Nop(),
		Resolve: c.resolve,
		Cluster: c.clusterID,
	}, n.conn, keys().Box(secure.Sender{Name: name, Instance: instance, Process: fsm.Nonce{process}}), p)
	ctx, cancel := context.WithCancel(c.t.Context())
	n.stop = cancel
	go func() { n.ended <- n.Run(ctx) }()
	c.nodes[name] = n
}

// change changes what the nodes look at while they run.
func (c *cluster) change(do func()) {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	do()
}

func (c *cluster) resolve(to fsm.MemberID) (net.Addr, bool) {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	a, ok := c.addrs[to]
	return a, ok
}

func (c *cluster) clusterID() string {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	return c.id
}

// commit applies a command and shows everybody.
func (c *cluster) commit(cmd fsm.Command) {
	c.t.Helper()
	c.at++
	next, result, err := c.state.Apply(c.at, fsm.Encode(cmd))
	if err != nil || !result.Applied {
		c.t.Fatalf("%T: %+v, %v", cmd, result, err)
	}
	c.state = next
	c.show()
}

// show lets everybody read the log; n1 leads.
func (c *cluster) show() {
	for name, n := range c.nodes {
		n.Read(c.state, c.at, name == "n1", "n1/i-n1")
	}
}

// pass lets time pass and commits what the members ask for.
func (c *cluster) pass(d time.Duration) {
	c.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(min(10*time.Millisecond, time.Until(end)))
		for _, n := range c.nodes {
			if r, due := n.Register(); due {
				c.commit(r)
			}
		}
	}
}

// leased fails unless exactly these hold a lease.
func (c *cluster) leased(names ...fsm.MemberID) {
	c.t.Helper()
	want := map[fsm.MemberID]bool{}
	for _, name := range names {
		want[name] = true
	}
	for name, n := range c.nodes {
		if left, ok := n.Lease(); ok != want[name] || left > ttl {
			c.t.Errorf("%s: lease %v, %v", name, left, ok)
		}
	}
}

// stop ends everything; the bubble waits for all of it.
func (c *cluster) stop() {
	c.t.Helper()
	for name, n := range c.nodes {
		n.stop()
		if err := <-n.ended; err != nil && !errors.Is(err, context.Canceled) {
			c.t.Errorf("%s: %v", name, err)
		}
	}
}

// peer is what from knows of to.
func (c *cluster) peer(from, to fsm.MemberID) PeerStats {
	c.t.Helper()
	for _, p := range c.nodes[from].Peers() {
		if p.Name == to {
			return p
		}
	}
	c.t.Fatal(fmt.Errorf("%s does not know %s", from, to))
	return PeerStats{}
}

package agent

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/api/server"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
)

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
	asked   int               // connections wanted
	when    map[time.Time]int // at each moment
	conns   chan net.Conn
	gone    bool
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
	v := &voter{c: c, name: name, addr: string(name) + ":1", state: c.state, at: c.at, leader: leader{c.leader, string(c.leader) + ":1"}, changed: make(chan struct{}), conns: make(chan net.Conn), when: map[time.Time]int{}}
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

// kill ends a voter: its connections break.
func (c *cluster) kill(name fsm.MemberID) { c.voter(name).stop() }

// times is how often a connection to it was wanted.
func (v *voter) times() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.asked
}

func (v *voter) isGone() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.gone
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
		v.when[time.Now()]++
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

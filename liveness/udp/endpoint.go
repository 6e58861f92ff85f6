package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
	"github.com/flip-ha/flip/secure"
)

const (
	// hailEvery is how often every server that votes is told that this one is there, so that
	// status can tell a blocked port before anybody is registered.
	hailEvery = time.Second
	// roomFor is the socket's buffer that is asked for, of which the kernel makes twice
	// as much: some 5,000 heartbeats. What it gives by default (some 300) a thousand
	// members fill while a busy machine has no processor for this process.
	roomFor = 2 << 20
	// maxDrain bounds what is read before a tick. It is more than the socket's
	// buffer holds, so that nothing that had arrived is missed; and a flood cannot
	// put the tick off: what does not verify takes a microsecond or two.
	maxDrain = 8192
	// minWait keeps a process that asks to be woken in the past from spinning.
	minWait = time.Millisecond
	// errorRest is the pause after an error of the socket that passes.
	errorRest = 10 * time.Millisecond
	// readSize holds any UDP datagram: 65,507 bytes and one to see the excess.
	readSize = 1 << 16
)

// Conn is what an Endpoint needs of a socket; *net.UDPConn is one.
type Conn interface {
	ReadFrom([]byte) (int, net.Addr, error)
	WriteTo([]byte, net.Addr) (int, error)
	SetReadDeadline(time.Time) error
	Close() error
}

// Config is what an Endpoint is told once.
type Config struct {
	Self fsm.MemberID
	// Resolve says where a server is now. Every message goes there; nothing is
	// ever sent to the source address of a datagram. Resolve, Servers and Cluster
	// are called under the Endpoint's lock: they answer at once, without asking
	// the network, and call no method of it.
	Resolve func(fsm.MemberID) (net.Addr, bool)
	// Servers are all the servers known now, this one may be among them. They have
	// statistics, and those that vote are hailed. Nil: those of the newest Spec read.
	Servers func() []fsm.MemberID
	// Cluster is the id of the cluster this server belongs to; "" for none yet.
	Cluster func() string
	Clock   func() time.Duration // CLOCK_BOOTTIME; see Boottime
	Measure Measure
	Log     zerolog.Logger
}

// Measure is told of what is worth a histogram, under the Endpoint's lock: it
// may not block. Each may be nil.
type Measure struct {
	Gap   func(time.Duration) // between two heartbeats of the same member
	Left  func(time.Duration) // of the lease, when it was renewed
	Lapse func()              // the lease has ended
	// Late is by how much this process itself was later than it had asked to be
	// woken, mostly for its next heartbeat: it was held up.
	Late func(time.Duration)
}

// Endpoint owns a liveness.Process and its socket. All methods are safe for
// concurrent use; none waits for the network.
type Endpoint struct {
	cfg     Config
	conn    Conn
	box     *secure.Box
	changed chan struct{}

	mu       sync.Mutex
	process  *liveness.Process
	next     time.Duration // when the process wants to be woken
	nextHail time.Duration
	woken    bool // something happened outside of the loop: tick at once
	seen     observed
	spec     *fsm.Spec // the newest read, for Config.Servers == nil
	stats    statistics
}

// New makes an Endpoint that owns conn and process from now on. Nothing happens
// before Run.
func New(cfg Config, conn Conn, box *secure.Box, process *liveness.Process) *Endpoint {
	cfg.Measure.fill()
	return &Endpoint{
		cfg: cfg, conn: conn, box: box, process: process,
		changed: make(chan struct{}, 1),
		stats:   newStatistics(cfg.Log),
	}
}

func (m *Measure) fill() {
	nothing := func(time.Duration) {}
	if m.Gap == nil {
		m.Gap = nothing
	}
	if m.Left == nil {
		m.Left = nothing
	}
	if m.Late == nil {
		m.Late = nothing
	}
	if m.Lapse == nil {
		m.Lapse = func() {}
	}
}

// Run reads, ticks and sends until ctx ends, then closes the socket. One
// goroutine does it all: whatever had arrived before a tick is taken in before
// that tick, so that a process that was late itself calls nobody silent whose
// heartbeats lie in its own socket.
func (e *Endpoint) Run(ctx context.Context) error {
	// Waking is enough: the loop looks at ctx, and the socket stays usable for
	// what others are sending at this moment.
	stop := context.AfterFunc(ctx, e.wake)
	defer stop()
	defer func() { _ = e.conn.Close() }()
	e.mu.Lock()
	e.stats.know(e.servers(), e.cfg.Self, e.cfg.Resolve)
	e.mu.Unlock()
	buf := make([]byte, readSize)
	waiting := newWaiting(e.conn)
	waiting.widen()
	for ctx.Err() == nil {
		for n := 0; n < maxDrain; n++ {
			size, from, ok := waiting.read(buf)
			if !ok {
				break
			}
			e.receive(buf[:size], from)
		}
		e.tick()
		ready, err := e.arm()
		if err != nil {
			return fmt.Errorf("wait on the heartbeat socket: %w", err)
		}
		if !ready {
			continue
		}
		size, from, err := e.conn.ReadFrom(buf)
		switch {
		case err == nil:
			e.receive(buf[:size], keyOf(from))
		case errors.Is(err, os.ErrDeadlineExceeded):
		case errors.Is(err, net.ErrClosed):
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("read the heartbeat socket: %w", err)
		default:
			e.failed(ctx, err)
		}
	}
	return nil
}

// failed waits out an error of the socket that passes, such as want of memory.
func (e *Endpoint) failed(ctx context.Context, err error) {
	e.mu.Lock()
	e.stats.readError(err)
	e.mu.Unlock()
	rest := time.NewTimer(errorRest)
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done():
	}
}

// tick lets the process act if its time has come, or something happened.
func (e *Endpoint) tick() {
	e.mu.Lock()
	now := e.cfg.Clock()
	var batch []sending
	if now >= e.nextHail {
		batch = e.hails()
		// On the grid of its own beginning, and never a burst to catch up.
		if e.nextHail += hailEvery; e.nextHail <= now {
			e.nextHail = now + hailEvery
		}
	}
	// After every event, not only when due: what came may have moved the time at
	// which the process wants to be woken.
	outs, next := e.process.Tick(now)
	if e.next != 0 && now > e.next {
		e.cfg.Measure.Late(now - e.next)
	}
	e.next = next
	e.woken = false
	batch = append(batch, e.address(outs)...)
	e.observe(now)
	e.mu.Unlock()
	e.send(batch)
}

// arm sets the socket's deadline to the next absolute time at which something
// is due; false: it is due already.
func (e *Endpoint) arm() (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.woken {
		return false, nil
	}
	now := e.cfg.Clock()
	wait := min(e.next, e.nextHail) - now
	if wait <= 0 {
		wait = minWait
	}
	if err := e.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return false, err
	}
	return true, nil
}

// wake makes the loop tick at once.
func (e *Endpoint) wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.woken = true
	_ = e.conn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed socket, which wakes it too
}

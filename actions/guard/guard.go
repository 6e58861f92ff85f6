package guard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/fsm"
)

const (
	// tellWait is how long a change of the list waits for a guard to be told.
	tellWait = 2 * time.Second
	// leastAnswer is how long a guard may be silent, at least.
	leastAnswer = time.Second
	// quietest is how often a guard is told of the lease, changed or not: the
	// answer shows that it lives.
	quietest = 250 * time.Millisecond
	// restFirst doubles up to restMax: from one start to the next, of guards that
	// end at once.
	restFirst = 20 * time.Millisecond
	restMax   = 2 * time.Second
	// leaveWait is how long a guard that is not needed any more may take to end.
	leaveWait = time.Second
)

// ErrNoGuard says that no guard could be told: nothing may be acquired.
var ErrNoGuard = errors.New("no guard runs that could be told")

// Config is what a Guard is made from. The files are only lent; nil: the node has
// none.
type Config struct {
	Command []string // the child's program and arguments: /proc/self/exe outlives an upgrade
	Lock    *os.File // of the data directory
	Gate    *os.File // the socket that owns the tables
	Socket  *os.File // of heartbeats
	Hold    *Hold
	Hello   Hello
	Lease   func() time.Duration // the length of a lease as agreed now
	Log     zerolog.Logger
	Stderr  *os.File // where the guard logs; nil: os.Stderr
}

// Status is how the guard does.
type Status struct {
	PID      int
	Up       bool // it runs and answers
	Restarts int
	Err      string // why there is none, or why the last one ended
}

// Guard is the daemon's side: it keeps one child running that knows all that the
// daemon may hold. Its methods may be called from any goroutine, also before Run;
// only Put and Drop wait.
type Guard struct {
	// life is lent to each child; hold is its other end, which this process has open
	// until its death.
	life, hold *os.File

	cfg Config

	mu      sync.Mutex
	entries map[uint64]ledger.Entry
	lease   leaseState
	peers   Peers
	current *session
	up      chan struct{} // closed while there is one that was told all
	status  Status
	closed  bool
}

// New makes a Guard; Run starts the child.
func New(cfg Config) *Guard {
	cfg.Hello.PID = os.Getpid()
	cfg.Hello.Has.Lock, cfg.Hello.Has.Gate, cfg.Hello.Has.Socket = cfg.Lock != nil, cfg.Gate != nil, cfg.Socket != nil
	if cfg.Lease == nil {
		cfg.Lease = func() time.Duration { return 0 }
	}
	if cfg.Stderr == nil {
		cfg.Stderr = os.Stderr
	}
	return &Guard{
		cfg: cfg, entries: map[uint64]ledger.Entry{}, up: make(chan struct{}),
		peers: Peers{Cluster: cfg.Hello.Cluster, Heartbeat: cfg.Hello.Heartbeat},
	}
}

// Seed takes in what the list holds already, before anything else is told.
func (g *Guard) Seed(entries []ledger.Entry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range entries {
		g.entries[e.ID] = e
	}
}

// Run keeps a guard running until ctx ends. If it was told to Leave it ends with
// the daemon's side; if not, it goes on watching until this process ends.
func (g *Guard) Run(ctx context.Context) error {
	rest := restFirst
	for {
		began := time.Now()
		s, err := g.start()
		if err == nil {
			err = s.run(ctx)
		}
		if ctx.Err() != nil {
			return g.leave(s)
		}
		g.lost(s, err)
		if time.Since(began) > restMax {
			rest = restFirst
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rest):
		}
		rest = min(2*rest, restMax)
	}
}

// start starts a child and tells it all there is.
func (g *Guard) start() (*session, error) {
	// One for all guards: a child that is between fork and exec while a guard is
	// replaced must be seen by the next one.
	if g.life == nil {
		var err error
		if g.life, g.hold, err = os.Pipe(); err != nil {
			return nil, fmt.Errorf("make the guard's life line: %w", err)
		}
	}
	s, err := newSession(&g.cfg, g.life)
	if err != nil {
		return nil, err
	}
	if err := g.introduce(s); err != nil {
		return nil, errors.Join(fmt.Errorf("tell the new guard what there is: %w", err), s.kill())
	}
	return s, nil
}

// introduce tells a new child the list. Nothing changes meanwhile: Put and Drop
// wait for the lock, and their change is in the list or comes after it.
func (g *Guard) introduce(s *session) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	hello := frame{kind: frameHello, hello: g.cfg.Hello}
	hello.hello.Cluster, hello.hello.Heartbeat = g.peers.Cluster, g.peers.Heartbeat
	all := []frame{hello, {kind: framePeers, peers: g.peers}}
	for _, e := range g.entries {
		all = append(all, frame{kind: framePut, entry: e})
	}
	// The lease last: whoever knows it knows all that it is about.
	all = append(all, frame{kind: frameListed}, frame{kind: frameLease, lease: g.lease})
	if err := s.write(all...); err != nil {
		return err
	}
	s.lease = g.lease
	if g.closed { // the one before has died of it, and has not acted
		s.close()
	}
	g.current = s
	g.status.PID, g.status.Err = s.pid(), ""
	close(g.up)
	g.cfg.Log.Info().Int("pid", s.pid()).Int("items", len(g.entries)).Msg("guard started")
	return nil
}

// lost notes the end of a child.
func (g *Guard) lost(s *session, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.current != nil {
		g.up = make(chan struct{})
	}
	g.current = nil
	pid := g.status.PID
	g.status.PID = 0
	g.status.Restarts++
	why := "it ended"
	if err != nil {
		why = err.Error()
	}
	g.status.Err = why
	if s == nil {
		g.cfg.Log.Error().Str("why", why).Msg("guard cannot be started: trying again")
		return
	}
	g.cfg.Log.Error().Int("pid", pid).Str("why", why).Msg("guard lost: starting another")
}

// leave waits for the end of a guard that was told to leave.
func (g *Guard) leave(s *session) error {
	g.mu.Lock()
	left := g.lease.left
	g.mu.Unlock()
	if s == nil || !left {
		return nil // it watches on, until this process ends
	}
	return s.leave()
}

// Status says how the guard does.
func (g *Guard) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	st := g.status
	st.Up = g.current != nil && g.current.heard.Load() > 0
	return st
}

// Put implements ledger.Mirror: it returns when the guard has been told. What is
// only just to be started waits for a guard, if there is none, and is refused in
// the end; anything else the next guard learns from the list.
func (g *Guard) Put(e ledger.Entry) error {
	g.mu.Lock()
	was, known := g.entries[e.ID]
	g.entries[e.ID] = e
	err := g.tell(frame{kind: framePut, entry: e}, e.Phase == ledger.Starting)
	if err == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.current != nil {
		return nil // it came at the last moment, and was told all
	}
	if delete(g.entries, e.ID); known {
		g.entries[e.ID] = was
	}
	return err
}

// Drop implements ledger.Mirror.
func (g *Guard) Drop(id uint64) error {
	g.mu.Lock()
	delete(g.entries, id)
	return g.tell(frame{kind: frameDrop, id: id}, false)
}

// tell hands a change to the guard. If there is none it waits for the next one,
// which is told the list, if it must. It is called with the lock held and gives it
// up.
func (g *Guard) tell(f frame, must bool) error {
	s, closed := g.current, g.closed
	if s != nil {
		// The lease under which it happens goes first: a guard that knows of none
		// waits for none to end.
		err := s.write(f)
		if err == nil {
			g.mu.Unlock()
			return nil
		}
		// Cut in the middle of a frame, perhaps: this one is of no more use.
		g.current, g.up = nil, make(chan struct{})
		s.fail(fmt.Errorf("it takes no messages: %w", err))
	}
	up := g.up
	g.mu.Unlock()
	if !must {
		return nil
	}
	if closed {
		return fmt.Errorf("%w: %w", ErrNoGuard, os.ErrClosed)
	}
	timer := time.NewTimer(tellWait)
	defer timer.Stop()
	select {
	case <-up:
		return nil
	case <-timer.C:
		return fmt.Errorf("%w in %v: %s", ErrNoGuard, tellWait, g.Status().Err)
	}
}

// Lease tells of the newest epoch and of when its lease ends, on CLOCK_BOOTTIME;
// 0: it has none yet. What was said of a lease that ended before is void then.
func (g *Guard) Lease(epoch fsm.Epoch, ends time.Duration) {
	g.change(func(l *leaseState) {
		if epoch < l.epoch {
			return
		}
		if ends != 0 && (epoch > l.epoch || ends > l.ends) {
			l.released, l.until = false, 0
		}
		l.epoch = epoch
		if ends != 0 {
			l.ends = ends
		}
	})
}

// Released says that all at-most-one items that could be let go of after the last
// lease are: what is listed still has a `down` that failed.
func (g *Guard) Released() { g.change(func(l *leaseState) { l.released = true }) }

// Releasing says that the daemon lets go by itself after the last lease, until
// then at the latest (CLOCK_BOOTTIME).
func (g *Guard) Releasing(until time.Duration) { g.change(func(l *leaseState) { l.until = until }) }

// Leave says that the daemon ends in order: what it leaves it leaves on purpose. It
// is in the pipe when Leave returns, for the daemon may end right then.
func (g *Guard) Leave() error {
	g.change(func(l *leaseState) { l.left = true })
	g.mu.Lock()
	s := g.current
	g.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.write()
}

// change tells the guard what is new, soon and without waiting for it.
func (g *Guard) change(set func(*leaseState)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.lease
	set(&g.lease)
	if g.lease != was && g.current != nil {
		g.current.news(g.lease)
	}
}

// Peers says who is to hear a goodbye: the voters, by address.
func (g *Guard) Peers(p Peers) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.peers = p
	if g.current != nil {
		g.current.tellPeers(p)
	}
}

// Key says by which keys a goodbye is sealed from now on: what secure.KeySet.Handover
// gives. It is in the pipe when Key returns, or is told to the next guard first.
func (g *Guard) Key(key []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cfg.Hello.Key = key
	s := g.current
	if s == nil {
		return
	}
	if err := s.write(frame{kind: frameKey, key: key}); err != nil {
		g.current, g.up = nil, make(chan struct{})
		s.fail(fmt.Errorf("it takes no messages: %w", err))
	}
}

// Close ends the pipe, upon which the guard ends this process: for a daemon that
// cannot go on and may not even be able to end.
func (g *Guard) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	if g.current != nil {
		g.current.close()
	}
}

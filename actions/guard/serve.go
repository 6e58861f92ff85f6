package guard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/fsm"
)

// Gate is what the guard needs of the kernel's gate.
type Gate interface {
	Shut() error
	// Remove takes out addresses that are not on this machine any more.
	Remove(addrs []netip.Addr) error
	Close() error // for a new daemon to take the tables over
}

// Addresses takes addresses away, wherever on this machine they are; one that is
// not there is fine. The answer has an error for each.
type Addresses interface {
	Remove(addrs []netip.Addr) []error
}

// Hooks runs `down`; *actions.Hooks is one.
type Hooks interface {
	Release(ctx context.Context, job fsm.Job) error
}

// List is kept right while the guard lets go; *ledger.List is one.
type List interface {
	Begin(e actions.Effect) (run string, err error)
	End(e actions.Effect, err error)
}

// Farewell says the goodbye. None of it may wait for the network, but Listen,
// which hands on what was acknowledged until the process ends.
type Farewell interface {
	Peers(cluster string, addrs map[fsm.MemberID]string)
	Rekey(key []byte) error
	Say(epoch fsm.Epoch, kept []fsm.Key) error
	Listen(acked func(kept int))
}

// Duties is what a guard does its work with; nil: the node has no such thing.
type Duties struct {
	Gate      Gate
	Addresses Addresses
	Hooks     Hooks
	Farewell  Farewell
	EndRuns   func(ctx context.Context, runs []string) error
	// Resume takes over the list of the dead daemon.
	Resume func() (List, []ledger.Entry, error)
}

// Files are what the daemon has handed over; nil: it has none.
type Files struct{ Lock, Gate, Socket *os.File }

// ServeConfig is what the child is made from.
type ServeConfig struct {
	// Open makes ready all that the guard may need, before it is needed.
	Open func(Hello, Files, zerolog.Logger) (Duties, error)
	// Log must not wait for who reads it: see NewWriter.
	Log zerolog.Logger
}

// server is the child. All but the acts that take their time is of one thread.
type server struct {
	cfg    ServeConfig
	log    zerolog.Logger
	core   *Core
	duties Duties
	hello  Hello
	files  Files
	ctx    context.Context

	pipe, echo, daemon int
	timer, event       int
	buf                []byte
	taken              uint64 // frames
	greeted, listed    bool
	eof                bool // of the pipe
	childless          bool // and so is the life line
	dead               bool
	acting             bool
	looked             time.Duration // at the daemon's threads
	list               List
	voters             int              // others than the daemon that are to hear a goodbye
	strikes            []actions.Effect // released: to be noted in the list and taken out of the gate
	listening, freed   bool

	mu      sync.Mutex
	results []func()
}

// Serve is the main function of the child that a Guard starts. It returns when
// the guard is not needed any more.
func Serve(ctx context.Context, cfg ServeConfig) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s := &server{cfg: cfg, log: cfg.Log, ctx: ctx, pipe: fdPipe, echo: fdEcho, daemon: fdDaemon}
	defer prepare(s.log)()
	if err := s.open(); err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	if err := s.loop(); err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	return nil
}

// open takes over what the daemon has handed down, of which a hook may inherit
// nothing.
func (s *server) open() error {
	for fd := fdPipe; fd <= fdHold; fd++ {
		unix.CloseOnExec(fd)
	}
	for _, fd := range []int{s.pipe, s.echo} {
		if err := unix.SetNonblock(fd, true); err != nil {
			return fmt.Errorf("the daemon's pipe: %w", err)
		}
	}
	var err error
	if s.timer, err = unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return fmt.Errorf("make a timer: %w", err)
	}
	if s.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("make an eventfd: %w", err)
	}
	s.buf = make([]byte, 0, pipeSize)
	return nil
}

// loop hears, decides and acts.
func (s *server) loop() error {
	for {
		if s.core != nil {
			over, err := s.step()
			if over || err != nil {
				return err
			}
		}
		if s.eof && !s.greeted {
			return errors.New("the pipe ended before anything was said")
		}
		if err := s.await(); err != nil {
			return err
		}
		// What the daemon has written before it died counts as told.
		if err := s.drain(); err != nil {
			return err
		}
		s.mourn()
		s.collect()
	}
}

// step carries out what is due.
func (s *server) step() (over bool, err error) {
	if !s.listed && (s.eof || s.dead) {
		s.resume() // the daemon died while this guard was being told
		s.listed = true
	}
	for {
		acts, next := s.core.Step(now())
		if why := s.core.Why(); why != "" && !s.acting {
			s.acting = true
			s.log.Warn().Str("why", why).Int("items", len(s.core.Held())).Msg("guard acts: letting go of all at-most-one items")
		}
		for i := range acts {
			if acts[i].Kind == Exit {
				s.strike()
				s.log.Info().Msg("guard has done its work")
				return true, nil
			}
			s.do(acts[i])
		}
		if len(acts) == 0 {
			s.strike()
			return false, s.arm(next)
		}
	}
}

// now is CLOCK_BOOTTIME, on which leases are counted.
func now() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail since Linux 2.6.39
	return time.Duration(ts.Nano())
}

// arm sets the timer to the time that the core has named.
func (s *server) arm(next time.Duration) error {
	var spec unix.ItimerSpec
	if next != Never {
		spec.Value = unix.NsecToTimespec(int64(max(next, 1)))
	}
	if err := unix.TimerfdSettime(s.timer, unix.TFD_TIMER_ABSTIME, &spec, nil); err != nil {
		return fmt.Errorf("set the timer: %w", err)
	}
	return nil
}

// await waits for whatever comes first.
func (s *server) await() error {
	fds := []unix.PollFd{{Fd: int32(s.timer), Events: unix.POLLIN}, {Fd: int32(s.event), Events: unix.POLLIN}}
	if !s.eof {
		fds = append(fds, unix.PollFd{Fd: int32(s.pipe), Events: unix.POLLIN})
	}
	if !s.dead {
		fds = append(fds, unix.PollFd{Fd: int32(s.daemon), Events: unix.POLLIN})
	}
	if !s.childless {
		fds = append(fds, unix.PollFd{Fd: fdLife, Events: unix.POLLIN})
	}
	wait := -1
	if s.acting && !s.dead {
		wait = threadsEvery
	}
	for {
		_, err := unix.Poll(fds, wait)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		break
	}
	var b [8]byte
	for _, fd := range []int{s.timer, s.event} {
		_, _ = unix.Read(fd, b[:]) // EAGAIN: it was not this one
	}
	return s.ctx.Err()
}

// drain reads all that is in the pipe, hands it to the core and answers.
func (s *server) drain() error {
	before := s.taken
	for !s.eof {
		if cap(s.buf)-len(s.buf) < 64<<10 {
			s.buf = append(make([]byte, 0, 2*cap(s.buf)), s.buf...)
		}
		n, err := unix.Read(s.pipe, s.buf[len(s.buf):cap(s.buf)])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the daemon's pipe: %w", err)
		}
		if n == 0 {
			s.eof = true
			break
		}
		s.buf = s.buf[:len(s.buf)+n]
		if err := s.take(); err != nil {
			return err
		}
	}
	if s.taken != before {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], s.taken)
		_, _ = unix.Write(s.echo, b[:]) // a daemon that does not read is no reason to wait
	}
	if s.eof && s.core != nil {
		s.core.HungUp(now())
	}
	return nil
}

// take hands on the frames that are whole.
func (s *server) take() error {
	rest := s.buf
	for {
		f, used, err := decodeFrame(rest)
		if err != nil {
			return err
		}
		if used == 0 {
			break
		}
		if err := s.hear(&f); err != nil {
			return err
		}
		s.taken++
		rest = rest[used:]
	}
	s.buf = s.buf[:copy(s.buf, rest)]
	return nil
}

// hear takes in one frame.
func (s *server) hear(f *frame) error {
	if f.kind != frameHello && !s.greeted {
		return fmt.Errorf("%w: no hello", errFrame)
	}
	switch f.kind {
	case frameHello:
		return s.greet(&f.hello)
	case framePut:
		s.core.Put(f.entry)
	case frameDrop:
		s.core.Drop(f.id)
	case frameListed:
		s.listed = true
	case framePeers:
		s.core.SetHeartbeat(f.peers.Heartbeat)
		s.voters = len(f.peers.Addrs)
		if _, itself := f.peers.Addrs[s.hello.Member]; itself {
			s.voters--
		}
		if s.duties.Farewell != nil {
			s.duties.Farewell.Peers(f.peers.Cluster, f.peers.Addrs)
		}
	case frameKey:
		if s.duties.Farewell == nil {
			return nil
		}
		if err := s.duties.Farewell.Rekey(f.key); err != nil { // it goes on with what it has
			s.log.Error().Err(err).Msg("this guard has not got the cluster's new key")
		}
	case frameLease:
		s.core.Lease(f.lease.epoch, f.lease.ends)
		if f.lease.until > 0 {
			s.core.Releasing(f.lease.until)
		}
		if f.lease.released {
			s.core.Released()
		}
		if f.lease.left {
			s.core.Leave()
		}
	}
	return nil
}

// greet makes everything ready.
func (s *server) greet(h *Hello) error {
	if s.greeted {
		return fmt.Errorf("%w: a second hello", errFrame)
	}
	s.greeted, s.hello = true, *h
	handed := func(has bool, fd int, name string) *os.File {
		if !has {
			return nil
		}
		return os.NewFile(uintptr(fd), name)
	}
	s.files = Files{
		Lock: handed(h.Has.Lock, fdLock, "lock"), Gate: handed(h.Has.Gate, fdGate, "gate"),
		Socket: handed(h.Has.Socket, fdSocket, "socket"),
	}
	if l, err := zerolog.ParseLevel(h.LogLevel); err == nil && h.LogLevel != "" {
		s.log = s.log.Level(l)
	}
	s.log = s.log.With().Str("guard_of", string(h.Member)).Logger()
	s.core = NewCore(CoreConfig{Heartbeat: h.Heartbeat})
	var err error
	if s.duties, err = s.cfg.Open(*h, s.files, s.log); err != nil {
		return fmt.Errorf("make ready: %w", err)
	}
	return nil
}

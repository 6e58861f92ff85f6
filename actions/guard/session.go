package guard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pipeSize holds some thousand entries: a daemon that lists them all at once is not
// held up by a guard that was not scheduled yet.
const pipeSize = 1 << 20

// Where the child finds what it was handed. A file that the node does not have is
// closed there.
const (
	fdPipe = 3 + iota
	fdEcho
	fdDaemon // pidfd
	fdLock
	fdGate
	fdSocket
	fdLife // never written to: it ends with the daemon and all that it has forked
	fdHold // never read: see Hold
)

// session is one child.
type session struct {
	cfg    *Config
	child  *os.Process
	pipe   *os.File
	echo   *os.File
	told   atomic.Uint64 // frames written …
	heard  atomic.Uint64 // … and answered
	wake   chan struct{}
	failed chan error
	exited chan struct{}
	ended  error // how the child did, once exited

	closed  atomic.Bool // the pipe was ended on purpose: the child is to act, and is let be
	writing sync.Mutex  // one frame at a time
	mu      sync.Mutex
	lease   leaseState // the newest …
	untold  bool       // … which is to be told
	peers   *Peers
}

// newSession starts a child.
func newSession(cfg *Config, life *os.File) (_ *session, err error) {
	s := &session{cfg: cfg, wake: make(chan struct{}, 1), failed: make(chan error, 1), exited: make(chan struct{})}
	var lent [3]*os.File // the child's ends
	defer func() {
		for _, f := range lent {
			if f != nil {
				err = errors.Join(err, f.Close())
			}
		}
		if err != nil {
			err = errors.Join(err, s.closeFiles())
		}
	}()
	if lent[0], s.pipe, err = os.Pipe(); err != nil {
		return nil, fmt.Errorf("make the guard's pipe: %w", err)
	}
	if s.echo, lent[1], err = os.Pipe(); err != nil {
		return nil, fmt.Errorf("make the guard's pipe: %w", err)
	}
	grow(s.pipe)
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil, fmt.Errorf("open a pidfd of this process (kernel 5.3): %w", err)
	}
	lent[2] = os.NewFile(uintptr(self), "pidfd")
	files := []*os.File{nil, nil, cfg.Stderr, lent[0], lent[1], lent[2], cfg.Lock, cfg.Gate, cfg.Socket, life, nil}
	if cfg.Hold != nil {
		files[len(files)-1] = cfg.Hold.out
	}
	if s.child, err = spawn(cfg.Command, files); err != nil {
		return nil, err
	}
	go func() {
		s.ended = howEnded(s.child.Wait())
		close(s.exited)
	}()
	return s, nil
}

// spawn starts a program with these descriptors, as they are: os/exec would set a
// socket to blocking for the daemon too, which shares its description
// (os.File.Fd). nil is closed in the child, but for the standard ones.
func spawn(command []string, files []*os.File) (*os.Process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", command[0], err)
	}
	defer func() { _ = null.Close() }()
	attr := &syscall.ProcAttr{
		Env: os.Environ(),
		// A session of its own: no terminal's signals, nor those to the daemon's group.
		Sys: &syscall.SysProcAttr{Setsid: true},
	}
	for i, f := range files {
		if f == nil && i <= 2 {
			f = null
		}
		fd := ^uintptr(0)
		if f != nil {
			raw, err := f.SyscallConn()
			if err == nil {
				err = raw.Control(func(n uintptr) { fd = n })
			}
			if err != nil {
				return nil, fmt.Errorf("hand %s to %s: %w", f.Name(), command[0], err)
			}
		}
		attr.Files = append(attr.Files, fd)
	}
	pid, err := syscall.ForkExec(command[0], command, attr)
	runtime.KeepAlive(files)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", command[0], err)
	}
	return os.FindProcess(pid)
}

// howEnded words the end of a child; nil: as it should.
func howEnded(state *os.ProcessState, err error) error {
	if err == nil && !state.Success() {
		err = errors.New(state.String())
	}
	return err
}

// grow makes room in the pipe, as far as this user may.
func grow(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		for size := pipeSize; size > 64<<10; size /= 2 {
			if _, err := unix.FcntlInt(fd, unix.F_SETPIPE_SZ, size); err == nil {
				return
			}
		}
	})
}

func (s *session) pid() int { return s.child.Pid }

// patience is how long the child may take to answer.
func (s *session) patience() time.Duration { return max(leastAnswer, 2*s.cfg.Lease()) }

// write puts frames into the pipe, behind what is new and not told yet: taken in
// one turn with the writing, so that nothing older ever follows it.
func (s *session) write(frames ...frame) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	frames = append(s.pending(), frames...)
	if len(frames) == 0 {
		return nil
	}
	var all []byte
	for i := range frames {
		b, err := encodeFrame(&frames[i])
		if err != nil {
			return err
		}
		all = append(all, b...)
	}
	if err := s.pipe.SetWriteDeadline(time.Now().Add(s.patience())); err != nil {
		return fmt.Errorf("tell the guard: %w", err)
	}
	if _, err := s.pipe.Write(all); err != nil {
		return fmt.Errorf("tell the guard: %w", err)
	}
	s.told.Add(uint64(len(frames)))
	return nil
}

// news has the newest lease told.
func (s *session) news(l leaseState) {
	s.mu.Lock()
	s.lease, s.untold = l, true
	s.mu.Unlock()
	s.poke()
}

func (s *session) tellPeers(p Peers) {
	s.mu.Lock()
	s.peers = &p
	s.mu.Unlock()
	s.poke()
}

func (s *session) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// fail says why the session is to end.
func (s *session) fail(err error) {
	if s.closed.Load() {
		return
	}
	select {
	case s.failed <- err:
	default:
	}
}

// run tells the child what is new until it ends or fails, or ctx does. It returns
// why it ended, and has ended it unless ctx did.
func (s *session) run(ctx context.Context) error {
	go s.listen()
	go s.pump(ctx)
	quiet := time.NewTicker(quietest)
	defer quiet.Stop()
	var last uint64
	since, again := time.Now(), false
	for {
		select {
		case <-ctx.Done():
			s.poke() // what is new is told all the same
			return nil
		case <-s.exited:
			return errors.Join(fmt.Errorf("it ended: %w", cause(s.ended)), s.closeFiles())
		case err := <-s.failed:
			return errors.Join(err, s.kill())
		case <-quiet.C:
		}
		heard := s.heard.Load()
		switch {
		case s.closed.Load():
		case heard != last || heard >= s.told.Load():
			last, since, again = heard, time.Now(), false
			s.repeat()
		case time.Since(since) < s.patience():
		case !again: // this process may have been stopped itself: let it read first
			again = true
		default:
			return errors.Join(fmt.Errorf("it has not answered for %v", time.Since(since).Round(time.Millisecond)), s.kill())
		}
	}
}

// repeat has the lease told once more: the answer shows that the child lives.
func (s *session) repeat() {
	s.mu.Lock()
	s.untold = true
	s.mu.Unlock()
	s.poke()
}

// pump writes what is new, the newest only.
func (s *session) pump(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		if err := s.write(); err != nil {
			s.fail(err)
			return
		}
	}
}

// pending takes what is new and not told yet.
func (s *session) pending() []frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	var frames []frame
	if s.peers != nil {
		frames = append(frames, frame{kind: framePeers, peers: *s.peers})
	}
	if s.untold {
		frames = append(frames, frame{kind: frameLease, lease: s.lease})
	}
	s.peers, s.untold = nil, false
	return frames
}

// listen reads how many frames the child has taken in.
func (s *session) listen() {
	var b [8]byte
	for {
		if _, err := io.ReadFull(s.echo, b[:]); err != nil {
			return // it has ended, or was given up
		}
		s.heard.Store(binary.BigEndian.Uint64(b[:]))
	}
}

// kill ends a child that is of no use. One that hangs in the kernel is left to it:
// it does not return from there.
func (s *session) kill() error {
	err := s.child.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	timer := time.NewTimer(leaveWait)
	defer timer.Stop()
	select {
	case <-s.exited:
	case <-timer.C:
	}
	return errors.Join(err, s.closeFiles())
}

// leave tells a child that it is not needed any more and waits for its end.
func (s *session) leave() error {
	err := errors.Join(s.write(), s.pipe.Close())
	if err != nil {
		return errors.Join(fmt.Errorf("send the guard home: %w", err), s.child.Kill(), s.closeFiles())
	}
	timer := time.NewTimer(leaveWait)
	defer timer.Stop()
	select {
	case <-s.exited:
	case <-timer.C:
		err = errors.Join(errors.New("the guard does not end"), s.child.Kill())
	}
	return errors.Join(err, s.closeFiles())
}

// close ends the pipe and nothing else.
func (s *session) close() {
	s.closed.Store(true)
	_ = s.pipe.Close()
}

func (s *session) closeFiles() error {
	var errs []error
	for _, f := range []*os.File{s.pipe, s.echo} {
		if f == nil {
			continue
		}
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// cause words the end of a child that nobody asked to end.
func cause(err error) error {
	if err == nil {
		return errors.New("with status 0")
	}
	return err
}

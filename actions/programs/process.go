package programs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ProcessID names one run of a program on this machine, in this boot.
type ProcessID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // in ticks since the boot, as the kernel says
}

// process is a program by its pidfd.
type process struct {
	id ProcessID
	fd *os.File
}

var _ Process = (*process)(nil)

// Errors of finding out who is at the other end of a connection.
var (
	errNoUnix = errors.New("it is no unix socket")
	// ErrElsewhere is of a program that this process cannot see.
	ErrElsewhere = errors.New("the program is not in this daemon's PID namespace: a new daemon could not find it again")
	errHasEnded  = errors.New("the program has ended")
)

// Peer is the program at the other end of a unix socket, as it was when it connected.
func Peer(conn net.Conn) (Process, error) {
	p, err := peer(conn)
	if err != nil {
		return nil, fmt.Errorf("find out which program this is: %w", err)
	}
	return p, nil
}

// PeerID is Peer for who needs its name alone.
func PeerID(conn net.Conn) (ProcessID, error) {
	p, err := peer(conn)
	if err != nil {
		return ProcessID{}, fmt.Errorf("find out which program this is: %w", err)
	}
	return p.id, p.Close()
}

func peer(conn net.Conn) (*process, error) {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errNoUnix
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	fd, inner := -1, error(nil)
	err = raw.Control(func(sock uintptr) {
		if cred, inner = unix.GetsockoptUcred(int(sock), unix.SOL_SOCKET, unix.SO_PEERCRED); inner != nil {
			return
		}
		// Without it (before 6.5) the number is all there is: as long as the connection
		// stands it is most likely its.
		if fd, inner = unix.GetsockoptInt(int(sock), unix.SOL_SOCKET, unix.SO_PEERPIDFD); inner == nil {
			return
		}
		if errors.Is(inner, unix.ENOPROTOOPT) && cred.Pid > 0 {
			fd, inner = unix.PidfdOpen(int(cred.Pid), 0)
		}
		if errors.Is(inner, unix.ESRCH) {
			inner = errHasEnded
		}
	})
	switch {
	case err != nil:
		return nil, err
	case inner != nil:
		return nil, inner
	case cred.Pid <= 0:
		_ = unix.Close(fd)
		return nil, ErrElsewhere
	}
	return take(fd, int(cred.Pid))
}

// Open finds a program that a list names, if it still lives.
func Open(id ProcessID) (Process, error) {
	p, err := open(id)
	if err != nil {
		return nil, fmt.Errorf("find process %d: %w", id.PID, err)
	}
	return p, nil
}

func open(id ProcessID) (*process, error) {
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, errHasEnded
	}
	if err != nil {
		return nil, err
	}
	p, err := take(fd, id.PID)
	if err != nil {
		return nil, err
	}
	if p.id != id { // the number is another's by now
		_ = p.Close()
		return nil, errHasEnded
	}
	return p, nil
}

// HasEnded says whether an error says that the program has ended.
func HasEnded(err error) bool { return errors.Is(err, errHasEnded) }

// take reads when the process of a pidfd was started. That it is the one with the
// number is so if it has not ended by then.
func take(fd, pid int) (*process, error) {
	unix.CloseOnExec(fd)
	start, err := started(pid)
	if ended(fd) {
		_ = unix.Close(fd)
		return nil, errHasEnded
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &process{ProcessID{pid, start}, os.NewFile(uintptr(fd), "pidfd")}, nil
}

// startField is the number of the starting time in /proc/PID/stat, counted from the
// field behind the name, which may contain anything.
const startField = 22 - 3

func started(pid int) (uint64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) <= startField {
		return 0, fmt.Errorf("/proc/%d/stat has no starting time", pid)
	}
	return strconv.ParseUint(string(fields[startField]), 10, 64)
}

// ended reports whether a process has ended, all of its threads.
func ended(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n > 0
		}
	}
}

// ID implements Process.
func (p *process) ID() ProcessID { return p.id }

// Wait implements Process.
func (p *process) Wait(ctx context.Context) error {
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return err
	}
	// Closing is the only way to end a Read of what never becomes readable.
	undo := context.AfterFunc(ctx, func() { _ = p.fd.Close() })
	defer undo()
	if err := raw.Read(func(fd uintptr) bool { return ended(int(fd)) }); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("wait for process %d: %w", p.id.PID, err)
	}
	return nil
}

// Kill implements Process.
func (p *process) Kill() error {
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) }); err != nil {
		return err
	}
	if errors.Is(inner, unix.ESRCH) {
		return nil
	}
	return inner
}

// Close implements Process.
func (p *process) Close() error {
	if err := p.fd.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

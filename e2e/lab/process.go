package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/e2e/mono"
)

// ErrNoGuard means that no guard runs beside the host's daemon.
var ErrNoGuard = errors.New("no guard runs")

// guardArg is what the guard's command line has and no other's.
const guardArg = "guard"

// Guards are the guards in the host, those of dead daemons too.
func (h *Host) Guards() ([]int, error) {
	pids, err := h.Space.PIDs()
	if err != nil {
		return nil, err
	}
	var out []int
	for _, pid := range pids {
		if isGuard(pid) {
			out = append(out, pid)
		}
	}
	return out, nil
}

// Guard is the guard of the host's daemon.
func (h *Host) Guard() (int, error) {
	if pid, ok := GuardOf(h.daemon.Cmd.Process.Pid); ok {
		return pid, nil
	}
	return 0, fmt.Errorf("%s: %w", h.Name, ErrNoGuard)
}

// GuardOf is the guard of a daemon.
func GuardOf(daemon int) (pid int, ok bool) {
	for _, pid := range children(daemon) {
		if isGuard(pid) {
			return pid, true
		}
	}
	return 0, false
}

// isGuard looks at the command line, which is flip's until the guard has been
// executed.
func isGuard(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false // it has ended
	}
	args := bytes.Split(line, []byte{0})
	return len(args) > 1 && string(args[1]) == guardArg
}

// SignalBoth sends a signal to the guard, if there is one, and to the daemon:
// in this order, since a guard that lives acts when the daemon dies. It returns
// the moment before the first one.
func (h *Host) SignalBoth(s syscall.Signal) (mono.Time, error) {
	guard, err := h.Guard()
	at := mono.Now()
	if err == nil {
		_ = unix.Kill(guard, s) // it may have ended meanwhile
	}
	return at, h.Signal(s)
}

// Send is Signal that returns the moment before.
func (h *Host) Send(s syscall.Signal) (mono.Time, error) {
	at := mono.Now()
	return at, h.Signal(s)
}

// SignalGuard sends a signal to the guard alone. It returns the moment before.
func (h *Host) SignalGuard(s syscall.Signal) (mono.Time, error) {
	guard, err := h.Guard()
	at := mono.Now()
	if err == nil {
		err = unix.Kill(guard, s)
	}
	if err != nil {
		return at, fmt.Errorf("signal the guard of %s: %w", h.Name, err)
	}
	return at, nil
}

// children are the processes whose parent is pid.
func children(pid int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if parent, err := statField(child, statParent); err == nil && parent == uint64(pid) {
			out = append(out, child)
		}
	}
	return out
}

// threads are those of a process.
func threads(pid int) []int {
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	var out []int
	for _, path := range paths {
		if tid, err := strconv.Atoi(filepath.Base(path)); err == nil {
			out = append(out, tid)
		}
	}
	return out
}

// The fields of /proc/PID/stat behind the name, from 0 on.
const (
	statParent = 1
	statUser   = 11
	statSystem = 12
)

// statField reads one field. The name, in brackets, may hold blanks.
func statField(pid, field int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("state of process %d: %w", pid, err)
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) <= field {
		return 0, fmt.Errorf("state of process %d: %d fields", pid, len(fields))
	}
	n, err := strconv.ParseUint(fields[field], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("state of process %d: %w", pid, err)
	}
	return n, nil
}

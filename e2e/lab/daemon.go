package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/client"
)

// DaemonPriority is what the unit file gives flip, in real time. It gets it here once
// it is up: hosts share the cores and the disk of one machine, and while one derives
// its keys, the others would be kept from theirs for 100 ms at a time, and the
// kernel's own threads from the disk for half a second.
const DaemonPriority = 10

// startingNice lets a daemon start in time on a machine that does other things too.
const startingNice = "-15"

// Daemon is one run of `flip run` in a host.
type Daemon struct {
	Log  string        // a file
	Done chan struct{} // closed once it has ended
	Cmd  *exec.Cmd
	Died time.Time // once Done is closed
}

// Start runs flip in the host with a configuration file; env goes on top of the
// test's own.
func (h *Host) Start(file string, env ...string) (*Daemon, error) {
	return h.StartProgram([]string{h.lab.binary}, file, env...)
}

// StartProgram is Start with another flip than the lab's, or with a command
// before it that executes it.
func (h *Host) StartProgram(program []string, file string, env ...string) (*Daemon, error) {
	// What a killed daemon left behind would look like the new one's.
	_ = os.Remove(h.Socket())
	dir := []string{"--dir", h.lab.path("d")}
	if h.disk != nil {
		program, dir = h.disk.command(program), []string{"--dir", h.disk.dir, "--socket", h.Socket()}
	}
	if h.Join != "" {
		dir = append(dir, "--join", h.Join)
	}
	args := slices.Concat(program, []string{"run", "--id", h.Name}, dir, []string{file})
	d, err := h.StartCommand(args, env...)
	if err == nil {
		go d.raise(h.Socket())
	}
	return d, err
}

// raise gives a daemon, all of its threads, the real-time policy as soon as its
// control socket is there.
func (d *Daemon) raise(socket string) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		select {
		case <-tick.C:
		case <-d.Done:
			return
		}
	}
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: DaemonPriority}
	// Twice: a thread inherits the policy of the one that starts it, and so does a
	// guard.
	for range 2 {
		for _, pid := range append([]int{d.Cmd.Process.Pid}, children(d.Cmd.Process.Pid)...) {
			for _, tid := range threads(pid) {
				_ = unix.SchedSetAttr(tid, attr, 0) // a thread may have ended
				_ = unix.Setpriority(unix.PRIO_PROCESS, tid, 0)
			}
		}
	}
}

// StartCommand runs any command line as the host's daemon.
func (h *Host) StartCommand(args []string, env ...string) (*Daemon, error) {
	log, err := os.Create(h.lab.path(fmt.Sprintf("%s.%d.log", h.Name, len(h.daemons))))
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", h.Name, err)
	}
	defer func() { _ = log.Close() }()
	cmd := h.Space.Command(0, append([]string{"nice", "-n", startingNice}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start flip in %s: %w", h.Name, err)
	}
	d := &Daemon{Log: log.Name(), Cmd: cmd, Done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		d.Died = time.Now()
		close(d.Done)
	}()
	h.daemon, h.daemons = d, append(h.daemons, d)
	return d, nil
}

// Daemon is the newest run, nil if there was none.
func (h *Host) Daemon() *Daemon { return h.daemon }

// Running reports whether the newest run has not ended.
func (h *Host) Running() bool {
	if h.daemon == nil {
		return false
	}
	select {
	case <-h.daemon.Done:
		return false
	default:
		return true
	}
}

// Signal sends a signal to the daemon alone.
func (h *Host) Signal(s syscall.Signal) error {
	if err := h.daemon.Cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal %s: %w", h.Name, err)
	}
	return nil
}

// Socket is the path of the daemon's control socket.
func (h *Host) Socket() string { return h.lab.path("d", h.Name+".sock") }

// API is a client of the host's daemon; close it.
func (h *Host) API() *client.Client { return client.New(h.Socket()) }

// DataDir is where the host's daemon keeps its log.
func (h *Host) DataDir() string { return filepath.Join(h.lab.Dir, "d", h.Name) }

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one flip node that the demo started.
type process struct {
	id    string
	pid   int
	cmd   *exec.Cmd
	ended chan struct{} // closed once it has been waited for
}

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// kill ends it as a crash would, and returns when it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// start starts a node; it lives no longer than the demo, unless it is kept.
func (d *demo) start(id string) (*process, error) {
	self, err := d.app.self()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(d.logFile(id), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log of %s: %w", id, err)
	}
	defer func() { _ = log.Close() }()
	args := slices.Concat(self[1:], []string{"run", "--id", id, "--dir", d.dir, filepath.Join(d.dir, "flip.json")})
	cmd := exec.Command(self[0], args...)
	cmd.Env = d.environ()
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: a Ctrl-C is the demo's, which then ends them in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if !d.opts.keep {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", id, err)
	}
	p := &process{id: id, pid: cmd.Process.Pid, cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(p.ended)
	}()
	return p, nil
}

func (d *demo) logFile(id string) string { return filepath.Join(d.dir, id+".log") }

// environ is this process's, with the hooks first in PATH and without what
// would lead a node to another daemon's socket.
func (d *demo) environ() []string {
	ours := []string{"PATH=" + d.path, traceEnv + "=" + d.traceFile()}
	return append(slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains([]string{"PATH", traceEnv, "FLIP_SOCKET", "FLIP_DIR"}, name)
	}), ours...)
}

// clean ends all that the demo started and removes its directory.
func (d *demo) clean() error {
	for _, p := range d.procs {
		p.kill()
	}
	if err := killMarked(traceEnv + "=" + d.traceFile()); err != nil {
		return err
	}
	if err := os.RemoveAll(d.dir); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

// killMarked kills what carries the mark in its environment: hooks that outlive
// the node that started them. It returns when none is left.
func killMarked(mark string) error {
	const patience = 5 * time.Second
	limit := time.NewTimer(patience)
	defer limit.Stop()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		left := marked(mark)
		if len(left) == 0 {
			return nil
		}
		for _, p := range left {
			_ = p.Kill()
			_ = p.Release()
		}
		select {
		case <-again.C:
		case <-limit.C:
			return fmt.Errorf("clean up: %d hooks do not end", len(left))
		}
	}
}

func marked(mark string) []*os.Process {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var out []*os.Process
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		// The handle first, then the look: the number cannot come to name
		// another process in between.
		p, err := os.FindProcess(pid)
		if err != nil {
			continue
		}
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil || !slices.ContainsFunc(bytes.Split(env, []byte{0}), func(kv []byte) bool { return string(kv) == mark }) {
			_ = p.Release()
			continue
		}
		out = append(out, p)
	}
	return out
}

// checkAlive reports a node that has ended by itself.
func (d *demo) checkAlive() error {
	for _, p := range d.procs {
		if !p.alive() {
			return fmt.Errorf("%s ended by itself: %s", p.id, p.cmd.ProcessState)
		}
	}
	return nil
}

// tail is the last lines of a node's log, for when something went wrong.
func (d *demo) tail(id string) string {
	const lines = 8
	data, err := os.ReadFile(d.logFile(id))
	if errors.Is(err, os.ErrNotExist) {
		return "(never started)"
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

package actions

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// process is a hook that runs, leader of its own process group.
type process struct {
	pid    int
	proc   *os.Process
	exited chan error // how the leader ended; not reaped yet, so that pid stays its own
}

// ending is how a hook ended.
type ending struct {
	pid         int
	status      syscall.WaitStatus
	interrupted bool  // its context ended first
	stuck       bool  // not even SIGKILL ended it
	err         error // the wait itself failed
}

// start starts a program, never at this process's own priority. A file that
// somebody is just writing is tried again for a moment ("text file busy").
func start(ctx context.Context, path string, argv, env []string, out *os.File) (*process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("open standard input: %w", err)
	}
	attr := &os.ProcAttr{
		Env:   env,
		Files: []*os.File{null, out, out},
		// A group of its own, to be ended whole. No parent-death signal: a hook
		// in flight is not undone by the daemon's death.
		Sys: &syscall.SysProcAttr{Setpgid: true},
	}
	launch := func() (*os.Process, error) {
		return startOrdinary(func() error { return Permitted(ctx) }, path, argv, attr)
	}
	proc, err := launch()
	for pause := 10 * time.Millisecond; errors.Is(err, syscall.ETXTBSY) && pause < 200*time.Millisecond; pause *= 2 {
		select {
		case <-ctx.Done():
			_ = null.Close()
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
		proc, err = launch()
	}
	_ = null.Close() // only read
	if err != nil {
		return nil, err
	}
	ordinaryVictim(proc.Pid)
	p := &process{pid: proc.Pid, proc: proc, exited: make(chan error, 1)}
	go func() { p.exited <- waitExit(p.pid) }()
	return p, nil
}

// waitExit waits until a child has ended, and leaves it to be reaped.
func waitExit(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// wait returns when the hook has ended, or was ended because ctx did.
func (p *process) wait(ctx context.Context, grace time.Duration, out *output) ending {
	log := out.log
	select {
	case err := <-p.exited:
		e := p.reap(err)
		// The number of a group that has members is not given to another one.
		if left := groupOf(p.pid); e.status != 0 && len(left) > 0 {
			log.Warn().Strs("tree", describe(left)).Msg("the hook failed and left processes behind: ending them")
			p.endGroup(grace, log)
		}
		return e
	case <-ctx.Done():
	}
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		log.Warn().Strs("tree", describe(treeOf(p.pid))).Strs("output", out.recent()).
			Msg("the hook's time is up: ending its process group")
	}
	e := p.end(grace, log)
	e.interrupted = true
	return e
}

// end ends a hook that still runs. The leader is reaped last: until then its
// number names this group and no other.
func (p *process) end(grace time.Duration, log zerolog.Logger) ending {
	if !p.endGroup(grace, log) {
		// In the kernel and killed: nothing of it returns to user space. The
		// goroutine that waits for it ends with it.
		go func() { p.reap(<-p.exited) }()
		return ending{pid: p.pid, stuck: true}
	}
	return p.reap(<-p.exited)
}

// endGroup sends TERM, and KILL when anything is left after the grace. It says
// whether nothing is left.
func (p *process) endGroup(grace time.Duration, log zerolog.Logger) bool {
	send := func(sig syscall.Signal) {
		if err := syscall.Kill(-p.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			log.Warn().Err(err).Stringer("signal", sig).Msg("cannot signal the hook's process group")
		}
	}
	send(syscall.SIGTERM)
	send(syscall.SIGCONT) // a stopped process handles no TERM
	if p.gone(grace) {
		return true
	}
	log.Warn().Strs("tree", describe(groupOf(p.pid))).Msg("the hook does not end by TERM: killing its process group")
	send(syscall.SIGKILL)
	return p.gone(grace)
}

// gone waits until no process of the group lives, at most for the time given.
func (p *process) gone(within time.Duration) bool {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	// Nothing tells of the end of a group; a scan of /proc takes about 10 us a
	// process, and this happens after a timeout only.
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		if len(groupOf(p.pid)) == 0 {
			return true
		}
		select {
		case <-deadline.C:
			return len(groupOf(p.pid)) == 0
		case <-look.C:
		}
	}
}

func (p *process) reap(waited error) ending {
	e := ending{pid: p.pid, err: waited}
	state, err := p.proc.Wait()
	if err != nil {
		e.err = errors.Join(waited, err)
		return e
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok {
		e.status = ws
	}
	return e
}

// member is one living process of a group, as /proc shows it.
type member struct {
	pid, parent int
	state       byte
	name        string
}

// groupOf lists the processes of a group that are not dead.
func groupOf(pgid int) []member {
	all, _ := family(pgid)
	return all
}

// treeOf is the same with all descendants, in whatever group.
func treeOf(pgid int) []member {
	group, others := family(pgid)
	for found := true; found; {
		found = false
		others = slices.DeleteFunc(others, func(m member) bool {
			child := slices.ContainsFunc(group, func(g member) bool { return g.pid == m.parent })
			if child {
				group, found = append(group, m), true
			}
			return child
		})
	}
	return group
}

// family lists the processes that are not dead, those of a group and all others.
func family(pgid int) (group, others []member) {
	pids, err := processes()
	if err != nil {
		return nil, nil
	}
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has ended
		}
		switch m, of, ok := parseStat(string(data)); {
		case !ok || m.state == 'Z' || m.state == 'X':
		case of == pgid:
			group = append(group, m)
		default:
			others = append(others, m)
		}
	}
	return group, others
}

// parseStat reads the first fields of /proc/PID/stat: pid (comm) state ppid
// pgrp. The name may contain anything, also blanks and brackets.
func parseStat(s string) (m member, pgrp int, ok bool) {
	open, shut := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
	if open < 0 || shut < open {
		return member{}, 0, false
	}
	m.name = s[open+1 : shut]
	if _, err := fmt.Sscanf(s[:open], "%d", &m.pid); err != nil {
		return member{}, 0, false
	}
	if _, err := fmt.Sscanf(s[shut+1:], " %c %d %d", &m.state, &m.parent, &pgrp); err != nil {
		return member{}, 0, false
	}
	return m, pgrp, true
}

// describe words the processes of a group for the log.
func describe(group []member) []string {
	var lines []string
	for _, m := range group {
		command := m.name
		if data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", m.pid)); err == nil && len(data) > 0 {
			command = strings.TrimSpace(strings.ReplaceAll(string(data[:min(len(data), maxTail)]), "\x00", " "))
		}
		lines = append(lines, fmt.Sprintf("%d (parent %d, state %c): %s", m.pid, m.parent, m.state, strings.ToValidUTF8(command, "\uFFFD")))
	}
	return lines
}

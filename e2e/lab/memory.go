package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoCgroup means that no memory can be limited here.
var ErrNoCgroup = errors.New("no cgroup with a limit of memory here")

// memoryGroup is where limited groups can be made, and what their limits are
// called: beside or below this process's own group, never the root's settings.
type memoryGroup struct {
	dir    string
	limits []string
}

const (
	cgroupMount = "/sys/fs/cgroup"
	groupProcs  = "cgroup.procs"
)

// findMemory looks at version 1 first, which may be mounted beside a version 2
// that has no memory.
func findMemory() (memoryGroup, error) {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return memoryGroup{}, fmt.Errorf("%w: %w", ErrNoCgroup, err)
	}
	for _, line := range strings.Split(string(data), "\n") {
		fields := strings.SplitN(line, ":", 3)
		if len(fields) < 3 {
			continue
		}
		if slices.Contains(strings.Split(fields[1], ","), "memory") {
			dir := filepath.Join(cgroupMount, "memory", fields[2])
			if _, err := os.Stat(filepath.Join(dir, groupProcs)); err == nil {
				return memoryGroup{dir, []string{"memory.limit_in_bytes"}}, nil
			}
		}
		if fields[0] != "0" {
			continue
		}
		// A group with processes gives no controllers on: one above it may.
		for dir := filepath.Join(cgroupMount, fields[2]); strings.HasPrefix(dir, cgroupMount); dir = filepath.Dir(dir) {
			on, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
			if err == nil && slices.Contains(strings.Fields(string(on)), "memory") {
				return memoryGroup{dir, []string{"memory.max", "memory.swap.max"}}, nil
			}
		}
	}
	return memoryGroup{}, ErrNoCgroup
}

// Pen is a group of processes whose memory is limited.
type Pen struct {
	dir   string
	above string
}

// NewPen makes one. Open it in the end.
func (h *Host) NewPen(limit int) (*Pen, error) {
	in, err := findMemory()
	if err != nil {
		return nil, err
	}
	p := &Pen{filepath.Join(in.dir, h.Space.Name), in.dir}
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoCgroup, err)
	}
	for i, file := range in.limits {
		value := strconv.Itoa(limit)
		if i > 0 {
			value = "0" // no swap either
		}
		if err := os.WriteFile(filepath.Join(p.dir, file), []byte(value), 0o644); err != nil && i == 0 {
			return nil, errors.Join(fmt.Errorf("%w: %w", ErrNoCgroup, err), p.Open())
		}
	}
	return p, nil
}

// Procs is the file that a process joins by writing its number.
func (p *Pen) Procs() string { return filepath.Join(p.dir, groupProcs) }

// Take puts processes in.
func (p *Pen) Take(pids ...int) error { return move(p.Procs(), pids) }

func move(procs string, pids []int) error {
	for _, pid := range pids {
		err := os.WriteFile(procs, []byte(strconv.Itoa(pid)), 0o644)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("put process %d into a cgroup: %w", pid, err)
		}
	}
	return nil
}

// Open lets the processes out and removes the group.
func (p *Pen) Open() error { return openPen(p.dir, p.above) }

func openPen(dir, above string) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(2 * time.Second)
	for {
		data, _ := os.ReadFile(filepath.Join(dir, groupProcs))
		var pids []int
		for _, f := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
		_ = move(filepath.Join(above, groupProcs), pids) // one that dies cannot be moved, and goes by itself
		err := os.Remove(dir)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("remove a cgroup: %w", err)
		}
	}
}

// sweepPens removes what labs of others have left.
func sweepPens(goner func(pid int) bool) {
	in, err := findMemory()
	if err != nil {
		return // none was ever made here
	}
	for _, name := range names(in.dir, goner) {
		_ = openPen(filepath.Join(in.dir, name), in.dir)
	}
}

// OOMScore sets how likely the kernel is to end a process when memory is short.
func OOMScore(pid, score int) error {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(strconv.Itoa(score)), 0o644); err != nil {
		return fmt.Errorf("OOM score of process %d: %w", pid, err)
	}
	return nil
}

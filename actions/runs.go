package actions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

// runVariable is in the environment of each hook and of all that it starts.
const runVariable = "FLIP_RUN"

const (
	// lookEvery is how often processes that were signalled are looked at: that is a
	// file each.
	lookEvery = 5 * time.Millisecond
	// killTime is how long a killed process is waited for, on a machine that may have
	// no time for it.
	killTime = 5 * time.Second
	// scanEvery is how often all processes are looked at, about 10 us each, for what
	// they have forked meanwhile.
	scanEvery = 50 * time.Millisecond
)

// EndRuns ends every process that belongs to one of the runs, as FLIP_RUN in its
// environment says, with all its descendants: by TERM, and by KILL after the
// grace. It returns when none is left that could still do anything: what was
// killed and hangs in the kernel never returns from there. An error says that
// something may be left.
func EndRuns(ctx context.Context, runs []string, grace time.Duration, log zerolog.Logger) error {
	if len(runs) == 0 {
		return nil
	}
	h := hunt{self: os.Getpid(), found: map[int]*prey{}, log: log}
	for _, run := range runs {
		h.runs = append(h.runs, []byte(runVariable+"="+run))
	}
	defer h.release()
	if err := h.end(ctx, grace); err != nil {
		return fmt.Errorf("end the hooks left running: %w", err)
	}
	return nil
}

// hunt is one call of EndRuns.
type hunt struct {
	runs  [][]byte // as they stand in an environment
	self  int
	found map[int]*prey
	kill  bool // TERM has had its time
	log   zerolog.Logger
}

// prey is one process to be ended.
type prey struct {
	stat
	proc *os.Process
}

func (h *hunt) end(ctx context.Context, grace time.Duration) error {
	terms, kills := time.NewTimer(grace), time.NewTimer(grace+killTime)
	defer terms.Stop()
	defer kills.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var scanned time.Time
	for {
		if len(h.found) == 0 || time.Since(scanned) >= scanEvery {
			scanned = time.Now()
			if err := h.scan(); err != nil {
				return err
			}
			if len(h.found) == 0 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; left are %s", context.Cause(ctx), strings.Join(h.words(), ", "))
		case <-kills.C:
			return fmt.Errorf("not even SIGKILL ends %s", strings.Join(h.words(), ", "))
		case <-terms.C:
			h.kill = true
			h.log.Warn().Strs("processes", h.words()).Msg("hooks left running do not end by TERM: killing them")
			for _, p := range h.found {
				h.signal(p)
			}
		case <-look.C:
		}
		for pid, p := range h.found {
			if !p.lives(h.kill) {
				delete(h.found, pid)
				_ = p.proc.Release() // of what has ended
			}
		}
	}
}

// scan looks at all processes and signals those that it has not yet.
func (h *hunt) scan() error {
	pids, fresh, err := h.survey()
	if err != nil {
		return err
	}
	if len(h.found) == 0 {
		return nil
	}
	// A program that clears its environment, such as sudo, is known by its parent.
	parents := map[int]int{}
	for _, pid := range pids {
		if s, ok := statOf(pid); ok {
			parents[pid] = s.parent
		}
	}
	for _, pid := range pids {
		for up, n := parents[pid], 0; up > 1 && up != h.self && n < len(pids); up, n = parents[up], n+1 {
			if h.found[up] != nil {
				fresh = h.add(fresh, pid)
				break
			}
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	var words []string
	for _, p := range fresh {
		words = append(words, p.word())
	}
	h.log.Warn().Strs("processes", words).Msg("ending hooks left running")
	for _, p := range fresh {
		h.signal(p)
	}
	return nil
}

const (
	// mostLooks bounds a survey: on a busy machine somebody is always just born.
	mostLooks = 20
	// mostBare is how often a process without an environment is looked at again, after
	// bareWait each: an execve(2) on a busy machine takes less, and some never have one.
	mostBare = mostLooks - 5
	bareWait = 2 * time.Millisecond
	// kernelThreads is the parent of those; its own is 0.
	kernelThreads = 2
)

// survey lists all processes and takes those that have one of the runs. One that ended
// before it was looked at may have started another one after the list was made: then
// those that the list lacks are looked at too. So is one that shows no environment,
// which may be between two programs.
func (h *hunt) survey() (pids []int, fresh []*prey, err error) {
	seen, bare := map[int]bool{h.self: true}, map[int]int{}
	for range mostLooks {
		all, err := processes()
		if err != nil {
			return nil, nil, err
		}
		missed, wait := false, time.Duration(0)
		for _, pid := range all {
			if seen[pid] {
				continue
			}
			mine, empty := h.belongs(pid)
			if mine {
				fresh = h.add(fresh, pid)
			}
			s, ok := statOf(pid)
			gone := !ok || dead(s.state, false)
			kernel := s.parent == kernelThreads || s.parent == 0
			if empty && !gone && !kernel && bare[pid] < mostBare {
				bare[pid]++
				missed, wait = true, bareWait
				continue
			}
			seen[pid] = true
			pids = append(pids, pid)
			missed = missed || gone
		}
		if !missed {
			break
		}
		time.Sleep(wait)
	}
	return pids, fresh, nil
}

// add takes a process, and kills it on the spot if it is time: it might start another
// one before all the others are looked at. TERM waits until it is known who stems from
// whom: the children of one that has ended are another's.
func (h *hunt) add(fresh []*prey, pid int) []*prey {
	p := h.take(pid)
	if p == nil {
		return fresh
	}
	if h.kill {
		h.signal(p)
	}
	return append(fresh, p)
}

// belongs says whether a process has one of the runs in its environment, or none to
// be seen.
func (h *hunt) belongs(pid int) (mine, empty bool) {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false, false // it has ended, or is somebody else's: a hook is of this user
	}
	if len(env) == 0 { // the kernel's own, or dead, or its first thread alone is
		threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		for i := 0; i < len(threads) && len(threads) > 1 && len(env) == 0; i++ {
			env, _ = os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/environ", pid, threads[i].Name()))
		}
	}
	for one := range bytes.SplitSeq(env, []byte{0}) {
		for _, run := range h.runs {
			if bytes.Equal(one, run) {
				return true, false
			}
		}
	}
	return false, len(env) == 0
}

// take makes a process one to be ended; nil if it is known, or dead.
func (h *hunt) take(pid int) *prey {
	if pid == h.self || h.found[pid] != nil {
		return nil
	}
	s, ok := statOf(pid)
	if !ok {
		return nil
	}
	// From here on the handle is that process and no other, if the number still
	// means what it meant.
	proc, err := os.FindProcess(pid)
	if err != nil {
		return nil
	}
	p := &prey{stat: s, proc: proc}
	if !p.lives(h.kill) {
		_ = proc.Release()
		return nil
	}
	h.found[pid] = p
	return p
}

func (h *hunt) signal(p *prey) {
	signals := []os.Signal{syscall.SIGTERM, syscall.SIGCONT} // a stopped process handles no TERM
	if h.kill {
		signals = []os.Signal{syscall.SIGKILL}
	}
	for _, s := range signals {
		if err := p.proc.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, syscall.ESRCH) {
			h.log.Warn().Err(err).Str("process", p.word()).Stringer("signal", s).Msg("cannot signal a hook left running")
		}
	}
}

func (h *hunt) words() []string {
	var all []string
	for _, p := range h.found {
		all = append(all, p.word())
	}
	slices.Sort(all)
	return all
}

func (h *hunt) release() {
	for _, p := range h.found {
		_ = p.proc.Release()
	}
}

// lives says whether any thread of a process may still do anything. Once it was
// killed, one that hangs in the kernel may not.
func (p *prey) lives(killed bool) bool {
	now, ok := statOf(p.pid)
	if !ok || now.started != p.started {
		return false
	}
	if !dead(now.state, killed) {
		return true
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.pid))
	if err != nil {
		return false
	}
	for _, t := range threads {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", p.pid, t.Name()))
		if s, ok := readStat(data); err == nil && ok && !dead(s.state, killed) {
			return true
		}
	}
	return false
}

func dead(state byte, killed bool) bool {
	return state == 'Z' || state == 'X' || killed && state == 'D'
}

func (p *prey) word() string {
	return describe([]member{p.member})[0]
}

// stat is what /proc/PID/stat says of a process, or of a thread.
type stat struct {
	member
	started uint64 // in ticks since the boot: with the number it names one process
}

func statOf(pid int) (stat, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, false
	}
	return readStat(data)
}

func readStat(data []byte) (s stat, ok bool) {
	s.member, _, ok = parseStat(string(data))
	if !ok {
		return s, false
	}
	const startedField = 22 - 3 // of proc_pid_stat(5), which counts from 1, after the name
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) <= startedField {
		return s, false
	}
	n, err := strconv.ParseUint(string(fields[startedField]), 10, 64)
	s.started = n
	return s, err == nil
}

// processes are the numbers of all there are.
func processes() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	names, err := dir.Readdirnames(-1)
	if closing := dir.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

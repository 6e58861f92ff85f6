// Package gauge says whether the machine was fit to be measured on: how late a
// thread was woken that has a daemon's priority, and how long its disk took to
// write. A lease of 50 ms cannot be kept where threads stand still for as long;
// what a takeover takes there is the machine's time and not flip's.
package gauge

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/e2e/mono"
)

const (
	// interval is the time from one look at the clock to the next.
	interval = 2 * time.Millisecond
	// writes is the time from one write to the next: less than a cluster's own.
	writes = 50 * time.Millisecond
	// least is the shortest stall that is noted.
	least = 5 * time.Millisecond
	// most is for how many stalls there is room: the newest are kept.
	most = 10_000
)

// Config is what the gauge's process is told.
type Config struct {
	Dir      string `json:"dir"`      // to write in
	Priority int    `json:"priority"` // of real time, as a daemon has it
}

// Kind is what stood still.
type Kind string

// The kinds.
const (
	Thread Kind = "thread"
	Disk   Kind = "disk"
)

// Stall is a stretch of time in which something stood still.
type Stall struct {
	Kind     Kind `json:"kind"`
	From, To mono.Time
}

// Len is how long it is.
func (s Stall) Len() time.Duration { return s.To.Sub(s.From) }

func (s Stall) String() string {
	return fmt.Sprintf("%s %v", s.Kind, s.Len().Round(time.Millisecond))
}

// Since are the stalls of at least this length that ended after a moment.
func Since(stalls []Stall, at mono.Time, length time.Duration) []Stall {
	return slices.DeleteFunc(slices.Clone(stalls), func(s Stall) bool { return s.To < at || s.Len() < length })
}

// log is what a gauge has noted.
type log struct {
	mu     sync.Mutex
	stalls []Stall
}

func (l *log) add(s Stall) {
	if s.Len() < least {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.stalls) == most {
		l.stalls = l.stalls[1:]
	}
	l.stalls = append(l.stalls, s)
}

// Run is the gauge's process: it tells what it has noted, as a line of JSON, for
// each line that it reads, until there are no more. It says with a line on out that
// it has begun.
func Run(cfg Config, orders io.Reader, out io.Writer) error {
	l := &log{stalls: []Stall{}}
	f, err := os.Create(filepath.Join(cfg.Dir, "gauge"))
	if err != nil {
		return fmt.Errorf("make the file to write: %w", err)
	}
	defer func() { _ = f.Close() }()
	cpus := unix.CPUSet{}
	if err := unix.SchedGetaffinity(0, &cpus); err != nil {
		return fmt.Errorf("ask for the processors: %w", err)
	}
	failed := make(chan error, cpus.Count()+1)
	for cpu := range len(cpus) * 64 {
		if cpus.IsSet(cpu) {
			go func() { failed <- l.thread(cpu, cfg.Priority) }()
		}
	}
	go func() { failed <- l.disk(f) }()
	if _, err := fmt.Fprintln(out, "measuring"); err != nil {
		return fmt.Errorf("say that the gauge runs: %w", err)
	}
	for lines := bufio.NewScanner(orders); lines.Scan(); {
		if lines.Text() == "" {
			continue // behind the configuration
		}
		select {
		case err := <-failed:
			return err
		default:
		}
		l.mu.Lock()
		err := json.NewEncoder(out).Encode(l.stalls)
		l.mu.Unlock()
		if err != nil {
			return fmt.Errorf("tell the stalls: %w", err)
		}
	}
	return nil
}

// thread wakes up at moments in time, on a processor, and notes how late.
func (l *log) thread(cpu, priority int) error {
	runtime.LockOSThread()
	var own unix.CPUSet
	own.Set(cpu)
	if err := unix.SchedSetaffinity(0, &own); err != nil {
		return fmt.Errorf("stay on processor %d: %w", cpu, err)
	}
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: uint32(priority)}
	if err := unix.SchedSetAttr(0, attr, 0); err != nil {
		return fmt.Errorf("take priority %d: %w", priority, err)
	}
	for next := mono.Now(); ; {
		next = next.Add(interval)
		mono.SleepUntil(next)
		now := mono.Now()
		l.add(Stall{Thread, next, now})
		next = max(next, now.Add(-interval))
	}
}

// disk writes a little and notes how long it takes until that is on the disk.
func (l *log) disk(f *os.File) error {
	for next := mono.Now(); ; next = max(next.Add(writes), mono.Now()) {
		mono.SleepUntil(next)
		began := mono.Now()
		if _, err := f.WriteAt(make([]byte, 512), 0); err != nil {
			return fmt.Errorf("write %s: %w", f.Name(), err)
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return fmt.Errorf("sync %s: %w", f.Name(), err)
		}
		l.add(Stall{Disk, began, mono.Now()})
	}
}

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// cause is why this process was late, as far as it can tell.
type cause string

const (
	causeSuspend cause = "the machine slept"
	causeStopped cause = "stopped (SIGSTOP)"
	causeStarved cause = "starved: threads waited for a core"
	causeGC      cause = "garbage collection"
	causePaging  cause = "memory: pages had to be read from the disk"
	causeDisk    cause = "disk: the log waited for it"
	causeUnknown cause = "unknown"
)

// do is what an operator can do about it.
func (c cause) do() string {
	switch c {
	case causeSuspend:
		return "keep the machine from sleeping: it cannot take part then"
	case causeStopped:
		return "find out who stops flip: a debugger, a cgroup freezer, a backup"
	case causeStarved:
		return "give flip a higher priority (Nice=, CPUWeight= or CPUSchedulingPolicy=rr in its unit), or this machine less to do; or set a longer lease"
	case causeGC, causePaging:
		return "give this machine more memory, or flip a MemoryMin= in its unit"
	case causeDisk:
		return "put data_dir on a disk that others do not keep busy; `flip doctor` measures it"
	default:
		return "`flip doctor` looks at scheduling and disk; a longer lease bears longer gaps"
	}
}

// vitals is what a process can know of its own trouble; all grow.
type vitals struct {
	boot, mono time.Duration            // CLOCK_BOOTTIME and CLOCK_MONOTONIC
	waited     map[string]time.Duration // per thread: on a run queue, without a core
	ran        time.Duration            // of all threads, on a core
	paused     time.Duration            // by the collector, all threads at once
	cycles     uint64                   // of the collector
	faults     int64                    // pages read from the disk
	continued  uint64                   // SIGCONTs
}

// trouble is what happened between two looks.
type trouble struct {
	slept, waited, ran, paused time.Duration // waited: by the thread that waited most
	cycles                     uint64
	faults                     int64
	continued                  bool
	sync                       time.Duration // the slowest write of the log meanwhile
}

// since is what has happened since an earlier look.
func (v vitals) since(was vitals) trouble {
	t := trouble{
		slept: (v.boot - was.boot) - (v.mono - was.mono), ran: v.ran - was.ran, paused: v.paused - was.paused,
		cycles: v.cycles - was.cycles, faults: v.faults - was.faults, continued: v.continued != was.continued,
	}
	for thread, waited := range v.waited {
		t.waited = max(t.waited, waited-was.waited[thread])
	}
	return t
}

// fewFaults are no explanation: each costs some milliseconds at most.
const fewFaults = 3

// why names what explains at least half of a gap, the surest first: the clocks
// and the signal cannot err; a thread without a core lengthens everything that
// follows, a pause of the collector too.
func (t trouble) why(gap time.Duration) cause {
	switch half := gap / 2; {
	case t.slept >= half:
		return causeSuspend
	case t.continued:
		return causeStopped
	case t.waited >= half:
		return causeStarved
	case t.paused >= half:
		return causeGC
	case t.faults > fewFaults:
		return causePaging
	case t.sync >= half:
		return causeDisk
	case t.cycles > 0 && t.ran >= half:
		return causeGC // its helpers take the cores before they stop anybody
	default:
		return causeUnknown
	}
}

// readVitals reads them. What cannot be read stays zero and explains nothing.
func readVitals() vitals {
	v := vitals{boot: readClock(unix.CLOCK_BOOTTIME), mono: readClock(unix.CLOCK_MONOTONIC)}
	v.waited, v.ran = schedstats("/proc/self/task")
	var gc debug.GCStats
	debug.ReadGCStats(&gc)
	v.paused, v.cycles = gc.PauseTotal, uint64(gc.NumGC) //nolint:gosec // it counts
	var use unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &use) == nil {
		v.faults = use.Majflt
	}
	return v
}

func readClock(id int32) time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(id, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// schedstats reads what each thread has waited for a core, and what all have run.
func schedstats(dir string) (waited map[string]time.Duration, ran time.Duration) {
	files, err := filepath.Glob(filepath.Join(dir, "*", "schedstat"))
	if err != nil {
		return nil, 0
	}
	waited = make(map[string]time.Duration, len(files))
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue // that thread has ended
		}
		on, queued, ok := schedstat(raw)
		if ok {
			waited[name] = queued
			ran += on
		}
	}
	return waited, ran
}

// schedstat parses "ran waited slices", in nanoseconds.
func schedstat(raw []byte) (ran, waited time.Duration, ok bool) {
	fields := bytes.Fields(raw)
	if len(fields) != 3 {
		return 0, 0, false
	}
	on, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil {
		return 0, 0, false
	}
	queued, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return time.Duration(on), time.Duration(queued), err == nil
}

// heapInUse is how much memory is in use, for the log.
func heapInUse() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64()
}

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

const (
	// lateShare of the lease is the gap between two heartbeats that is worth a
	// word: two more such and the lease is over.
	lateShare = 3
	// lateAgain is the least time between two lines of the log about it.
	lateAgain = 10 * time.Second
	// lateShown is how long status remembers.
	lateShown = time.Minute
	// lateLook is how often the vitals are read, so that what is compared with
	// them is about the gap and not about the day.
	lateLook = time.Second
)

// lateness notices that this daemon itself was late with its heartbeats, and why
// (LEASES.md ends a lease for it; nobody else can tell the operator).
type lateness struct {
	timing func() fsm.Timing
	count  func() // each gap, for metrics
	log    zerolog.Logger
	now    func() time.Time
	look   func() vitals
	gaps   chan time.Duration

	mu   sync.Mutex
	sync time.Duration // the slowest write of the log since the last look …
	was  time.Duration // … and between the two before
	bout bout
	said time.Time // the last line of the log
}

// bout is what happened lately.
type bout struct {
	gaps    int
	longest time.Duration
	cause   cause // of the longest
	last    time.Time
	unsaid  int // gaps since the last line of the log
}

func newLateness(timing func() fsm.Timing, count func(), log zerolog.Logger) *lateness {
	return &lateness{timing: timing, count: count, log: log, now: time.Now, look: readVitals, gaps: make(chan time.Duration, 16)}
}

// late is told by how much a heartbeat was late (udp.Measure.Late). It never
// blocks.
func (l *lateness) late(by time.Duration) {
	t := l.timing()
	if gap := by + t.Heartbeat; t.Lease > 0 && gap > t.Lease/lateShare {
		select {
		case l.gaps <- gap:
		default: // others tell the same
		}
	}
}

// synced is told how long a write of the log took (raftnode.Measure.Sync).
func (l *lateness) synced(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sync = max(l.sync, took)
}

// Run watches until ctx ends.
func (l *lateness) Run(ctx context.Context) error {
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	tick := time.NewTicker(lateLook)
	defer tick.Stop()
	signals, before := uint64(0), l.look()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-continued:
			signals++
		case <-tick.C:
			l.turn()
			before = l.look()
			before.continued = signals
		case gap := <-l.gaps:
			select { // it comes with the first breath, as the gap does
			case <-continued:
				signals++
			default:
			}
			after := l.look()
			after.continued = signals
			l.happened(gap, after.since(before))
		}
	}
}

// turn begins another span for what is remembered of the disk.
func (l *lateness) turn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.was, l.sync = l.sync, 0
}

// happened takes note of a gap, and says so in the log unless it did a moment
// ago.
func (l *lateness) happened(gap time.Duration, t trouble) {
	l.count()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	t.sync = max(l.sync, l.was)
	if now.Sub(l.bout.last) > lateShown {
		l.bout = bout{}
	}
	b := &l.bout
	b.gaps++
	b.unsaid++
	b.last = now
	why := t.why(gap)
	if gap > b.longest {
		b.longest, b.cause = gap, why
	}
	if now.Sub(l.said) < lateAgain {
		return
	}
	l.log.Warn().Dur("gap", gap).Dur("lease", l.timing().Lease).Str("cause", string(why)).Int("gaps", b.unsaid).
		Dur("longest", b.longest).Dur("waited_for_core", t.waited).Dur("collector", t.paused).Dur("sync", t.sync).
		Int64("page_reads", t.faults).Uint64("heap_mb", heapInUse()>>20).Str("hint", why.do()).
		Msg("this node's own heartbeats come late: its lease may end although nothing is broken")
	l.said, b.unsaid = now, 0
}

// alarms is for status.
func (l *lateness) alarms() []api.Alarm {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bout
	if b.gaps == 0 || l.now().Sub(b.last) > lateShown {
		return nil
	}
	return []api.Alarm{{
		Severity: api.Warning,
		What: fmt.Sprintf("%d of this node's own heartbeats came late lately, the longest gap was %d ms of a lease of %d ms: %s",
			b.gaps, b.longest.Milliseconds(), l.timing().Lease.Milliseconds(), b.cause),
		Do: b.cause.do(),
	}}
}

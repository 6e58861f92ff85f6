package raftnode

import (
	"sync"
	"time"
)

// Measure is told of what is worth a histogram; each may be nil. It is called
// from Raft's own threads and may not block.
type Measure struct {
	Sync  func(time.Duration) // of each write of entries, until the disk had them
	Apply func(time.Duration) // from an entry's arrival in this node's log to its being read
	Plan  func(time.Duration) // of each plan that this node makes as the leader
}

// arrivalsKept bounds what is remembered of entries not yet applied: more only
// wait where nothing can be committed, and such times are no steps of a failover.
const arrivalsKept = 64

// stopwatch times entries on their way through one node. The zero value measures
// nothing.
type stopwatch struct {
	Measure
	mu       sync.Mutex
	arrivals []arrival // in order of index
}

// arrival is one write of entries.
type arrival struct {
	last uint64
	at   time.Time
}

// stored notes that entries up to last, whose write began then, are on the disk.
func (s *stopwatch) stored(last uint64, began time.Time) {
	if s.Sync != nil {
		s.Sync(time.Since(began))
	}
	if s.Apply == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.arrivals); n > 0 && s.arrivals[n-1].last >= last {
		s.arrivals = s.arrivals[:0] // a new leader has cut the log
	}
	if len(s.arrivals) == arrivalsKept {
		s.arrivals = append(s.arrivals[:0], s.arrivals[1:]...)
	}
	s.arrivals = append(s.arrivals, arrival{last, began})
}

// applied notes that an entry can be read.
func (s *stopwatch) applied(index uint64) {
	if s.Apply == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.arrivals) > 0 && s.arrivals[0].last < index {
		s.arrivals = s.arrivals[1:]
	}
	if len(s.arrivals) > 0 && s.arrivals[0].last == index {
		s.Apply(time.Since(s.arrivals[0].at))
	}
}

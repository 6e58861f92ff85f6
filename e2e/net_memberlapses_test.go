package e2e

import (
	"fmt"
	"sync"
	"time"

	"github.com/flip-ha/flip/e2e/lab"
)

// lapses follows the daemons' counters of leases that have ended.
type lapses struct {
	n           *memberNetwork
	end, ended  chan struct{}
	mu          sync.Mutex
	first, last map[*lab.Daemon]counters
	names       map[*lab.Daemon]string
}

// counters are of the leases of one daemon that have ended, and of how often its own
// heartbeats were late since the machine held it up.
type counters struct{ lapses, late float64 }

// lapsesEvery is how often the counters are read: the last time before a daemon ends
// counts for it.
const lapsesEvery = 250 * time.Millisecond

func (n *memberNetwork) countLapses() *lapses {
	l := &lapses{
		n: n, end: make(chan struct{}), ended: make(chan struct{}),
		first: map[*lab.Daemon]counters{}, last: map[*lab.Daemon]counters{}, names: map[*lab.Daemon]string{},
	}
	l.look(true)
	go func() {
		defer close(l.ended)
		tick := time.NewTicker(lapsesEvery)
		defer tick.Stop()
		for {
			select {
			case <-l.end:
				l.look(false)
				return
			case <-tick.C:
				l.look(false)
			}
		}
	}()
	return l
}

// look reads all counters. A daemon that is seen later than first has begun with none.
func (l *lapses) look(first bool) {
	for _, h := range l.n.Hosts {
		if !h.Running() {
			continue
		}
		d := h.Daemon()
		count, err := metricOf(h, "flip_lease_lapses_total")
		late, err2 := metricOf(h, "flip_late_beats_total")
		if err != nil || err2 != nil {
			continue // it has not begun, or has just ended
		}
		l.mu.Lock()
		if l.last[d], l.names[d] = (counters{count, late}), h.Name; first {
			l.first[d] = l.last[d]
		}
		l.mu.Unlock()
	}
}

// stop says whose lease has lapsed. Nobody answers who is no member any more, which it
// finds out a moment later: it owned nothing by then.
func (l *lapses) stop(left *lab.Host) (lapsed []string, starved string) {
	close(l.end)
	<-l.ended
	for d, now := range l.last {
		name, was := l.names[d], l.first[d]
		if now.lapses == was.lapses || left != nil && name == left.Name {
			continue
		}
		lapsed = append(lapsed, fmt.Sprintf("the lease of %s has lapsed %v times", name, now.lapses-was.lapses))
		if now.late > was.late {
			starved = fmt.Sprintf("the machine held %s up, and its lease has lapsed", name)
		}
	}
	return lapsed, starved
}

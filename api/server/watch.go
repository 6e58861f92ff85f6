package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

const (
	// ringSize is for the largest thing that one command does: a Down moves
	// fsm.MaxMoves slots, each of which is then released and acquired; and as many
	// events again for what happens meanwhile. At some 1 KB each that is 16 MB once
	// all are in JSON, which they are only while somebody watches.
	ringSize = 4 * fsm.MaxMoves
	// maxWatchers bounds what watchers take: a goroutine, a connection and up to
	// watchBuffer each.
	maxWatchers = 256
	// idleEvery shows a watcher that the stream lives, and where it is.
	idleEvery = 15 * time.Second
	// minBeat is the most often that a watcher may be told how old his picture is, and
	// beatSoon when to see again whether he has been told all that it is about.
	minBeat  = 100 * time.Millisecond
	beatSoon = 10 * time.Millisecond
	// watchPatience is how long a watcher may take nothing before it is dropped. A
	// second try costs it nothing: it asks again from its index.
	watchPatience = 30 * time.Second
	// watchEnds is what a stream has left to end in order.
	watchEnds = 100 * time.Millisecond
	// watchBuffer is how much is written at once, watchRead how many lines are
	// taken from the ring at once.
	watchBuffer = 32 << 10
	watchRead   = 128
)

// Watched is what a Hub reads of a node.
type Watched interface {
	View() (*fsm.State, fsm.Index)
	// Changed is closed once View's index is above after.
	Changed(after fsm.Index) <-chan struct{}
}

// Hub turns what the node's State goes through into events and keeps the newest of
// them for whoever watches. Nothing is kept for a single watcher: each reads at its
// own pace, and one that falls too far behind is told how things are by then.
type Hub struct {
	node     Watched
	most     int           // events kept
	watchers int           // let in at once
	chunk    int           // lines taken from the ring at once
	idle     time.Duration // idleEvery; tests are in a hurry
	patience time.Duration // watchPatience

	mu    sync.Mutex
	state *fsm.State
	at    fsm.Index
	ring  *ring
	news  chan struct{} // closed and replaced when the ring has changed
	in    int
}

// NewHub makes a Hub that knows what happens from now on, once it runs.
func NewHub(node Watched) *Hub { return newHub(node, ringSize) }

func newHub(node Watched, size int) *Hub {
	h := &Hub{node: node, most: size, watchers: maxWatchers, chunk: watchRead, idle: idleEvery, patience: watchPatience, news: make(chan struct{})}
	h.state, h.at = node.View()
	h.ring = newRing(size, h.at)
	return h
}

// Run follows the node until ctx ends.
func (h *Hub) Run(ctx context.Context) error {
	for {
		_, at := h.now()
		select {
		case <-ctx.Done():
			return nil
		case <-h.node.Changed(at):
		}
		h.step(h.node.View())
	}
}

// step takes the next State in. Only Run calls it: what is slow about it, comparing
// two States, keeps no watcher from reading.
func (h *Hub) step(state *fsm.State, at fsm.Index) {
	was, since := h.now()
	var events []api.Event
	fits := true
	if state != was {
		events, fits = eventsBetween(was, since, state, at, h.most)
		if len(events) == 0 && at > since+1 { // in between it may have been otherwise
			events = []api.Event{idleEvent(at)}
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state, h.at = state, at
	switch {
	case !fits || at < since: // an index that goes back is no history
		h.ring.clear(at)
	case len(events) == 0:
		// Who waits for this index alone waits for the next heartbeat of the stream.
		return
	default:
		h.ring.add(since, events)
	}
	close(h.news)
	h.news = make(chan struct{})
}

// now is how far the Hub has read.
func (h *Hub) now() (*fsm.State, fsm.Index) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state, h.at
}

// enter lets one watcher in, who calls leave when he goes.
func (h *Hub) enter() (leave func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.in >= h.watchers {
		return nil, &api.Error{
			Code: api.CodeBusy, Message: fmt.Sprintf("%d watch already, more are not let in", h.in),
			Hint: "end one that is not needed, or watch another node: each tells the same",
		}
	}
	h.in++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.in--
	}, nil
}

// place is where one watcher is.
type place struct {
	index fsm.Index // all up to it was told
	next  uint64    // number of the line to read next; 0: look for it
}

// reading is what there is for one watcher.
type reading struct {
	lines []*line
	open  bool            // the last line's batch goes on behind it
	lost  bool            // some of what he has not been told is not here any more
	at    fsm.Index       // how far the Hub has read
	news  <-chan struct{} // closed when there is more
}

// read takes the next lines for a watcher and moves his place on. buf is used
// again.
func (h *Hub) read(p *place, buf []*line) reading {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := reading{at: h.at, news: h.news, lines: buf[:0]}
	if p.next == 0 {
		n, found := h.ring.find(p.index)
		if !found {
			out.lost = true
			return out
		}
		if n == h.ring.tail && p.index > h.at {
			return out // in the future: where that is among the lines is not known yet
		}
		p.next = n
	}
	if p.next < h.ring.head {
		out.lost = true
		return out
	}
	for len(out.lines) < h.chunk && p.next < h.ring.tail {
		out.lines = append(out.lines, h.ring.get(p.next))
		p.next++
	}
	if n := len(out.lines); n > 0 && p.next < h.ring.tail {
		out.open = h.ring.get(p.next).Index == out.lines[n-1].Index
	}
	return out
}

// skip puts a watcher behind all that there is: he is told the present instead.
func (h *Hub) skip(p *place) (*fsm.State, fsm.Index) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p.index, p.next = h.at, h.ring.tail
	return h.state, h.at
}

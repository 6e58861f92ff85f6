package ip

import (
	"context"
	"runtime"
	"slices"
	"sync"

	"github.com/flip-ha/flip/fsm"
)

type kind uint8

const (
	acquire kind = iota + 1
	release
)

// request is one call on its way through a batch. After it was taken only the
// goroutine that works on its batch writes to it, until done is closed.
type request struct {
	ctx    context.Context
	kind   kind
	job    fsm.Job
	places []place
	err    error
	done   chan struct{}

	gated bool // its addresses were let into the gate by this batch
	begun bool // its addresses may have been plumbed by this batch
	it    *item
}

// queue is what waits for the next batch. The driver's turn says whose it is to
// work: nothing waits for a timer, and what arrives while a batch is under way
// goes into the next one.
type queue struct {
	mu       sync.Mutex
	acquires []*request
	releases []*request
}

func (q *queue) add(r *request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if r.kind == release {
		q.releases = append(q.releases, r)
		return
	}
	q.acquires = append(q.acquires, r)
}

// withdraw takes a request back unless somebody works on it.
func (q *queue) withdraw(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, list := range []*[]*request{&q.acquires, &q.releases} {
		if i := slices.Index(*list, r); i >= 0 {
			*list = slices.Delete(*list, i, i+1)
			return true
		}
	}
	return false
}

// gather lets goroutines that are about to ask for the same run first. It costs a
// single one a microsecond.
func gather() { runtime.Gosched() }

func (q *queue) takeAcquires() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.acquires
	q.acquires = nil
	return out
}

func (q *queue) takeReleases() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.releases
	q.releases = nil
	return out
}

// submit has a request carried out: by the caller, together with all that waits,
// or by somebody whose turn comes first. It does not return before what was begun
// for the request has ended.
func (d *Driver) submit(r *request) error {
	d.queue.add(r)
	select {
	case <-r.done:
		return r.err
	case <-r.ctx.Done():
		if d.queue.withdraw(r) {
			return context.Cause(r.ctx)
		}
	case d.turn <- struct{}{}:
		said := d.carryOut(r.kind)
		<-d.turn
		// Frames are sent while the next batch already changes addresses.
		said.Wait()
	}
	<-r.done
	return r.err
}

func finish(rs []*request) {
	for _, r := range rs {
		close(r.done)
	}
}

// carryOut works on what waits; the turn is held. Releases come first, and again
// between the chunks of a large acquire. Who came for a release does no more, so
// that his own is reported at once; those who came for an acquire wait for the turn
// themselves. What was acquired is still being announced when it returns.
func (d *Driver) carryOut(k kind) (said *sync.WaitGroup) {
	d.release(d.queue.takeReleases())
	if k == release {
		return &sync.WaitGroup{}
	}
	gather()
	return d.acquire(d.queue.takeAcquires())
}

// withTurn runs do while nobody else changes addresses.
func (d *Driver) withTurn(ctx context.Context, do func()) {
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-d.turn }()
	do()
}

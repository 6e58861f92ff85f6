package raftnode

import (
	"context"
	"sync"

	"github.com/hashicorp/raft"
)

// inFlight counts those that wait for an answer of Raft's. A WaitGroup would
// not do: new ones may come while the stop waits for the last one.
type inFlight struct {
	mu     sync.Mutex
	count  int
	closed bool
	idle   chan struct{} // closed when the last one ended after close
}

// begin reports whether another one may start.
func (f *inFlight) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.count++
	return true
}

func (f *inFlight) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count--
	if f.closed && f.count == 0 {
		close(f.idle)
	}
}

// close lets nothing begin any more; what it returns is closed when all ended.
func (f *inFlight) close() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.idle = make(chan struct{})
	if f.count == 0 {
		close(f.idle)
	}
	return f.idle
}

// await runs f, which waits for an answer of Raft's, and gives up waiting when
// ctx ends; f then runs on until Raft answers or shuts down.
func await[T any](ctx context.Context, n *Node, f func() (T, error)) (T, error) {
	type answer struct {
		val T
		err error
	}
	var none T
	if !n.futures.begin() {
		return none, raft.ErrRaftShutdown
	}
	done := make(chan answer, 1)
	go func() {
		defer n.futures.end()
		val, err := f()
		done <- answer{val, err}
	}()
	select {
	case a := <-done:
		return a.val, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

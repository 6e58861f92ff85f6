// Package wake is how goroutines that wait for one another's news are woken.
package wake

import (
	"context"
	"sync"
	"time"
)

// Pulse tells all that wait at one moment that something happened. The zero value is
// ready.
type Pulse struct {
	mu sync.Mutex
	ch chan struct{} // nil: nobody has asked since the last Fire
}

// Next is closed by the next Fire.
func (p *Pulse) Next() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ch == nil {
		p.ch = make(chan struct{})
	}
	return p.ch
}

// Fire wakes all that wait for it now.
func (p *Pulse) Fire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ch != nil {
		close(p.ch)
		p.ch = nil
	}
}

// Signal fills a channel of capacity 1; a second one before it is read is the same as
// one.
func Signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Pause waits for d, for one of the channels (nil ones never) or for the end; it
// reports whether ctx goes on.
func Pause(ctx context.Context, d time.Duration, a, b, c <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-a:
	case <-b:
	case <-c:
	}
	return ctx.Err() == nil
}

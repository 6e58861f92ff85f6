package agent

import (
	"context"
	"sync"
	"time"
)

// pulse tells all that wait at one moment that something happened.
type pulse struct {
	mu sync.Mutex
	ch chan struct{}
}

func (p *pulse) init() { p.ch = make(chan struct{}) }

// next is closed by the next fire.
func (p *pulse) next() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ch
}

func (p *pulse) fire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.ch)
	p.ch = make(chan struct{})
}

// wake fills a channel of capacity 1; a second one before it is read is the
// same as one.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// pause waits for d, for one of the channels (nil ones never) or for the end;
// it reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration, a, b <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-a:
	case <-b:
	}
	return ctx.Err() == nil
}

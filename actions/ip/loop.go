package ip

import (
	"context"
	"sync"
	"time"
)

// wakes are how the parts of Run are told that there is something to do. Each has
// capacity 1: who is told twice has as much to do.
type wakes struct{ announcing, refreshing, telling, watching, doubting, closing chan struct{} }

func newWakes() wakes {
	c := func() chan struct{} { return make(chan struct{}, 1) }
	return wakes{announcing: c(), refreshing: c(), telling: c(), watching: c(), doubting: c(), closing: c()}
}

func (w *wakes) announce() { poke(w.announcing) }
func (w *wakes) refresh()  { poke(w.refreshing) }
func (w *wakes) tell()     { poke(w.telling) }
func (w *wakes) watch()    { poke(w.watching) }
func (w *wakes) doubt()    { poke(w.doubting) }
func (w *wakes) close()    { poke(w.closing) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run keeps what is held as it should be until ctx ends, and returns when all it
// started has ended. What is held stays plumbed. It is called once.
func (d *Driver) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, part := range []func(context.Context){
		d.following, d.refreshing, d.announcing, d.telling, d.watching, d.doubting, d.closing,
	} {
		wg.Go(func() { part(ctx) })
	}
	wg.Wait()
	d.asking.Wait()
	d.closeConnections() // of what was released at the very end
	return nil
}

// loop calls step at once, whenever it is woken, and at the time that step
// answered with (never, if zero), but not before rest has passed since the last
// call.
func loop(ctx context.Context, wake <-chan struct{}, rest time.Duration, step func(now time.Time) (next time.Time)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
			if wait := rest - time.Since(last); wait > 0 {
				timer.Reset(wait)
				select {
				case <-ctx.Done():
					return
				case <-timer.C:
				}
			}
		case <-timer.C:
		}
		last = time.Now()
		next := step(last)
		if next.IsZero() {
			timer.Stop()
			continue
		}
		timer.Reset(max(time.Until(next), rest))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// earlier is the earlier of two times, of which zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

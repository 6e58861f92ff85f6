package programs

import (
	"context"
	"sync"
)

// Run watches the programs until ctx ends, and returns when all it started has ended.
func (d *Driver) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		d.mu.Lock()
		fresh := d.waiting
		d.waiting = nil
		d.mu.Unlock()
		for _, h := range fresh {
			wg.Go(func() { d.watch(ctx, h) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
		}
	}
}

// watch waits for the end of one program.
func (d *Driver) watch(ctx context.Context, h *holder) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with this call
		select {
		case <-h.over:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := h.proc.Wait(ctx)
	if err == nil {
		d.mu.Lock()
		if y := d.systems[h.system]; y != nil && y.holder == h {
			d.ended(y, "the program has ended: it has nothing any more")
		}
		d.unlock()
	} else if ctx.Err() == nil {
		// Nobody would learn of its end: what it has stays with it until it says otherwise.
		d.cfg.Log.Error().Err(err).Stringer("program", h).Msg("cannot watch the program")
	}
	if err := h.proc.Close(); err != nil {
		d.cfg.Log.Debug().Err(err).Msg("cannot close the handle of a program")
	}
}

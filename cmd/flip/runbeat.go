package main

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/flip-ha/flip/liveness/udp"
)

// heartbeat is the Endpoint with its news told to each who asked for them: a
// channel of the Endpoint's own wakes one reader only.
type heartbeat struct {
	*udp.Endpoint
	readers []chan struct{}
}

func newHeartbeat(e *udp.Endpoint) *heartbeat { return &heartbeat{Endpoint: e} }

// news is woken, with a capacity of 1, when anything that the Endpoint answers
// may have changed. It is for before Run.
func (h *heartbeat) news() <-chan struct{} {
	c := make(chan struct{}, 1)
	h.readers = append(h.readers, c)
	return c
}

// Run sends and receives heartbeats until ctx ends.
func (h *heartbeat) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.Endpoint.Run(ctx) })
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-h.Changed():
			}
			for _, c := range h.readers {
				select {
				case c <- struct{}{}:
				default:
				}
			}
		}
	})
	return g.Wait()
}

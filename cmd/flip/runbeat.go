package main

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/flip-ha/flip/liveness/udp"
)

// heartbeat is the Endpoint with its news told twice: raftnode and the
// executor's feed each want to be woken, and a channel wakes one reader.
type heartbeat struct {
	*udp.Endpoint
	node chan struct{} // both of capacity 1
	feed chan struct{}
}

func newHeartbeat(e *udp.Endpoint) *heartbeat {
	return &heartbeat{Endpoint: e, node: make(chan struct{}, 1), feed: make(chan struct{}, 1)}
}

// Changed implements raftnode.Detector.
func (h *heartbeat) Changed() <-chan struct{} { return h.node }

// Run sends and receives heartbeats until ctx ends.
func (h *heartbeat) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.Endpoint.Run(ctx) })
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-h.Endpoint.Changed():
			}
			for _, c := range []chan struct{}{h.node, h.feed} {
				select {
				case c <- struct{}{}:
				default:
				}
			}
		}
	})
	return g.Wait()
}

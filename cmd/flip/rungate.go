package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flip-ha/flip/actions/gate"
	"github.com/flip-ha/flip/actions/netif"
	"github.com/flip-ha/flip/fsm"
)

// openGate builds the gate, shut. Without one flip goes on: takeovers of this
// node's addresses then wait for the kernel to take them away by their lifetime.
func (d *daemon) openGate(g *ground) error {
	var left []netip.Addr // by a dead daemon: behind the gate until they are swept away
	for _, a := range g.net.Addresses() {
		if a.Mark == netif.AtMostOne {
			left = append(left, a.Prefix.Addr())
		}
	}
	fuse, err := gateFuse(d.file.Spec.Timing)
	if errors.Is(err, errCoarseTick) {
		g.without(err)
		d.log.Warn().Err(err).Msg("no kernel gate")
		return nil
	}
	if err != nil {
		return err
	}
	built, err := gate.Open(gate.Config{Name: gateName(d.self.Name), Fuse: fuse, Log: d.log}, left)
	switch {
	case errors.Is(err, gate.ErrUnavailable), errors.Is(err, gate.ErrForeign), errors.Is(err, gate.ErrForbidden):
		g.without(err)
		d.log.Warn().Err(err).Dur("takeover_after", fsm.SafeTakeover(d.file.Spec.Timing.Lease)).
			Msg("no kernel gate: takeovers of this node's at-most-one addresses wait for their lifetime")
		return nil
	case err != nil:
		return fmt.Errorf("build the kernel gate: %w", err)
	}
	g.gate = built
	d.undo = append(d.undo, built.Close)
	g.keeper = gate.NewKeeper(gate.KeeperConfig{
		Gate: timedGate{built, func(took time.Duration) { d.metrics.ObserveGateRenewal(took) }}, Lease: d.gateLease, MayOpen: d.gateMayOpen,
		TTL: func() time.Duration { return d.spec().Timing.Lease }, Log: d.log,
	})
	return nil
}

const (
	// shortLease is one of which the usual fuse would take a sixth or more.
	shortLease = 100 * time.Millisecond
	// fastTicks is the fuse of a short lease (ACTIONS.md 4).
	fastTicks = 3
	// longestName is what nf_tables takes as a table's name here.
	longestName = 31
)

var errCoarseTick = errors.New("the kernel's timers are too coarse for a gate under so short a lease")

// gateFuse is how late a renewal may come; 0: the usual time. A gate that could
// not be open for as long as it takes to renew it would never be: errCoarseTick.
func gateFuse(t fsm.Timing) (time.Duration, error) {
	if t.Lease >= shortLease {
		return 0, nil
	}
	tick, err := gate.Tick()
	if err != nil {
		return 0, fmt.Errorf("read the kernel's tick: %w", err)
	}
	return fuseFor(t.Lease, tick)
}

func fuseFor(lease, tick time.Duration) (time.Duration, error) {
	fuse := fastTicks * tick
	if open := lease - fuse - 2*tick; open < 2*tick+lease/6 { // two ticks are the least; leases are renewed each sixth
		return 0, fmt.Errorf("lease %v, tick %v: %w", lease, tick, errCoarseTick)
	}
	return fuse, nil
}

// removeOldGate takes down what a former process of this node left where no gate
// is wanted, or can be had, any more: nobody would open it.
func (d *daemon) removeOldGate() error {
	old, err := gate.Open(gate.Config{Name: gateName(d.self.Name), Log: d.log}, nil)
	switch {
	case errors.Is(err, gate.ErrUnavailable), errors.Is(err, gate.ErrForbidden):
		return nil // then there is none
	case err != nil:
		d.log.Error().Err(err).Msg("a gate of a former process may stand and keep this node's addresses from answering")
		return nil
	}
	return errors.Join(old.Dismantle(), old.Close())
}

// gateName is of the gate's tables: one host may run several nodes.
func gateName(m fsm.MemberID) string {
	name := "flip-" + string(m)
	if len(name) > longestName {
		sum := sha256.Sum256([]byte(m))
		name = "flip-" + hex.EncodeToString(sum[:8])
	}
	return name
}

// without takes note of why there is no gate.
func (g *ground) without(err error) {
	why := err.Error()
	g.noGate.Store(&why)
}

// gateMayOpen reports whether nothing stands behind the gate that this process
// may not hold in its present epoch, and remembers the epoch.
func (d *daemon) gateMayOpen() bool {
	epoch, clear := d.exec.Clear()
	if !clear || epoch == 0 || epoch != d.beat.Epoch() {
		return false
	}
	d.ground.cleared.Store(uint64(epoch))
	return true
}

// gateLease is the lease that the gate may be open under: that of the epoch for
// which it was found clear, and no later one's.
func (d *daemon) gateLease() (time.Duration, bool) {
	if d.ground.over.Load() {
		return 0, false
	}
	cleared := fsm.Epoch(d.ground.cleared.Load())
	if cleared != d.beat.Epoch() && !d.gateMayOpen() {
		return 0, false
	}
	return d.leaseOf(fsm.Epoch(d.ground.cleared.Load()))()
}

// keepGate keeps the gate until ctx ends. A gate that fails ends the lease at
// once, and the process registers without one (LEASES.md, L9).
func (d *daemon) keepGate(ctx context.Context) error {
	group, inner := errgroup.WithContext(ctx)
	group.Go(func() error { return d.ground.gate.Run(inner) })
	group.Go(func() error { return d.ground.keeper.Run(inner) })
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		d.ground.without(err)
		d.log.Error().Err(err).Msg("the kernel gate has failed: the lease ends now, and this node registers without a gate")
		d.beat.DropGate()
	}
	return nil
}

// shutGate closes the gate for good, before a goodbye tells the others that
// nothing here answers any more. It reports whether that is so.
func (d *daemon) shutGate() bool {
	if g := d.ground; g != nil && g.gate != nil {
		g.over.Store(true)
		if err := g.gate.Shut(); err != nil {
			d.log.Error().Err(err).Msg("cannot shut the kernel gate: it shuts when the lease ends")
			return false
		}
	}
	return true
}

// leaveGround takes the gate's tables down after a stop that left nothing behind
// them.
func (d *daemon) leaveGround() {
	g := d.ground
	if g == nil || g.gate == nil {
		return
	}
	if kept, _ := d.exec.Kept(); len(kept) > 0 {
		return
	}
	if err := g.gate.Dismantle(); err != nil {
		d.log.Warn().Err(err).Msg("the gate's tables stay: the next start takes them over")
	}
}

// execChanged wakes the gate and who tells the guard: what may stand behind it,
// and what is held, may have changed.
func (d *daemon) execChanged() {
	poke(d.effects)
	if g := d.ground; g != nil && g.keeper != nil {
		g.keeper.Wake()
	}
}

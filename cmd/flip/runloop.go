package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/udp"
	"github.com/flip-ha/flip/raftnode"
)

func (d *daemon) openExecutor() {
	d.hooks = actions.NewHooks(actions.HooksConfig{Self: d.self.Name, Token: d.list.Token, Log: d.log})
	d.fencer = newFencer(d.hooks.Fence, d.fenced, d.fenceDelay, d.log)
	d.exec = actions.New(actions.Config{
		Core:     actions.CoreConfig{Self: d.self.Name, Machine: d.host.Machine, Unfit: d.unfit, Absent: d.absent},
		Drivers:  d.drivers(),
		Changed:  d.execChanged,
		Ledger:   d.list,
		Interval: d.file.Spec.Timing.Heartbeat, Clock: udp.Boottime, Log: d.log,
	})
	d.exec.Adopt(d.left.held)
	d.exec.Sweep(d.left.gone)
	for _, sys := range d.file.Spec.Systems {
		if !serves(d.me(), sys.Name) || sys.Action != fsm.ActionHooks {
			continue
		}
		for _, err := range actions.Check(sys.Alive, sys.Down) {
			d.log.Warn().Err(err).Str("system", string(sys.Name)).Msg("a hook cannot be started as it stands")
		}
	}
}

func serves(s fsm.Server, system fsm.SystemID) bool {
	for _, id := range s.Systems {
		if id == system {
			return true
		}
	}
	return false
}

// Run is this node until ctx ends, by a stop in order, or until a part fails.
func (d *daemon) Run(ctx context.Context) error {
	// What runs outlives ctx: a stop in order needs all of it.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	g, running := errgroup.WithContext(running)
	// Heartbeats and effects outlive a part that fails: what is held at most once
	// is to be let go of, and the others told.
	last, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	g.Go(func() error { return d.beat.Run(last) })
	g.Go(func() error { return d.exec.Run(last, d.report) })
	g.Go(func() error { return d.runGround(last) })
	g.Go(func() error { return d.programs.Run(last) })
	g.Go(func() error { return d.dog.Run(last) })
	g.Go(func() error { return d.runGuard(last) })
	g.Go(func() error { return d.tellGuard(last) })
	for _, actor := range []func(context.Context) error{
		d.port.Run, d.doors.Run, d.node.Run, d.takePart, d.sayAlone, d.parts.Run, d.late.Run, d.feed, d.notify, d.keepName,
		d.runNeighbourhood, d.runWitness, d.runMetrics, d.fence, d.keepSeed, d.keepPlace, d.keepKeys,
		d.runCertificates, d.hearHangup, d.reportPrograms,
		func(ctx context.Context) error { return d.local.Run(ctx, d.socket) },
		func(ctx context.Context) error { return d.members.Run(ctx, d.port.HTTP()) },
		func(ctx context.Context) error { return d.remote.Run(ctx, d.port.API()) },
	} {
		g.Go(func() error { return actor(running) })
	}
	d.log.Info().Str("id", string(d.self.Name)).Str("instance", d.self.Instance).Str("addr", d.me().Addr).
		Str("data_dir", d.paths.data).Str("socket", d.paths.socket).Str("version", thisVersion().Version).Msg("flip is up")
	var err error
	select {
	case <-ctx.Done():
		d.log.Info().Str("cause", context.Cause(ctx).Error()).Msg("stopping in order")
		close(d.stopping)
		err = d.stop(running, last)
	case <-running.Done():
		err = d.failed(last, context.Cause(running))
	}
	cancel()
	d.dismissGuard()
	end()
	err = errors.Join(ignoreEnd(inTime(endWait, g.Wait)), err)
	d.leaveGround()
	d.peers.client.Close()
	d.away.Close()
	err = errors.Join(err, inTime(closeWait, d.close))
	d.log.Info().Err(err).Msg("flip has ended")
	return err
}

// failed is what a daemon does one of whose parts has ended, before it ends
// itself.
func (d *daemon) failed(last context.Context, cause error) error {
	switch {
	case errors.Is(cause, errSuperseded), errors.Is(cause, errRemoved):
		return nil // it has let go already
	case errors.Is(cause, raftnode.ErrStalled):
		d.log.Error().Err(cause).Msg("giving up: another node shall lead, and have what this one holds")
		return errors.Join(cause, d.giveUp(last))
	default:
		d.log.Error().Err(cause).Msg("a part of flip has failed: letting go of all at-most-one items")
		return d.abandon(last)
	}
}

// ignoreEnd takes away what is no failure: that this daemon was to end.
func ignoreEnd(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, errRemoved) {
		return nil
	}
	return err
}

// report carries what is true on this machine to the leader.
func (d *daemon) report(ctx context.Context, r fsm.Report) error {
	r.At = time.Now().UnixMilli()
	res, err := d.node.Propose(ctx, r)
	if err == nil && !res.Applied {
		return fmt.Errorf("report: %s", res.Why)
	}
	return err
}

// feed gives the executor the newest slice, whenever the log or the lease has
// changed. Before this process's own registration is in the log it gives none:
// what a restarted server knows until then may be long past (DESIGN.md 6).
func (d *daemon) feed(ctx context.Context) error {
	defer d.turn.Over()
	d.sweepLeftovers()
	began, timer := false, newSteps(d.metrics.ObserveStep)
	var seen struct {
		at    fsm.Index
		epoch fsm.Epoch
	}
	for {
		state, at := d.node.View()
		epoch := d.beat.Epoch()
		if epoch != 0 && at >= fsm.Index(epoch) {
			if !began {
				d.begin(state)
				began = true
			}
			if at != seen.at || epoch != seen.epoch {
				slice := state.Slice(d.self.Name, epoch, d.host.Machine, at)
				timer.slice(slice, time.Now())
				leader, _ := d.node.Leader()
				timer.downs(state, leader == d.self.Name, time.Now())
				d.exec.Set(slice, d.leaseOf(epoch))
				seen.at, seen.epoch = at, epoch
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.node.Changed(at):
		case <-d.turn.Due():
			d.turn.Turned()
		case <-d.news.feed:
			d.exec.Wake()
			d.execChanged()
		}
	}
}

// begin does what a process does once, when it first knows what the cluster
// has agreed.
func (d *daemon) begin(state *fsm.State) {
	d.exec.Clean(state.Rest(d.self.Name))
	d.disown(state)
	for _, words := range d.differences(state) {
		d.log.Warn().Str("file", d.paths.file).Str("difference", words).
			Msg("the file differs from what the cluster has agreed, which holds: the file counts at founding only")
	}
}

// leaseOf is the lease as long as it is that of epoch.
func (d *daemon) leaseOf(epoch fsm.Epoch) func() (time.Duration, bool) {
	return func() (time.Duration, bool) {
		left, ok := d.beat.Lease()
		if d.paths.isWithout("release") {
			left, ok = time.Hour, true
		}
		return left, ok && d.beat.Epoch() == epoch
	}
}

// sweepLeftovers lets go of at-most-one items that an earlier process may have
// left, at once: this one holds none without a lease of its own.
func (d *daemon) sweepLeftovers() {
	spec := *d.spec()
	state, _, err := fsm.New().Apply(1, fsm.Encode(fsm.SetSpec{Cluster: "leftovers", Spec: spec}))
	if err != nil {
		d.log.Error().Err(err).Msg("cannot tell what an earlier process may have left")
		return
	}
	var left []fsm.Job
	for _, job := range state.Rest(d.self.Name) {
		if job.AtMostOne && !d.left.has(job.Key) {
			left = append(left, job)
		}
	}
	d.exec.Clean(left)
}

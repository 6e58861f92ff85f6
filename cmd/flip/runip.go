package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/gate"
	"github.com/flip-ha/flip/actions/ip"
	"github.com/flip-ha/flip/actions/netif"
	"github.com/flip-ha/flip/actions/wire"
	"github.com/flip-ha/flip/fsm"
)

// ground is what a node stands on that plumbs addresses itself, or looks on the
// wire who answers for those of others.
type ground struct {
	net    *netif.Net
	wire   *wire.Wire
	driver *ip.Driver // nil: this node plumbs none
	hood   *neighbourhood

	gate   *gate.Gate // nil: none, see noGate
	keeper *gate.Keeper
	// pretends: a test has this node claim a gate that is not there.
	pretends bool
	noGate   atomic.Pointer[string] // why there is no gate although one is wanted
	cleared  atomic.Uint64          // the epoch for which the executor said that the gate may open
	over     atomic.Bool            // the gate opens no more
}

// plumbs reports whether this node serves a system whose addresses flip plumbs,
// and whether the kernel is to gate any of them.
func (d *daemon) plumbs() (any, gated bool) {
	for _, id := range d.me().Systems {
		sys := d.file.Spec.Systems[id]
		if sys.Action != fsm.ActionIP {
			continue
		}
		any = true
		gated = gated || sys.Guarantee == fsm.AtMostOne && !sys.IP.NoGate
	}
	return any, gated
}

// servesAddresses reports whether a server has a system whose addresses flip
// plumbs.
func servesAddresses(spec *fsm.Spec, m fsm.MemberID) bool {
	return slices.ContainsFunc(spec.Servers[m].Systems, func(id fsm.SystemID) bool {
		return spec.Systems[id].Action == fsm.ActionIP
	})
}

func hasAddresses(spec *fsm.Spec) bool {
	for m := range spec.Servers {
		if servesAddresses(spec, m) {
			return true
		}
	}
	return false
}

// openGround makes ready what plumbing addresses takes, and lets go of what a
// former process may have left: this one has no lease yet.
func (d *daemon) openGround() error {
	any, gated := d.plumbs()
	if !hasAddresses(&d.file.Spec) {
		return nil
	}
	links, err := netif.Open(d.log)
	switch {
	case errors.Is(err, netif.ErrForbidden) && any:
		return hinted{
			fmt.Errorf("make ready to plumb addresses: %w", err),
			"`\"action\": \"ip\"` needs CAP_NET_ADMIN and CAP_NET_RAW: run flip as root, or by the unit of its package",
		}
	case errors.Is(err, netif.ErrForbidden):
		d.log.Info().Err(err).Msg("this node cannot look on the wire who answers for the others' addresses")
		return nil
	case err != nil:
		return fmt.Errorf("make ready to plumb addresses: %w", err)
	}
	g := &ground{net: links, wire: wire.New(d.log), hood: d.newNeighbourhood()}
	g.wire.Opened(d.hold.Add)
	d.undo = append(d.undo, g.net.Close, g.wire.Close)
	d.ground = g
	if !any {
		return nil
	}
	switch {
	case gated && d.paths.isWithout("gate"):
		g.pretends = true
		d.log.Error().Str(withoutVariable, d.paths.without).Msg("a test took the kernel gate away: two nodes may hold the same address")
	case gated:
		if err := d.openGate(g); err != nil {
			return err
		}
	}
	cfg := ip.Config{
		Self: d.self.Name, Links: g.net, Addresses: g.net, Wire: g.wire,
		TTL:    func() time.Duration { return d.spec().Timing.Lease },
		Member: d.isMembers, Cache: g.cache, Recheck: d.recheck, Log: d.log,
	}
	switch {
	case g.gate != nil:
		cfg.Gate = g.gate
	case g.pretends:
		cfg.Gate = noValve{}
	}
	g.driver = ip.New(cfg)
	if err := g.driver.Sweep(); err != nil || g.gate != nil {
		return err
	}
	return d.removeOldGate()
}

// runGround keeps addresses and gate until ctx ends.
func (d *daemon) runGround(ctx context.Context) error {
	g := d.ground
	if g == nil {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.net.Run(ctx) })
	if g.driver != nil {
		group.Go(func() error { return g.driver.Run(ctx) })
	}
	if g.keeper != nil {
		group.Go(func() error { return d.keepGate(ctx) })
	}
	return group.Wait()
}

// recheck has the executor ask again what cannot be held here.
func (d *daemon) recheck() {
	if d.exec != nil { // the driver is there before it
		d.exec.Recheck()
	}
}

func (d *daemon) unfit(job *fsm.Job) string {
	if d.ground == nil || d.ground.driver == nil || job.Action != fsm.ActionIP {
		return ""
	}
	return d.ground.driver.Unfit(job)
}

// drivers are who makes items true on this machine, by action.
func (d *daemon) drivers() map[fsm.Action]actions.Driver {
	out := map[fsm.Action]actions.Driver{
		fsm.ActionHooks:  d.hooks,
		fsm.ActionIP:     noGround{},
		fsm.ActionClient: d.programs,
	}
	if d.ground != nil && d.ground.driver != nil {
		out[fsm.ActionIP] = d.ground.driver
	}
	return out
}

// noGround is the driver of addresses on a node whose file named none when it
// started.
type noGround struct{}

var errNoGround = errors.New("this daemon was started with a file in which it plumbs no addresses: put the system into the file and restart it")

// Acquire implements actions.Driver.
func (noGround) Acquire(context.Context, fsm.Job) error { return errNoGround }

// Release implements actions.Driver: a former process may have been started with
// another file, and what it plumbed may be there still.
func (noGround) Release(context.Context, fsm.Job) error { return errNoGround }

// disown removes addresses that a former process left and nobody names any more.
func (d *daemon) disown(state *fsm.State) {
	if d.ground == nil || d.ground.driver == nil {
		return
	}
	named := map[netip.Addr]bool{}
	note := func(addrs []string) {
		for _, text := range addrs {
			if p, err := netip.ParsePrefix(text); err == nil {
				named[p.Addr()] = true
			}
		}
	}
	for _, sys := range state.Spec().Systems {
		for _, item := range sys.Items {
			note(item.Addrs)
		}
	}
	for slot := range state.Slots() {
		for _, e := range slot.Outstanding {
			note(e.Addrs)
		}
	}
	if err := d.ground.driver.Disown(func(a netip.Addr) bool { return named[a] }); err != nil {
		d.log.Error().Err(err).Msg("addresses that nobody names any more stay")
	}
}

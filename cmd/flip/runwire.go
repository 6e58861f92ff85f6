package main

import (
	"context"
	"net"
	"net/netip"

	"golang.org/x/sync/errgroup"

	"github.com/flip-ha/flip/actions/ip"
	"github.com/flip-ha/flip/actions/wire"
	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
)

func (d *daemon) newNeighbourhood() *neighbourhood {
	n := newNeighbourhood(d.self.Name)
	n.servers = d.votingNames
	n.members = func(m fsm.MemberID) bool { _, is := d.spec().Servers[m]; return is }
	n.agent = func() bool { _, informed := d.node.informed(); return informed }
	n.look = d.lookAround
	n.tell = func(ctx context.Context, to fsm.MemberID, mine api.Neighbours) error {
		return d.peers.client.Neighbours(ctx, client.Target{Addr: d.spec().Servers[to].Addr, Name: to}, mine)
	}
	return n
}

// runNeighbourhood shares what the members know of their networks.
func (d *daemon) runNeighbourhood(ctx context.Context) error {
	if d.ground == nil {
		return nil
	}
	return d.ground.hood.run(ctx)
}

func (d *daemon) heardNeighbours(from fsm.MemberID, n api.Neighbours) {
	if d.ground != nil {
		d.ground.hood.heard(from, n)
	}
}

// lookAround is what this machine knows of its networks.
func (d *daemon) lookAround() (own []net.HardwareAddr, known []neighbour) {
	for _, l := range d.ground.net.Links() {
		if len(l.MAC) > 0 {
			own = append(own, l.MAC)
		}
	}
	list, err := d.ground.net.Neighbours()
	if err != nil {
		d.log.Debug().Err(err).Msg("cannot read this machine's neighbours")
	}
	for _, n := range list {
		known = append(known, neighbour{IP: n.IP, MAC: n.MAC})
	}
	return own, known
}

// isMembers reports whether a hardware address is, or may be, a member's: until
// all that plumb addresses have said which are theirs nobody is called a stranger.
// Also one that is down may live, cut off, and keep an at-least-one address.
func (d *daemon) isMembers(mac net.HardwareAddr) bool {
	hood := d.ground.hood
	// An agent does not know who else is a member, and calls nobody a stranger.
	if hood.member(mac) != "" || hood.agent() {
		return true
	}
	state, _ := d.node.View()
	for id := range state.Members() {
		if servesAddresses(state.Spec(), id) && !hood.knows(id) {
			return true
		}
	}
	return false
}

func (g *ground) cache() []ip.Neighbour {
	var out []ip.Neighbour
	for _, n := range g.hood.cache() {
		out = append(out, ip.Neighbour{IP: n.IP, MAC: n.MAC})
	}
	return out
}

// runWitness looks on the wire who answers for what others hold.
func (d *daemon) runWitness(ctx context.Context) error {
	if d.ground == nil {
		return nil
	}
	w := &witness{
		self: d.self.Name, log: d.log, view: d.node.View, epoch: d.beat.Epoch,
		whose: d.ground.hood.member, knows: d.ground.hood.knows, ask: d.ground.askWire, report: d.report,
	}
	return w.run(ctx)
}

// askWire asks who has each address, on the link in whose subnet it is; those in
// no subnet of this host are left out of the answer.
func (g *ground) askWire(ctx context.Context, addrs []netip.Addr) (answers, error) {
	byLink := map[int][]netip.Addr{}
	links := map[int]wire.Link{}
	got := answers{}
	for _, a := range addrs {
		l, err := g.net.Find(netip.PrefixFrom(a, a.BitLen()), "")
		if err != nil || !l.Up || !l.Carrier {
			continue // nothing that is heard, or not heard, there says anything
		}
		links[l.Index] = wire.Link{Index: l.Index, Name: l.Name, MAC: l.MAC}
		byLink[l.Index] = append(byLink[l.Index], a)
		got[a] = nil
	}
	heard := make(chan wire.Answer, 64)
	group, asking := errgroup.WithContext(ctx)
	for index, list := range byLink {
		group.Go(func() error { return g.wire.Ask(asking, links[index], list, heard) })
	}
	done := make(chan error, 1)
	go func() { done <- group.Wait(); close(heard) }()
	for a := range heard {
		if macs, asked := got[a.Addr]; asked && !containsMAC(macs, a.MAC) {
			got[a.Addr] = append(macs, a.MAC)
		}
	}
	return got, <-done
}

func containsMAC(list []net.HardwareAddr, mac net.HardwareAddr) bool {
	for _, m := range list {
		if string(m) == string(mac) {
			return true
		}
	}
	return false
}

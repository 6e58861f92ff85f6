package ip

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/netif"
	"github.com/flip-ha/flip/fsm"
)

// release removes a batch's addresses; the turn is held. The requests are done
// when it returns: nobody waits for an acquire of the same batch.
func (d *Driver) release(batch []*request) {
	if len(batch) == 0 {
		return
	}
	d.count(func(s *Stats) { s.Batches++ })
	plumbed := byAddress(d.cfg.Addresses.Addresses())
	var list []netif.Address
	var owner []*request
	d.mu.Lock()
	for _, r := range batch {
		for _, a := range d.toRelease(r, plumbed) {
			list, owner = append(list, a), append(owner, r)
		}
	}
	d.mu.Unlock()
	if len(list) > 0 {
		for i, err := range d.cfg.Addresses.Remove(list) {
			if err != nil {
				owner[i].err = errors.Join(owner[i].err, err)
			}
		}
	}
	// Nothing new is announced since toRelease; what was being sent is out when
	// the air is free.
	d.air <- struct{}{}
	<-d.air

	d.mu.Lock()
	for _, r := range batch {
		if r.err == nil {
			d.released(r)
		}
	}
	d.mu.Unlock()
	d.emptyGate()
	d.wake.close()
	finish(batch)
}

// toRelease marks a job's item as going and finds its addresses wherever they
// are; d.mu is held.
func (d *Driver) toRelease(r *request, plumbed map[netip.Addr][]netif.Address) []netif.Address {
	var out []netif.Address
	d.forget(r.job.Key)
	if it := d.items[r.job.Key]; it != nil {
		it.going = true
		r.it = it
		for _, p := range it.places {
			// Also what the picture does not show yet.
			out = append(out, netif.Address{Link: p.link.Index, Prefix: p.prefix})
			if !slices.ContainsFunc(r.places, func(q place) bool { return q.prefix.Addr() == p.prefix.Addr() }) {
				r.places = append(r.places, p)
			}
		}
	}
	for _, p := range r.places {
		if other := d.byAddr[p.prefix.Addr()]; other != nil && other.job.Key != r.job.Key {
			of(d.cfg.Log.Warn(), &r.job).Str("address", p.prefix.Addr().String()).Str("held_as", string(other.job.Item)).
				Msg("not removed: the address is another item's now")
			continue
		}
		delete(d.left, p.prefix.Addr())
		found := plumbed[p.prefix.Addr()]
		if err := d.hosts(plumbed, found); err != nil && r.it == nil {
			r.err = fmt.Errorf("%w: %w", actions.ErrOutsideGate, err)
			continue
		}
		for _, a := range found {
			if slices.ContainsFunc(out, func(b netif.Address) bool { return a.Link == b.Link && a.Prefix == b.Prefix }) {
				continue
			}
			if a.Mark == 0 {
				of(d.cfg.Log.Warn(), &r.job).Str("address", a.Prefix.String()).Str("interface", d.linkName(a.Link)).
					Msg("removing an address that flip has not plumbed")
			}
			out = append(out, a)
		}
	}
	return out
}

// released forgets what has gone; d.mu is held.
func (d *Driver) released(r *request) {
	if r.it != nil && d.items[r.job.Key] == r.it {
		d.forgetItem(r.job.Key)
		d.stats.Releases++
	}
	for _, a := range addrsOf(r.places) {
		if d.byAddr[a] == nil {
			d.leaveGate(a)
			d.closed = append(d.closed, a)
		}
	}
}

// forgetItem takes an item from what is held; d.mu is held.
func (d *Driver) forgetItem(k fsm.Key) {
	it := d.items[k]
	if it == nil {
		return
	}
	it.going = true
	delete(d.items, k)
	for _, a := range it.addrs() {
		if d.byAddr[a] == it {
			delete(d.byAddr, a)
		}
	}
	d.forget(k)
}

// leaveGate notes that an address has gone from this machine, or is gated no
// more; d.mu is held.
func (d *Driver) leaveGate(a netip.Addr) {
	if d.cfg.Gate != nil {
		d.ungate[a] = struct{}{}
	}
}

// emptyGate lets out of the gate what has gone, in one transaction. What the gate
// refuses is tried again by Run: the address itself has gone, so a release does
// not wait for it.
func (d *Driver) emptyGate() {
	if d.cfg.Gate == nil {
		return
	}
	d.mu.Lock()
	addrs := slices.SortedFunc(maps.Keys(d.ungate), netip.Addr.Compare)
	d.mu.Unlock()
	if len(addrs) == 0 {
		return
	}
	err := d.cfg.Gate.Remove(addrs)
	d.note("gate", err, "cannot let what was removed out of the gate; trying again: until then this host does not reach its new holder")
	if err != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range addrs {
		delete(d.ungate, a)
	}
}

// Sweep removes, at the start, every at-most-one address that a former process
// left: there is no lease yet. At-least-one addresses stay and are kept alive
// until their item is acquired or released here, or Disown says that nobody's
// they are.
func (d *Driver) Sweep() error {
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	var gone []netif.Address
	var kept []string
	d.mu.Lock()
	for _, a := range d.cfg.Addresses.Addresses() {
		switch addr := a.Prefix.Addr(); {
		case d.byAddr[addr] != nil:
		case a.Mark == netif.AtMostOne:
			gone = append(gone, a)
		case a.Mark == netif.AtLeastOne:
			a.Valid = backstop
			d.left[addr] = left{addr: a, due: time.Now()}
			kept = append(kept, addr.String())
		}
	}
	d.mu.Unlock()
	if len(kept) > 0 {
		d.cfg.Log.Info().Strs("addresses", kept).Msg("at-least-one addresses of a former process stay until it is known whose they are")
		d.wake.refresh()
	}
	return d.sweepAway(gone, "at-most-one addresses of a former process are removed: there is no lease yet")
}

// Disown says which addresses any item of the cluster names; it is called once the
// log has been read past this process's own registration. What a former process
// left and nobody names is removed.
func (d *Driver) Disown(named func(netip.Addr) bool) error {
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	var gone []netif.Address
	d.mu.Lock()
	for addr, l := range d.left {
		if !named(addr) {
			gone = append(gone, l.addr)
			delete(d.left, addr)
		}
	}
	d.mu.Unlock()
	slices.SortFunc(gone, func(a, b netif.Address) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
	return d.sweepAway(gone, "addresses of a former process that no item names any more are removed")
}

// sweepAway removes addresses and lets them out of the gate; the turn is held.
func (d *Driver) sweepAway(gone []netif.Address, why string) error {
	if len(gone) == 0 {
		return nil
	}
	var names []string
	var errs []error
	failed := d.cfg.Addresses.Remove(gone)
	d.mu.Lock()
	for i, a := range gone {
		if failed[i] != nil {
			errs = append(errs, failed[i])
			continue
		}
		names = append(names, a.Prefix.Addr().String())
		d.leaveGate(a.Prefix.Addr())
		d.closed = append(d.closed, a.Prefix.Addr())
		d.stats.Swept++
	}
	d.mu.Unlock()
	d.emptyGate()
	d.wake.close()
	if len(names) > 0 {
		d.cfg.Log.Warn().Strs("addresses", names).Msg(why)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return nil
}

func byAddress(list []netif.Address) map[netip.Addr][]netif.Address {
	out := make(map[netip.Addr][]netif.Address, len(list))
	for _, a := range list {
		out[a.Prefix.Addr()] = append(out[a.Prefix.Addr()], a)
	}
	return out
}

package ip

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/netif"
)

const (
	// chunk4 and chunk6 bound how many addresses are added in one call: between two
	// calls it is asked again whether they are still permitted, and releases that
	// came in are carried out. IPv4 takes 6 us an address, IPv6 up to 1.5 ms.
	chunk4 = 512
	chunk6 = 64
)

// acquire plumbs a batch; the turn is held. An address enters the gate before it
// is plumbed, and leaves it after it was removed. Each chunk is announced, and its
// requests are done, while the next one is plumbed; the caller waits for said once
// he no longer holds the turn.
func (d *Driver) acquire(batch []*request) (said *sync.WaitGroup) {
	said = &sync.WaitGroup{}
	if len(batch) == 0 {
		return said
	}
	d.count(func(s *Stats) { s.Batches++ })
	plumbed := byAddress(d.cfg.Addresses.Addresses())
	for _, r := range batch {
		if r.err = actions.Permitted(r.ctx); r.err == nil {
			r.err = d.refused(r, plumbed)
		}
	}
	d.letIn(batch)
	for rest := d.finishFailed(batch); len(rest) > 0; {
		d.release(d.queue.takeReleases())
		n := chunk(rest)
		d.plumb(rest[:n], plumbed)
		if up := d.finishFailed(rest[:n]); len(up) > 0 {
			said.Go(func() {
				d.announceFirst(up)
				finish(up)
			})
		}
		rest = rest[n:]
	}
	return said
}

// finishFailed undoes what was done for requests that have failed, and answers
// with the others.
func (d *Driver) finishFailed(batch []*request) []*request {
	good, failed := make([]*request, 0, len(batch)), []*request(nil)
	for _, r := range batch {
		if r.err == nil {
			good = append(good, r)
		} else {
			failed = append(failed, r)
		}
	}
	d.undo(failed)
	finish(failed)
	return good
}

// chunk is how many of the requests go into one call; at least one.
func chunk(rs []*request) int {
	cost := 0
	for i, r := range rs {
		if cost += costOf(r.places); i > 0 && cost > chunk4 {
			return i
		}
	}
	return len(rs)
}

// costOf counts addresses; one of IPv6 costs as much as several of IPv4.
func costOf(places []place) (cost int) {
	for _, p := range places {
		cost++
		if p.prefix.Addr().Is6() {
			cost += chunk4/chunk6 - 1
		}
	}
	return cost
}

// refused says why a job's addresses must not be plumbed: they are another item's,
// or this host's own.
func (d *Driver) refused(r *request, plumbed map[netip.Addr][]netif.Address) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range r.places {
		addr := p.prefix.Addr()
		switch it := d.byAddr[addr]; {
		case it == nil:
			if err := d.hosts(plumbed, plumbed[addr]); err != nil {
				return err
			}
		case it.job.Key != r.job.Key:
			return fmt.Errorf("%s is held here as %s of %s", addr, it.job.Item, it.job.System)
		}
	}
	return nil
}

// hosts finds out whether one of these is the host's own address, by which its
// link is in a subnet at all. Taking that over, or removing it, cuts the host off.
func (d *Driver) hosts(plumbed map[netip.Addr][]netif.Address, found []netif.Address) error {
	for _, a := range found {
		if a.Mark != 0 || a.Prefix.IsSingleIP() || shared(plumbed, a) {
			continue
		}
		return fmt.Errorf("%s is what puts %s into its subnet, so it seems to be this host's own: take it out of the configuration, or off %[2]s if it was left there",
			a.Prefix, d.linkName(a.Link))
	}
	return nil
}

// shared says whether another unmarked address keeps a's link in a's subnet.
func shared(plumbed map[netip.Addr][]netif.Address, a netif.Address) bool {
	for addr, list := range plumbed {
		if addr == a.Prefix.Addr() || !a.Prefix.Contains(addr) {
			continue
		}
		for _, b := range list {
			if b.Link == a.Link && b.Mark == 0 && b.Prefix.Bits() <= a.Prefix.Bits() {
				return true
			}
		}
	}
	return false
}

// letIn lets the addresses of all gated jobs into the gate, in one transaction.
func (d *Driver) letIn(batch []*request) {
	var addrs []netip.Addr
	for _, r := range batch {
		if r.err == nil && r.job.Gated {
			addrs = append(addrs, addrsOf(r.places)...)
			r.gated = true
		}
	}
	if len(addrs) == 0 {
		return
	}
	err := d.cfg.Gate.Add(addrs)
	if err != nil {
		for _, r := range batch {
			if r.gated {
				r.err = fmt.Errorf("let it into the gate before it is plumbed: %w", err)
			}
		}
		return
	}
	d.mu.Lock()
	for _, a := range addrs {
		delete(d.ungate, a)
	}
	d.mu.Unlock()
}

// plumb adds the addresses of some requests in one call. A job of which one
// address fails has failed.
func (d *Driver) plumb(batch []*request, plumbed map[netip.Addr][]netif.Address) {
	ttl := d.cfg.TTL()
	var list []netif.Address
	var owner []*request
	for _, r := range batch {
		if r.err = actions.Permitted(r.ctx); r.err != nil {
			continue
		}
		for _, a := range wanted(&r.job, r.places, ttl) {
			list, owner = append(list, a), append(owner, r)
		}
	}
	if len(list) == 0 {
		return
	}
	// From here on the addresses may be up: undo takes them away if the job fails.
	for _, r := range batch {
		if r.err == nil {
			r.begun = true
		}
	}
	for i, err := range d.cfg.Addresses.Add(list) {
		if err != nil && owner[i].err == nil {
			owner[i].err = err
		}
	}
	now := time.Now()
	var stale []netif.Address
	for _, r := range batch {
		if r.err == nil {
			stale = append(stale, d.hold(r, plumbed, now, ttl)...)
		}
	}
	d.removeStale(stale)
}

// hold enters what was plumbed among what is held, and answers with what the same
// addresses were plumbed as before, which is to go.
func (d *Driver) hold(r *request, plumbed map[netip.Addr][]netif.Address, now time.Time, ttl time.Duration) []netif.Address {
	it := &item{job: r.job, places: r.places, permit: actions.Permit(r.ctx), since: now, refresh: now.Add(refreshAfter(&r.job, ttl))}
	it.begin(now)
	it.due = now.Add(time.Minute) // the first round is announceFirst's
	r.it = it
	var stale []netif.Address
	for _, p := range r.places {
		for _, a := range plumbed[p.prefix.Addr()] {
			here := a.Link == p.link.Index && a.Prefix == p.prefix
			if a.Mark == 0 {
				what := "was plumbed here by somebody else: taken over"
				if !here {
					what = "was plumbed here by somebody else, and otherwise: taken over, and removed from there"
				}
				of(d.cfg.Log.Warn(), &r.job).Str("address", a.Prefix.String()).Str("interface", d.linkName(a.Link)).Msg(what)
				d.count(func(s *Stats) { s.TakenOver++ })
			}
			if !here {
				stale = append(stale, a)
			}
		}
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.items[r.job.Key]; old != nil {
		it.announced, it.repairs = old.announced, old.repairs
		stale = append(stale, d.supersede(old, it)...)
	}
	d.items[r.job.Key] = it
	for _, p := range it.places {
		d.byAddr[p.prefix.Addr()] = it
		delete(d.left, p.prefix.Addr())
	}
	d.forget(r.job.Key)
	return stale
}

// supersede takes away what an older acquire of the same item plumbed and the new
// one did not; d.mu is held.
func (d *Driver) supersede(old, it *item) []netif.Address {
	old.going = true
	var stale []netif.Address
	for _, p := range old.places {
		if !slices.ContainsFunc(it.places, p.same) {
			stale = append(stale, netif.Address{Link: p.link.Index, Prefix: p.prefix})
		}
		held := slices.Contains(it.addrs(), p.prefix.Addr())
		if !held {
			delete(d.byAddr, p.prefix.Addr())
		}
		if !held || old.job.Gated && !it.job.Gated {
			d.leaveGate(p.prefix.Addr())
		}
	}
	return stale
}

// removeStale removes what is plumbed besides what is held. What cannot be
// removed now is found again by repair.
func (d *Driver) removeStale(stale []netif.Address) {
	if len(stale) == 0 {
		return
	}
	for i, err := range d.cfg.Addresses.Remove(stale) {
		if err != nil {
			d.cfg.Log.Warn().Err(err).Str("address", stale[i].Prefix.String()).
				Str("interface", d.linkName(stale[i].Link)).Msg("cannot remove what an address was plumbed as before")
		}
	}
	d.emptyGate()
}

// undo takes away what was plumbed of the jobs that failed, then lets it out of
// the gate.
func (d *Driver) undo(batch []*request) {
	var list []netif.Address
	var owner []*request
	var plumbed map[netip.Addr][]netif.Address
	d.mu.Lock()
	for _, r := range batch {
		if r.err == nil || !r.begun {
			continue
		}
		if plumbed == nil {
			plumbed = byAddress(d.cfg.Addresses.Addresses())
		}
		places := r.places
		if old := d.items[r.job.Key]; old != nil {
			places = slices.Clone(places)
			for _, p := range old.places {
				if !slices.Contains(addrsOf(r.places), p.prefix.Addr()) {
					places = append(places, p)
				}
			}
			d.forgetItem(r.job.Key)
		}
		for _, p := range places {
			// Wherever it is: somebody may have moved what an older acquire plumbed. And
			// where it should be: an error may hide that it is there.
			found := plumbed[p.prefix.Addr()]
			if !slices.ContainsFunc(found, func(a netif.Address) bool { return a.Link == p.link.Index && a.Prefix == p.prefix }) {
				found = append(found, netif.Address{Link: p.link.Index, Prefix: p.prefix})
			}
			for _, a := range found {
				list, owner = append(list, a), append(owner, r)
			}
		}
	}
	d.mu.Unlock()
	if len(list) > 0 {
		for i, err := range d.cfg.Addresses.Remove(list) {
			if err != nil {
				owner[i].gated = false // stays inside: it may be up
				of(d.cfg.Log.Error(), &owner[i].job).Err(err).Str("address", list[i].Prefix.String()).
					Msg("cannot remove what was plumbed before the acquire failed")
			}
		}
	}
	d.mu.Lock()
	for _, r := range batch {
		// What an older acquire holds on stays inside.
		if r.err != nil && r.gated && (r.begun || d.items[r.job.Key] == nil) {
			for _, a := range addrsOf(r.places) {
				d.leaveGate(a)
			}
		}
	}
	d.mu.Unlock()
	d.emptyGate()
}

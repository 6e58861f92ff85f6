package ip

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/flip-ha/flip/actions/netif"
)

// refreshApart is the least time between two looks at what is to be refreshed.
const refreshApart = 20 * time.Millisecond

// refreshing keeps the kernel from removing what is held: what is gated or
// at-least-one for as long as the daemon lives, what only a lifetime lets go of
// while its permit says so. It does so in chunks, since a release must not wait
// for a thousand of them.
func (d *Driver) refreshing(ctx context.Context) {
	loop(ctx, d.wake.refreshing, refreshApart, func(now time.Time) (next time.Time) {
		more := true
		for more && ctx.Err() == nil {
			d.withTurn(ctx, func() { next, more = d.refresh(now) })
		}
		return next
	})
}

// renewal is what refreshing an item takes.
type renewal struct {
	it    *item
	addrs []netif.Address
	ask   bool // its permit, since nothing else lets go of it
	cost  int
	every time.Duration
}

// refresh renews one chunk of what is due and says when the next is, or that more
// is due now; the turn is held.
func (d *Driver) refresh(now time.Time) (next time.Time, more bool) {
	d.emptyGate()
	due, next := d.refreshDue(now)
	var list []netif.Address
	cost := 0
	for _, r := range due {
		if cost >= chunk4 {
			more = true
			break
		}
		// The last question before the call: an ungated address lives on from here
		// for as long as the bet of L9 says.
		if !r.ask || r.it.permit() == nil {
			list = append(list, r.addrs...)
			cost += r.cost
		}
		at := now.Add(r.every)
		d.mu.Lock()
		r.it.refresh = at
		d.mu.Unlock()
		next = earlier(next, at)
	}
	leftDue, leftNext := d.leftDue(now)
	d.renew(append(list, leftDue...))
	if d.gateOwes() {
		next = earlier(next, now.Add(time.Second))
	}
	return earlier(next, leftNext), more
}

// refreshDue are the items whose lifetimes are to be refreshed, those longest due
// first, and when the next one is.
func (d *Driver) refreshDue(now time.Time) (due []renewal, next time.Time) {
	ttl := d.cfg.TTL()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, it := range d.items {
		switch {
		case it.going:
		case it.refresh.After(now):
			next = earlier(next, it.refresh)
		default:
			due = append(due, renewal{
				it: it, addrs: wanted(&it.job, it.places, ttl), ask: !backed(&it.job),
				cost: costOf(it.places), every: refreshAfter(&it.job, ttl),
			})
		}
	}
	slices.SortFunc(due, func(a, b renewal) int {
		return cmp.Or(a.it.refresh.Compare(b.it.refresh), a.it.job.Compare(b.it.job.Key))
	})
	return due, next
}

// leftDue are the addresses of a former process that are to be refreshed.
func (d *Driver) leftDue(now time.Time) (due []netif.Address, next time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for addr, l := range d.left {
		if !l.due.After(now) {
			due = append(due, l.addr)
			l.due = now.Add(backstopEvery)
			d.left[addr] = l
		}
		next = earlier(next, l.due)
	}
	slices.SortFunc(due, func(a, b netif.Address) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
	return due, next
}

func (d *Driver) gateOwes() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ungate) > 0
}

// renew refreshes addresses.
func (d *Driver) renew(list []netif.Address) {
	if len(list) == 0 {
		return
	}
	var failed uint64
	for i, err := range d.cfg.Addresses.Add(list) {
		if err != nil {
			failed++
		}
		d.note("refresh of "+list[i].Prefix.String(), err, "cannot refresh the lifetime of an address; trying again")
	}
	d.count(func(s *Stats) {
		s.Refreshes += uint64(len(list)) - failed
		s.RefreshErrors += failed
	})
}

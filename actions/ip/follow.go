package ip

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/flip-ha/flip/actions/netif"
)

const (
	// followApart is the least time between two looks at the picture: adding a
	// thousand addresses changes it a thousand times.
	followApart = 5 * time.Millisecond
	// followEvery is how often it is looked at without a word from the kernel: what
	// could not be put right is tried again then.
	followEvery = time.Second
	// lifetimeOff is by how much a lifetime may be longer than asked for: the kernel
	// counts seconds.
	lifetimeOff = 2 * time.Second
	// repairLogEvery bounds the lines about one item that somebody else alters
	// again and again.
	repairLogEvery = time.Second
)

// following looks at the picture whenever it has changed: what is held is put
// right, and whoever asks Unfit is told when that may answer otherwise.
func (d *Driver) following(ctx context.Context) {
	loop(ctx, d.cfg.Links.Changed(), followApart, func(now time.Time) time.Time {
		addrs, ttl := d.cfg.Addresses.Addresses(), d.cfg.TTL()
		before := d.fit.links.Load()
		d.mu.Lock()
		changed := d.fit.look(d.cfg.Links, addrs)
		if changed {
			d.newMACs(before, now)
		}
		flaws := d.flaws(addrs, ttl)
		d.mu.Unlock()
		if changed {
			d.cfg.Recheck()
			d.wake.announce()
		}
		if len(flaws) > 0 {
			d.withTurn(ctx, d.repair)
		}
		return now.Add(followEvery)
	})
}

// newMACs announces anew what is on a link that got another MAC, as a bond does
// when it fails over; d.mu is held.
func (d *Driver) newMACs(before *linkSet, now time.Time) {
	for _, it := range d.items {
		for _, p := range it.places {
			was, ok := before.index(p.link.Index)
			is, still := d.fit.links.Load().index(p.link.Index)
			if ok && still && !slices.Equal(was.MAC, is.MAC) && !it.going {
				it.begin(now)
				break
			}
		}
	}
}

// flaw is one address that is not as it should be.
type flaw struct {
	it     *item
	at     int // of its places
	what   string
	add    *netif.Address
	remove []netif.Address
}

// flaws compares what is held with what is plumbed; d.mu is held. What is on a link
// that is gone or down is no flaw but unfit.
func (d *Driver) flaws(addrs []netif.Address, ttl time.Duration) (out []flaw) {
	if len(d.items) == 0 {
		return nil
	}
	plumbed := byAddress(addrs)
	for _, it := range d.items {
		if it.going || it.refresh.IsZero() { // adopted, and about to be made otherwise
			continue
		}
		for i, want := range wanted(&it.job, it.places, ttl) {
			l, ok := d.fit.find(it.places[i].link)
			if !ok || !l.Up {
				continue
			}
			want.Link = l.Index
			if f := d.compare(want, plumbed); f.what != "" {
				f.it, f.at = it, i
				out = append(out, f)
			}
		}
	}
	return out
}

// compare says what is wrong with an address, if anything is.
func (d *Driver) compare(want netif.Address, plumbed map[netip.Addr][]netif.Address) (f flaw) {
	here := false
	for _, a := range plumbed[want.Prefix.Addr()] {
		if a.Link != want.Link || a.Prefix != want.Prefix {
			if d.hosts(plumbed, []netif.Address{a}) == nil {
				f.remove = append(f.remove, a)
				f.what = fmt.Sprintf("it was plumbed as %s on %s", a.Prefix, d.linkName(a.Link))
			}
			continue
		}
		here = true
		switch {
		case a.Mark != want.Mark && a.Valid == 0:
			f.what = "it was made permanent and lost its mark"
		case a.Mark != want.Mark:
			f.what = "it lost its mark"
		case a.Valid == 0:
			f.what = "it was made permanent"
		case a.Valid > want.Valid+lifetimeOff:
			f.what = fmt.Sprintf("its lifetime was made %s", a.Valid.Round(time.Second))
		default:
			continue
		}
		f.add = &want
	}
	if !here {
		f.add = &want
		if f.what == "" {
			f.what = "it was removed"
		} else {
			f.what = "it was moved: " + f.what
		}
	}
	return f
}

// repair puts right what is not as it should be; the turn is held. What may not
// be held any more is let alone: letting go of it is under way.
func (d *Driver) repair() {
	now := time.Now()
	addrs, ttl := d.cfg.Addresses.Addresses(), d.cfg.TTL()
	d.mu.Lock()
	found := d.flaws(addrs, ttl)
	d.mu.Unlock()
	flaws := found[:0]
	var add, remove []netif.Address
	for _, f := range found {
		if f.it.permit() != nil {
			continue
		}
		flaws = append(flaws, f)
		if f.add != nil {
			add = append(add, *f.add)
		}
		remove = append(remove, f.remove...)
	}
	failed := map[netip.Addr]error{}
	for i, err := range d.change(d.cfg.Addresses.Add, add) {
		if err != nil {
			failed[add[i].Prefix.Addr()] = err
		}
	}
	for i, err := range d.change(d.cfg.Addresses.Remove, remove) {
		if err != nil {
			failed[remove[i].Prefix.Addr()] = err
		}
	}
	d.mu.Lock()
	for _, f := range flaws {
		d.repaired(f, failed[f.it.places[f.at].prefix.Addr()], now)
	}
	d.mu.Unlock()
	d.wake.announce()
}

func (d *Driver) change(do func([]netif.Address) []error, list []netif.Address) []error {
	if len(list) == 0 {
		return nil
	}
	return do(list)
}

// repaired notes what was done about a flaw; d.mu is held.
func (d *Driver) repaired(f flaw, err error, now time.Time) {
	it, p := f.it, f.it.places[f.at]
	loud := now.Sub(it.mended) >= repairLogEvery
	if loud {
		it.mended = now
	}
	if err != nil {
		d.stats.RepairErrors++
		if loud {
			of(d.cfg.Log.Error(), &it.job).Err(err).Str("address", p.prefix.Addr().String()).
				Str("interface", p.link.Name).Str("what", f.what).Msg("cannot put an address right; trying again")
		}
		return
	}
	if l, ok := d.fit.find(p.link); ok && l.Index != p.link.Index {
		p.link = l
		it.places = slices.Clone(it.places)
		it.places[f.at] = p
	}
	it.repairs++
	d.stats.Repairs++
	// Whoever altered it may have announced it too.
	it.due = now
	if loud {
		of(d.cfg.Log.Warn(), &it.job).Str("address", p.prefix.Addr().String()).Str("interface", p.link.Name).
			Str("what", f.what).Uint64("repairs", it.repairs).Msg("somebody altered an address; it is right again")
	}
}

// closing ends the connections of addresses that have gone.
func (d *Driver) closing(ctx context.Context) {
	loop(ctx, d.wake.closing, 0, func(time.Time) time.Time {
		d.closeConnections()
		return time.Time{}
	})
}

func (d *Driver) closeConnections() {
	d.mu.Lock()
	addrs := slices.DeleteFunc(d.closed, func(a netip.Addr) bool { return d.byAddr[a] != nil })
	d.closed = nil
	d.mu.Unlock()
	if len(addrs) == 0 {
		return
	}
	n, err := d.cfg.Addresses.DestroySockets(addrs)
	d.note("connections", err, "cannot end the connections of addresses that have gone")
	if n > 0 {
		d.count(func(s *Stats) { s.Connections += uint64(n) })
		d.cfg.Log.Info().Int("connections", n).Int("addresses", len(addrs)).Msg("ended connections of addresses that have gone")
	}
}

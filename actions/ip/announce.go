package ip

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/flip-ha/flip/actions/netif"
	"github.com/flip-ha/flip/actions/wire"
)

const (
	// retryFirst is how soon a first round that failed is tried again: the gate may
	// not be open yet, and drops what IPv6 announces.
	retryFirst = 250 * time.Millisecond
	// retryLimit is how often; after that it is repeated as any other round, paced.
	retryLimit = 8
	// repeatApart is the least time between two chunks of paced repeats: half a
	// Pacer's burst, so that not every frame is a look at all items.
	repeatApart = 50 * time.Millisecond
	// announceApart is the least time between two looks at what is due, so that
	// items which are held on under new tokens one after the other go together.
	announceApart = 2 * time.Millisecond
)

var errGoing = errors.New("no longer held")

// permit says whether an address may be announced now. It is asked before every
// frame: AF_PACKET passes by the gate (ACTIONS.md 3).
func (d *Driver) permit(a netip.Addr) error {
	d.mu.Lock()
	it := d.byAddr[a]
	ok := it != nil && !it.going
	d.mu.Unlock()
	if !ok {
		return errGoing
	}
	return it.permit()
}

// allowance is a Pacer that saves for frames which are only sent together.
type allowance struct {
	pacer wire.Pacer
	saved int
}

// take says whether so many frames may be sent at now, or when to ask again.
func (a *allowance) take(now time.Time, frames int) (ok bool, next time.Time) {
	if missing := frames - a.saved; missing > 0 {
		granted, wait := a.pacer.Take(now, missing)
		a.saved += granted
		if granted < missing {
			return false, now.Add(wait)
		}
	}
	a.saved -= frames
	return true, time.Time{}
}

// round is one announcement of some items, and how it went.
type round struct {
	it     *item
	first  time.Time // of the item as it was then: a newer token begins anew
	places []place
}

// announceFirst sends the first round of what was just acquired, unpaced, and has
// the hosts of notify told.
func (d *Driver) announceFirst(batch []*request) {
	rounds := make([]round, len(batch))
	d.mu.Lock()
	for i, r := range batch {
		rounds[i] = round{r.it, r.it.first, r.it.places}
	}
	d.mu.Unlock()
	d.count(func(s *Stats) { s.Acquires += uint64(len(rounds)) })
	d.announce(rounds)
	d.watchAfter(batch)
	d.wake.announce()
	d.wake.refresh()
}

// announcing repeats announcements until ctx ends; it also sends the first round
// of what is held on under a new token.
func (d *Driver) announcing(ctx context.Context) {
	var pace allowance
	loop(ctx, d.wake.announcing, announceApart, func(now time.Time) (next time.Time) {
		first, repeats, next := d.due(now)
		d.announce(first)
		for n, r := range repeats {
			frames := 0
			for _, p := range r.places {
				frames += wire.Frames(p.prefix.Addr())
			}
			ok, again := pace.take(now, frames)
			if !ok {
				repeats, next = repeats[:n], earlier(next, later(again, now.Add(repeatApart)))
				break
			}
		}
		d.announce(repeats)
		return earlier(next, d.nextRound(slices.Concat(first, repeats)))
	})
}

// due are the rounds for which it is time, those longest due first, and when the
// next one is.
func (d *Driver) due(now time.Time) (first, repeats []round, next time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, it := range d.items {
		switch {
		case it.going:
		case it.due.After(now):
			next = earlier(next, it.due)
		case it.rounds == 0:
			first = append(first, round{it, it.first, it.places})
		default:
			repeats = append(repeats, round{it, it.first, it.places})
		}
	}
	// A map has no order, and those longest due go first.
	byDue := func(a, b round) int {
		return cmp.Or(a.it.due.Compare(b.it.due), a.it.job.Compare(b.it.job.Key))
	}
	slices.SortFunc(first, byDue)
	slices.SortFunc(repeats, byDue)
	return first, repeats, next
}

func (d *Driver) nextRound(rounds []round) (next time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range rounds {
		next = earlier(next, r.it.due)
	}
	return next
}

// path is by which socket a frame goes out: the gate, or a firewall, may stop one
// family and not the other.
type path struct {
	link int
	four bool
}

func pathOf(l netif.Link, a netip.Addr) path { return path{link: l.Index, four: a.Is4()} }

func (p path) describe(l wire.Link) string {
	if p.four {
		return "announce by ARP on " + l.Name
	}
	return "announce by ND on " + l.Name
}

// announce sends one round for each of these items, one call for each path.
func (d *Driver) announce(rounds []round) {
	if len(rounds) == 0 {
		return
	}
	type group struct {
		path  path
		link  wire.Link
		addrs []netip.Addr
	}
	var groups []*group
	byPath := map[path]*group{}
	for _, r := range rounds {
		for _, p := range r.places {
			l := d.fit.current(p.link)
			if !speaks(l) {
				continue
			}
			way := pathOf(l, p.prefix.Addr())
			g := byPath[way]
			if g == nil {
				g = &group{path: way, link: onWire(l)}
				byPath[way] = g
				groups = append(groups, g)
			}
			g.addrs = append(g.addrs, p.prefix.Addr())
		}
	}
	sent, failed := 0, map[path]bool{}
	for _, g := range groups {
		d.air <- struct{}{}
		n, err := d.cfg.Wire.Announce(g.link, g.addrs, d.permit)
		<-d.air
		sent += n
		failed[g.path] = err != nil
		d.note(g.path.describe(g.link), err, "cannot announce addresses; trying again")
	}
	d.announced(rounds, sent, failed)
}

// announced notes a round: when the next one is due, and whom to tell after a
// first one.
func (d *Driver) announced(rounds []round, sent int, failed map[path]bool) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.Announced += uint64(sent)
	tell := false
	for _, r := range rounds {
		it := r.it
		if it.going || !it.first.Equal(r.first) {
			continue
		}
		if slices.ContainsFunc(r.places, func(p place) bool { return failed[pathOf(d.fit.current(p.link), p.prefix.Addr())] }) {
			d.stats.AnnounceErrors++
			if it.rounds == 0 && it.tries < retryLimit {
				it.tries++
				it.first = now.Add(retryFirst)
				it.due = it.first
				continue
			}
		}
		if it.rounds == 0 {
			tell = d.beginTelling(it) || tell
		}
		it.rounds++
		it.announced++
		d.stats.Rounds++
		it.due = it.first.Add(wire.Next(now.Sub(it.first)))
	}
	if tell {
		d.wake.tell()
	}
}

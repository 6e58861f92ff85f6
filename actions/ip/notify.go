package ip

import (
	"context"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"time"

	"github.com/flip-ha/flip/actions/wire"
	"github.com/flip-ha/flip/fsm"
)

const (
	// tellTwice: an announcement by unicast is sent twice to each host, in two
	// passes, since the first may be lost.
	tellTwice = 2
	// tellChunk is how many hosts are told between two looks at the lists.
	tellChunk = 10
	// hostsLimit bounds what one system's notify may name.
	hostsLimit = 4096
	// listFor is how long a list of hosts serves: items that are acquired together
	// share one.
	listFor = 5 * time.Second
)

var errTooMany = fmt.Errorf("a system's notify names more than %d hosts: name those that do not listen to announcements", hostsLimit)

// host is one to be told, and the link that reaches him.
type host struct {
	link wire.Link
	to   wire.Target
}

// telling is one address that the hosts of notify are still told of.
type telling struct {
	it    *item
	first time.Time // of the item: a newer token begins anew
	at    place
	hosts []host // nil: not looked up yet
	next  int
	pass  int
}

// beginTelling queues what the hosts of notify are to be told; d.mu is held.
func (d *Driver) beginTelling(it *item) bool {
	if it.job.IP == nil || len(it.job.IP.Notify) == 0 {
		return false
	}
	for _, p := range it.places {
		d.tells = append(d.tells, &telling{it: it, first: it.first, at: p})
	}
	return true
}

// listKey is what a list of hosts depends on.
type listKey struct {
	ip   *fsm.IP
	link int
	four bool
}

type list struct {
	hosts []host
	at    time.Time
}

// telling tells the hosts of notify of what was acquired, at a bounded rate in
// all, each address in turn.
func (d *Driver) telling(ctx context.Context) {
	var pace allowance
	lists := map[listKey]list{}
	loop(ctx, d.wake.telling, 0, func(now time.Time) time.Time {
		for {
			t := d.nextTelling()
			if t == nil {
				clear(lists)
				return time.Time{}
			}
			if t.hosts == nil {
				t.hosts = d.listed(lists, t, now)
			}
			n := min(tellChunk, len(t.hosts)-t.next)
			if ok, again := pace.take(now, n); !ok {
				d.putTelling(t, true)
				return again
			}
			if d.tell(t, n) {
				d.putTelling(t, false)
			}
		}
	})
}

// nextTelling takes the first one that still matters.
func (d *Driver) nextTelling() *telling {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.tells) > 0 {
		t := d.tells[0]
		d.tells = d.tells[1:]
		if !t.it.going && t.it.first.Equal(t.first) {
			return t
		}
	}
	d.tells = nil
	return nil
}

func (d *Driver) putTelling(t *telling, front bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if front {
		d.tells = append([]*telling{t}, d.tells...)
		return
	}
	d.tells = append(d.tells, t)
}

// tell tells the next n hosts, and says whether any are left.
func (d *Driver) tell(t *telling, n int) bool {
	told := 0
	chunk := t.hosts[t.next : t.next+n]
	for len(chunk) > 0 {
		same := 1
		for same < len(chunk) && chunk[same].link.Index == chunk[0].link.Index {
			same++
		}
		to := make([]wire.Target, same)
		for i := range to {
			to[i] = chunk[i].to
		}
		d.air <- struct{}{}
		sent, err := d.cfg.Wire.Tell(chunk[0].link, t.at.prefix.Addr(), to, d.permit)
		<-d.air
		d.note("notify on "+chunk[0].link.Name, err, "cannot tell the hosts of notify of an address")
		told += sent
		chunk = chunk[same:]
	}
	t.next += n
	d.mu.Lock()
	job := t.it.job
	d.stats.TellFrames += uint64(told)
	if t.pass == 0 {
		t.it.told += told
		d.stats.Told += uint64(told)
	}
	d.mu.Unlock()
	if t.next < len(t.hosts) {
		return true
	}
	t.pass++
	t.next = 0
	if t.pass == 1 && len(t.hosts) > 0 {
		of(d.cfg.Log.Info(), &job).Str("address", t.at.prefix.Addr().String()).Int("hosts", len(t.hosts)).Msg("told the hosts of notify")
	}
	return t.pass < tellTwice && len(t.hosts) > 0
}

// listed is whom to tell of an address.
func (d *Driver) listed(lists map[listKey]list, t *telling, now time.Time) []host {
	d.mu.Lock()
	ip := t.it.job.IP
	d.mu.Unlock()
	key := listKey{ip: ip, link: t.at.link.Index, four: t.at.prefix.Addr().Is4()}
	l, ok := lists[key]
	if !ok || now.Sub(l.at) > listFor {
		l = list{hosts: d.hostsOf(ip, t.at), at: now}
		lists[key] = l
	}
	d.mu.Lock()
	t.it.targets += len(l.hosts)
	d.mu.Unlock()
	if l.hosts == nil {
		return []host{}
	}
	return l.hosts
}

// hostsOf collects whom a system's notify names for an address at a place, each
// once, without this machine itself.
func (d *Driver) hostsOf(ip *fsm.IP, at place) (out []host) {
	seen := map[netip.Addr]bool{}
	for _, a := range d.cfg.Addresses.Addresses() {
		seen[a.Prefix.Addr()] = true
	}
	add := func(h netip.Addr, mac net.HardwareAddr, link wire.Link) {
		if !seen[h] && h.Is4() == at.prefix.Addr().Is4() {
			seen[h] = true
			out = append(out, host{link: link, to: wire.Target{IP: h, MAC: mac}})
		}
	}
	named := 0
	for _, n := range ip.Notify {
		if n.ARPCache {
			d.neighbours(at, add)
			continue
		}
		p, err := parse(n.Hosts)
		if err != nil {
			d.note("notify "+n.Hosts, err, "cannot read whom to notify")
			continue
		}
		for h := range enumerate(p) {
			if named++; named > hostsLimit {
				d.note("notify", errTooMany, "some hosts of notify are not told")
				break
			}
			if l, ok := d.reach(h, n.Interface, at); ok {
				add(h, nil, l)
			}
		}
	}
	return out
}

// neighbours adds those that any member knows and who are on the address's own
// link: others have it behind a router.
func (d *Driver) neighbours(at place, add func(netip.Addr, net.HardwareAddr, wire.Link)) {
	if d.cfg.Cache == nil {
		return
	}
	l := d.fit.current(at.link)
	for _, n := range d.cfg.Cache() {
		h := n.IP.Unmap()
		if h.Is4() != at.prefix.Addr().Is4() || h.IsLinkLocalUnicast() {
			continue
		}
		if found, err := d.cfg.Links.Find(netip.PrefixFrom(h, h.BitLen()), ""); err == nil && found.Index == l.Index {
			add(h, n.MAC, onWire(l))
		}
	}
}

// enumerate lists the hosts of a prefix, without an IPv4 subnet's own address and
// its broadcast.
func enumerate(p netip.Prefix) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		p = p.Masked()
		subnet := p.Addr().Is4() && p.Bits() < 31
		for a := p.Addr(); p.Contains(a); a = a.Next() {
			if subnet && (a == p.Addr() || !p.Contains(a.Next())) {
				continue
			}
			if !yield(a) {
				return
			}
		}
	}
}

// reach is the link by which a host of notify is told.
func (d *Driver) reach(h netip.Addr, iface string, at place) (wire.Link, bool) {
	l := d.fit.current(at.link)
	if iface != "" {
		found, err := d.cfg.Links.Find(netip.Prefix{}, iface)
		return onWire(found), err == nil && speaks(found)
	}
	if found, err := d.cfg.Links.Find(netip.PrefixFrom(h, h.BitLen()), ""); err == nil {
		l = found
	}
	return onWire(l), speaks(l)
}

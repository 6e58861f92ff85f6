package ip

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/flip-ha/flip/actions/netif"
	"github.com/flip-ha/flip/fsm"
)

// fitness is what Unfit answers from. The driver's lock guards it, but for links.
type fitness struct {
	links atomic.Pointer[linkSet]
	own   []netif.Address // those that flip has not plumbed: in whose subnets the others are
	// subnets are the links that were found for addresses in the same ones of own.
	subnets map[string]netif.Link
	// names and routes are what configurations name, and how it was when Unfit
	// last asked: the index of the link (0: none), whether the route stood.
	names  map[string]int
	routes map[netip.Prefix]bool
	looks  uint64 // pictures that mattered
	round  uint64 // grows with these, and with what is held
	// verdicts are what Unfit answered under the same picture; it is called for
	// every slot at every decision.
	verdicts  map[fsm.Key]verdict
	strangers map[netip.Addr]*stranger
}

// asked is what of the picture a verdict rests on, besides links and subnets.
type asked struct {
	names  map[string]int
	routes map[netip.Prefix]bool
}

// verdict is an answer, and what it was about.
type verdict struct {
	addrs []string
	iface string
	ip    *fsm.IP
	words string
}

func (v *verdict) about(job *fsm.Job) bool {
	return v.ip == job.IP && v.iface == job.Interface && slices.Equal(v.addrs, job.Addrs)
}

func newFitness() fitness {
	return fitness{subnets: map[string]netif.Link{}, names: map[string]int{}, routes: map[netip.Prefix]bool{}, verdicts: map[fsm.Key]verdict{}, strangers: map[netip.Addr]*stranger{}}
}

// look takes in a new picture and says whether it matters to what is fit here.
func (f *fitness) look(links Links, addrs []netif.Address) (changed bool) {
	list := slices.Clone(links.Links())
	slices.SortFunc(list, func(a, b netif.Link) int { return cmp.Compare(a.Index, b.Index) })
	var own []netif.Address
	for _, a := range addrs {
		if a.Mark == 0 {
			own = append(own, netif.Address{Link: a.Link, Prefix: a.Prefix})
		}
	}
	slices.SortFunc(own, func(a, b netif.Address) int {
		return cmp.Or(cmp.Compare(a.Link, b.Link), a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	old := f.links.Load()
	changed = old == nil || !slices.EqualFunc(old.list, list, sameLink) || !slices.Equal(f.own, own)
	for name, index := range f.names {
		l, err := links.Find(netip.Prefix{}, name)
		changed = changed || err == nil && l.Index != index || err != nil && index != 0
	}
	for p, stood := range f.routes {
		changed = changed || links.HasRoute(p) != stood
	}
	if !changed {
		return false
	}
	set := &linkSet{list: list, byName: make(map[string]netif.Link, len(list))}
	for _, l := range list {
		set.byName[l.Name] = l
	}
	f.links.Store(set)
	f.own = own
	f.round++
	f.looks++
	clear(f.subnets)
	clear(f.names)
	clear(f.routes)
	clear(f.verdicts)
	return true
}

// forget drops what Unfit answered about a slot; d.mu is held.
func (d *Driver) forget(k fsm.Key) {
	delete(d.fit.verdicts, k)
	d.fit.round++ // one that is being made may be about what was
}

// Unfit says why a job cannot be held on this machine now, "" if it can: its
// interface or a tracked one is gone, down or without carrier, a tracked route
// does not stand, or a stranger answers for one of its addresses. It is quick,
// and may be called under a lock that Config.Recheck does not take.
func (d *Driver) Unfit(job *fsm.Job) string {
	d.mu.Lock()
	if words := d.doubted(job); words != "" {
		d.mu.Unlock()
		return words
	}
	if v, ok := d.fit.verdicts[job.Key]; ok && v.about(job) {
		d.mu.Unlock()
		return v.words
	}
	round, held := d.fit.round, d.items[job.Key]
	var places []place
	if held != nil && !held.going {
		places = held.places
	}
	d.mu.Unlock()

	// Without the lock: the first question about a route reads the kernel's table.
	seen := asked{names: map[string]int{}, routes: map[netip.Prefix]bool{}}
	words := d.unfitLink(job, places, &seen)
	if words == "" {
		words = d.unfitTrack(job.IP, &seen)
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	if round == d.fit.round {
		d.fit.verdicts[job.Key] = verdict{addrs: job.Addrs, iface: job.Interface, ip: job.IP, words: words}
		maps.Copy(d.fit.names, seen.names)
		maps.Copy(d.fit.routes, seen.routes)
	}
	return words
}

// unfitLink looks at the links of the addresses: where they are plumbed, or would
// be.
func (d *Driver) unfitLink(job *fsm.Job, held []place, seen *asked) string {
	name := iface(job)
	for _, a := range job.Addrs {
		p, err := parse(a)
		if err != nil {
			return err.Error()
		}
		var l netif.Link
		at := slices.IndexFunc(held, func(h place) bool { return h.prefix == p })
		if at >= 0 && name == "" {
			// The subnet that decided where it is plumbed may go; the address stays.
			var ok bool
			if l, ok = d.fit.find(held[at].link); !ok {
				return fmt.Sprintf("interface %s is gone", held[at].link.Name)
			}
		} else {
			l, err = d.findLink(p, name)
			if name != "" {
				seen.names[name] = l.Index
			}
			if err != nil {
				return err.Error()
			}
		}
		if words := linkDown("interface", l); words != "" {
			return words
		}
	}
	return ""
}

// unfitTrack looks at what a system's operator wants to stand, and notes which
// routes it asked for.
func (d *Driver) unfitTrack(ip *fsm.IP, seen *asked) string {
	if ip == nil {
		return ""
	}
	for _, t := range ip.Track {
		if t.Interface != "" {
			l, err := d.cfg.Links.Find(netip.Prefix{}, t.Interface)
			seen.names[t.Interface] = l.Index
			if err != nil {
				return fmt.Sprintf("tracked %v", err)
			}
			if words := linkDown("tracked interface", l); words != "" {
				return words
			}
			continue
		}
		p, err := netip.ParsePrefix(t.Route)
		if err != nil {
			return fmt.Sprintf("tracked route %q: %v", t.Route, err)
		}
		stands := d.cfg.Links.HasRoute(p)
		seen.routes[p] = stands
		if !stands {
			return fmt.Sprintf("tracked route %s is not in the main table, or its link is down", t.Route)
		}
	}
	return ""
}

// linkDown says in words what keeps a link from carrying anything.
func linkDown(what string, l netif.Link) string {
	switch {
	case !l.Up:
		return fmt.Sprintf("%s %s is down", what, l.Name)
	case !l.Carrier:
		return fmt.Sprintf("%s %s has no carrier", what, l.Name)
	default:
		return ""
	}
}

// doubted says who else answers for a job's addresses; d.mu is held.
func (d *Driver) doubted(job *fsm.Job) string {
	if len(d.fit.strangers) == 0 {
		return ""
	}
	for _, a := range job.Addrs {
		p, err := parse(a)
		if err != nil {
			continue
		}
		if s := d.fit.strangers[p.Addr()]; s != nil {
			s.asked = time.Now()
			return s.words(p.Addr())
		}
	}
	return ""
}

package ip

import (
	"net/netip"
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// Stats counts what a Driver did since it was made, but for the first three,
// which are as of now.
type Stats struct {
	Items, Addresses, Strange int // held; held; with a stranger who answers

	Acquires, Releases uint64 // that succeeded and changed something
	Batches            uint64 // in which they were carried out
	Rounds             uint64 // of announcements, counted for each item
	Announced          uint64 // addresses, counted for each round
	AnnounceErrors     uint64
	Told               uint64 // hosts of notify, counted for each takeover
	TellFrames         uint64
	Refreshes          uint64 // of lifetimes
	RefreshErrors      uint64
	Repairs            uint64 // of what others removed or altered
	RepairErrors       uint64
	TakenOver          uint64 // addresses that somebody else had plumbed here
	Swept              uint64 // addresses of former processes
	Strangers          uint64 // that were found
	Connections        uint64 // that were ended since their address had gone
}

// AddressStatus is what is true of one address of an item: one that is held, or
// that a stranger answers for.
type AddressStatus struct {
	fsm.Key
	Token            fsm.Token
	Address          netip.Prefix
	Interface        string
	Held             bool
	AtMostOne, Gated bool
	Rounds           uint64 // announced, in all
	Told, ToTell     int    // hosts of notify told of the last takeover, of how many so far looked up
	Repairs          uint64 // of the item
	Stranger         string // in words; "": nobody strange answers
	// Left: an at-least-one address of a former process, of which it is not known
	// yet whose it is.
	Left bool
}

func (d *Driver) count(do func(*Stats)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	do(&d.stats)
}

// Stats may be called from any goroutine.
func (d *Driver) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.Items, s.Addresses, s.Strange = len(d.items), len(d.byAddr), len(d.fit.strangers)
	return s
}

// Status is what is true of every address that matters here, by system and item.
// It may be called from any goroutine.
func (d *Driver) Status() []AddressStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []AddressStatus
	for k, it := range d.items {
		for _, p := range it.places {
			st := AddressStatus{
				Key: k, Token: it.job.Token, Address: p.prefix, Interface: p.link.Name, Held: !it.going,
				AtMostOne: it.job.AtMostOne, Gated: it.job.Gated, Rounds: it.announced,
				Told: it.told, ToTell: it.targets, Repairs: it.repairs,
			}
			if s := d.fit.strangers[p.prefix.Addr()]; s != nil {
				st.Stranger = s.words(p.prefix.Addr())
			}
			out = append(out, st)
		}
	}
	for addr, s := range d.fit.strangers {
		if d.byAddr[addr] == nil {
			out = append(out, AddressStatus{Key: s.key, Address: s.at.prefix, Interface: s.at.link.Name, Stranger: s.words(addr)})
		}
	}
	for _, l := range d.left {
		out = append(out, AddressStatus{Address: l.addr.Prefix, Interface: d.linkName(l.addr.Link), Left: true})
	}
	slices.SortFunc(out, func(a, b AddressStatus) int {
		if c := a.Compare(b.Key); c != 0 {
			return c
		}
		return a.Address.Addr().Compare(b.Address.Addr())
	})
	return out
}

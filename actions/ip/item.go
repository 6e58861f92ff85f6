package ip

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/actions/netif"
	"github.com/flip-ha/flip/actions/wire"
	"github.com/flip-ha/flip/fsm"
)

const (
	// backstop is the lifetime of addresses that something else lets go of: the
	// gate, or nobody. It only cleans up after a machine whose flip is gone
	// (ACTIONS.md 3).
	backstop      = time.Minute
	backstopEvery = 20 * time.Second
	// leastRefresh bounds how often an ungated address is refreshed. Its lifetime is
	// a second longer than the lease and counted by the kernel in seconds: more
	// often gives nothing.
	leastRefresh = 200 * time.Millisecond
)

// place is one address and the link it is on.
type place struct {
	prefix netip.Prefix
	link   netif.Link
}

// same says whether two places are one address in the kernel.
func (p place) same(q place) bool { return p.prefix == q.prefix && p.link.Index == q.link.Index }

// item is what is held. The driver's lock guards it.
type item struct {
	job    fsm.Job
	places []place // replaced as a whole, never written to
	permit func() error
	going  bool      // being released: nothing is done for it any more
	since  time.Time // plumbed, or put right

	refresh time.Time // when the lifetimes are to be refreshed; zero: now

	first  time.Time // the first announcement under this token
	due    time.Time // the next announcement
	rounds int       // since first
	tries  int       // first rounds that failed

	announced uint64 // rounds in all
	targets   int    // hosts to be told of this takeover
	told      int    // of these
	repairs   uint64
	mended    time.Time // the last repair that was logged
}

// begin starts the announcements of a token.
func (it *item) begin(now time.Time) {
	it.first, it.due, it.rounds, it.tries, it.targets, it.told = now, now, 0, 0, 0, 0
}

// addrs are the item's addresses without their bits.
func (it *item) addrs() []netip.Addr { return addrsOf(it.places) }

func addrsOf(places []place) []netip.Addr {
	out := make([]netip.Addr, len(places))
	for i, p := range places {
		out[i] = p.prefix.Addr()
	}
	return out
}

// parse reads "ADDRESS/BITS", as fsm.Item has them, and "ADDRESS".
func parse(a string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(a)
	if err == nil {
		return p, nil
	}
	if addr, addrErr := netip.ParseAddr(a); addrErr == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return p, fmt.Errorf("read the address %q: %w", a, err)
}

// iface is where the configuration wants a job's addresses; "" leaves it to
// their subnets.
func iface(job *fsm.Job) string {
	if job.Interface == "" && job.IP != nil {
		return job.IP.Interface
	}
	return job.Interface
}

// backed says whether an address needs no lifetime of the lease's length:
// somebody else than the kernel's clock lets go of it, or nobody has to.
func backed(job *fsm.Job) bool { return job.Gated || !job.AtMostOne }

// valid is for how long the kernel keeps an address that nobody refreshes.
func valid(job *fsm.Job, ttl time.Duration) time.Duration {
	if backed(job) {
		return backstop
	}
	return fsm.AddressLifetime(ttl)
}

// refreshAfter is when a lifetime is to be refreshed: often enough that two
// refreshes may fail.
func refreshAfter(job *fsm.Job, ttl time.Duration) time.Duration {
	if backed(job) {
		return backstopEvery
	}
	return max(ttl/3, leastRefresh)
}

func mark(job *fsm.Job) netif.Mark {
	if job.AtMostOne {
		return netif.AtMostOne
	}
	return netif.AtLeastOne
}

// wanted are places as they should be plumbed.
func wanted(job *fsm.Job, places []place, ttl time.Duration) []netif.Address {
	out := make([]netif.Address, len(places))
	for i, p := range places {
		out[i] = netif.Address{Link: p.link.Index, Prefix: p.prefix, Mark: mark(job), Valid: valid(job, ttl)}
	}
	return out
}

func onWire(l netif.Link) wire.Link { return wire.Link{Index: l.Index, Name: l.Name, MAC: l.MAC} }

// speaks says whether a link has hardware addresses at all: loopback has none, so
// nobody is asked there and nothing is announced.
func speaks(l netif.Link) bool {
	return slices.ContainsFunc(l.MAC, func(b byte) bool { return b != 0 })
}

// of names the item that a line of the log is about.
func of(ev *zerolog.Event, job *fsm.Job) *zerolog.Event {
	return ev.Str("system", string(job.System)).Str("item", string(job.Item)).Uint64("token", uint64(job.Token))
}

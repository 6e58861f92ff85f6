package ip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/netif"
	"github.com/flip-ha/flip/actions/wire"
	"github.com/flip-ha/flip/fsm"
)

// Links is what the driver knows of this machine's links, from a picture that
// follows the kernel.
type Links interface {
	// Find is the link on which an address is plumbed: iface, or if that is empty
	// the one in whose subnet the address is.
	Find(p netip.Prefix, iface string) (netif.Link, error)
	Links() []netif.Link
	HasRoute(p netip.Prefix) bool
	// Changed delivers when the picture has changed; only the driver reads it.
	Changed() <-chan struct{}
}

// Addresses is how the driver changes this machine's addresses.
type Addresses interface {
	Add(addrs []netif.Address) []error // adds or refreshes
	Remove(addrs []netif.Address) []error
	Addresses() []netif.Address // as plumbed now
	DestroySockets(addrs []netip.Addr) (int, error)
}

// Wire is how the driver speaks ARP and neighbour discovery.
type Wire interface {
	Announce(l wire.Link, addrs []netip.Addr, permit func(netip.Addr) error) (int, error)
	Tell(l wire.Link, addr netip.Addr, to []wire.Target, permit func(netip.Addr) error) (int, error)
	Ask(ctx context.Context, l wire.Link, addrs []netip.Addr, answers chan<- wire.Answer) error
}

// Gate is the kernel's gate: an address inside is reachable only while the lease
// runs.
type Gate interface {
	Add(addrs []netip.Addr) error
	Remove(addrs []netip.Addr) error
}

// Neighbour is a host that some member of the cluster knows.
type Neighbour struct {
	IP  netip.Addr
	MAC net.HardwareAddr
}

// Config is what a Driver is made of.
type Config struct {
	Self      fsm.MemberID
	Links     Links
	Addresses Addresses
	Wire      Wire
	Gate      Gate                            // nil: there is none here, and a gated job is refused
	TTL       func() time.Duration            // the lease's length as agreed now
	Member    func(mac net.HardwareAddr) bool // a member of this cluster has it; nil: no MAC is known
	Cache     func() []Neighbour              // whom "arp-cache" tells; nil: nobody
	// Recheck is told that Unfit may answer otherwise now. It is called without a
	// lock of the driver's and may not block; nil: nobody is told.
	Recheck func()
	Log     zerolog.Logger
}

// Driver is the actions.Driver and actions.Adopter of "action": "ip". Its methods
// may be called from any goroutine. Run must be running while items are held.
type Driver struct {
	cfg   Config
	queue queue
	ask   questions
	// turn is held while addresses are changed: whoever changes any sees what all
	// others did. air is held while announcements are sent, so that a release can
	// wait for the last frame. Both have capacity 1.
	turn, air chan struct{}
	asking    sync.WaitGroup // of Awaited
	wake      wakes
	quiet     quiet

	mu     sync.Mutex // guards the rest; never held over an effect
	items  map[fsm.Key]*item
	byAddr map[netip.Addr]*item
	left   map[netip.Addr]left     // at-least-one addresses of a former process, kept alive
	ungate map[netip.Addr]struct{} // gone from this machine, not yet from the gate
	closed []netip.Addr            // gone: connections bound to them are to be ended
	ahead  map[fsm.Key]*ahead
	tells  []*telling
	watch  []*question // plumbed: to be watched for strangers
	fit    fitness
	stats  Stats
}

// left is an address that a former process of this member held at-least-once.
type left struct {
	addr netif.Address
	due  time.Time
}

var (
	_ actions.Driver  = (*Driver)(nil)
	_ actions.Adopter = (*Driver)(nil)
)

// New makes a Driver; it reads the links and changes nothing.
func New(cfg Config) *Driver {
	if cfg.Member == nil {
		cfg.Member = func(net.HardwareAddr) bool { return false }
	}
	if cfg.Recheck == nil {
		cfg.Recheck = func() {}
	}
	if cfg.TTL == nil {
		cfg.TTL = func() time.Duration { return 0 }
	}
	d := &Driver{
		cfg: cfg, turn: make(chan struct{}, 1), air: make(chan struct{}, 1), wake: newWakes(),
		items: map[fsm.Key]*item{}, ahead: map[fsm.Key]*ahead{}, byAddr: map[netip.Addr]*item{},
		left: map[netip.Addr]left{}, ungate: map[netip.Addr]struct{}{}, fit: newFitness(),
	}
	d.fit.look(cfg.Links, cfg.Addresses.Addresses())
	return d
}

// Acquire plumbs and announces the job's addresses, all of them or none. A job
// that is held already is made so again and announced again.
func (d *Driver) Acquire(ctx context.Context, job fsm.Job) error {
	r, err := d.request(ctx, job, acquire)
	if err != nil {
		return fmt.Errorf("acquire %s: %w", job.Item, err)
	}
	if asksFirst(&job, d.cfg.Self) {
		ahead, err := d.asked(ctx, &job)
		if !ahead {
			err = d.askFirst(ctx, r)
		}
		if err != nil {
			return fmt.Errorf("acquire %s: %w", job.Item, err)
		}
	}
	if err := d.submit(r); err != nil {
		return fmt.Errorf("acquire %s: %w", job.Item, err)
	}
	return nil
}

// Release removes the job's addresses wherever they are on this machine, and
// whoever plumbed them.
func (d *Driver) Release(ctx context.Context, job fsm.Job) error {
	r, err := d.request(ctx, job, release)
	if err == nil {
		err = d.submit(r)
	}
	if err != nil {
		return fmt.Errorf("release %s: %w", job.Item, err)
	}
	return nil
}

// Adopted takes note that an item is held on under a newer decision. It is
// announced anew: after a heal somebody may believe an older announcement of
// another host's.
func (d *Driver) Adopted(job fsm.Job) {
	d.mu.Lock()
	it := d.items[job.Key]
	if it != nil && !it.going {
		d.forget(job.Key)
		if mark(&it.job) != mark(&job) || backed(&it.job) != backed(&job) {
			it.refresh = time.Time{} // another guarantee has another mark and lifetime
		}
		it.job = job
		it.begin(time.Now())
	}
	d.mu.Unlock()
	d.wake.announce()
	d.wake.refresh()
}

var (
	errNoAddress = errors.New("the item has no address")
	errNoGate    = errors.New("there is no kernel gate here, and the job relies on one: it waits for a new registration of this member")
)

// request reads a job's addresses and, for an acquire, finds their links.
func (d *Driver) request(ctx context.Context, job fsm.Job, k kind) (*request, error) {
	r := &request{ctx: ctx, kind: k, job: job, done: make(chan struct{})}
	if k == acquire {
		if len(job.Addrs) == 0 {
			return nil, errNoAddress
		}
		if err := actions.Permitted(ctx); err != nil {
			return nil, err
		}
		if job.Gated && d.cfg.Gate == nil {
			return nil, errNoGate
		}
	}
	for _, a := range job.Addrs {
		p, err := parse(a)
		if err != nil {
			return nil, err
		}
		at := place{prefix: p}
		if k == acquire {
			if at.link, err = d.findLink(p, iface(&job)); err != nil {
				return nil, fmt.Errorf("find the interface of %s: %w", a, err)
			}
		}
		r.places = append(r.places, at)
	}
	return r, nil
}

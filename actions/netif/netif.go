package netif

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var (
	// ErrForbidden is returned by what needs CAP_NET_ADMIN.
	ErrForbidden = errors.New("not permitted: flip needs CAP_NET_ADMIN")
	// ErrNoInterface is returned for an interface that does not exist.
	ErrNoInterface = errors.New("no such interface")
	// ErrNoSubnet is returned by Find for an address in no subnet of this host.
	ErrNoSubnet = errors.New("in no subnet of this host: name an interface")
	// ErrAmbiguous is returned by Find for an address in a subnet of several links.
	ErrAmbiguous = errors.New("in the same subnet on several interfaces: name one")
	// ErrUnmarked is returned by Add for an address without flip's mark or without a lifetime.
	ErrUnmarked = errors.New("flip plumbs no address without its mark and a lifetime")
)

// Mark says whose an address is: the kernel's IFA_PROTO.
type Mark uint8

// The marks of flip's own addresses; all other values are read as 0: not flip's.
const (
	AtMostOne  Mark = 0xf5
	AtLeastOne Mark = 0xf6
)

// ours reports whether m is one of flip's marks.
func (m Mark) ours() bool { return m == AtMostOne || m == AtLeastOne }

// Link is one network interface as the kernel last showed it.
type Link struct {
	Index   int
	Name    string
	MAC     net.HardwareAddr // shared: nobody may change it
	Up      bool             // set up by the administrator
	Carrier bool             // and able to pass packets (IFF_LOWER_UP, operstate up or unknown)
	MTU     int
}

// Address is one address on a link.
type Address struct {
	Link   int
	Prefix netip.Prefix // the host's own address with the length of its subnet
	Mark   Mark
	Valid  time.Duration // left until the kernel removes it; 0: for ever
}

// Net reads and changes the interfaces of one network namespace: the one in
// which the thread that called Open was.
type Net struct {
	log     zerolog.Logger
	changed chan struct{}
	file    *os.File        // the events' socket
	raw     syscall.RawConn // of file

	// One request at a time on each. dumps is used under mu, the others without.
	requests, dumps, routes *conn
	lib                     *netlink.Handle // for what needs neither marks, batches nor order
	diag                    *conn           // nil: this kernel has no sock_diag

	mu      sync.Mutex
	closed  bool
	buf     []byte // of the events' socket
	picture picture
	lost    bool // events were lost: read all anew
	resyncs uint64
	settle  time.Time // until then links are read again now and then

	withoutProto bool // tests: as if the kernel were older than 5.18

	asking  sync.Mutex // from reading the routes until their answers are stored; before mu
	watched map[netip.Prefix]answer
	stale   bool // routes may be otherwise now
}

// Open reads the interfaces of the current thread's network namespace. It
// needs no privilege; Add, Remove and DestroySockets do. The caller closes it.
func Open(log zerolog.Logger) (*Net, error) {
	n := &Net{
		log:     log,
		changed: make(chan struct{}, 1),
		buf:     make([]byte, receiveSize),
		picture: newPicture(),
		watched: map[netip.Prefix]answer{},
	}
	if err := n.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open netlink: %w", err), n.Close())
	}
	n.mu.Lock()
	err := n.resync()
	n.mu.Unlock()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the network interfaces: %w", err), n.Close())
	}
	return n, nil
}

// open makes the sockets. That of the events comes first: what happens while
// the picture is read must be in its queue.
func (n *Net) open() error {
	file, err := subscribe()
	if err != nil {
		return err
	}
	n.file = file
	if n.raw, err = file.SyscallConn(); err != nil {
		return err
	}
	for _, c := range []**conn{&n.requests, &n.dumps, &n.routes} {
		if *c, err = dial(unix.NETLINK_ROUTE); err != nil {
			return err
		}
	}
	if n.lib, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return err
	}
	// Without it route dumps hold every table of both families; kernels before
	// 4.20 do not know it, so each route's table is looked at anyway.
	_ = n.routes.option(unix.NETLINK_GET_STRICT_CHK, 1)
	n.diag, err = dial(unix.NETLINK_SOCK_DIAG)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT) {
		err = nil
	}
	return err
}

// Close gives up the sockets; Run ends. Addresses stay as they are.
func (n *Net) Close() error {
	n.mu.Lock()
	closed := n.closed
	n.closed = true
	n.mu.Unlock()
	if closed {
		return nil
	}
	var errs []error
	if n.file != nil {
		// Not under n.mu: it waits for Run, which may be waiting for n.mu.
		errs = append(errs, n.file.Close())
	}
	if n.lib != nil {
		n.lib.Close()
	}
	for _, c := range []*conn{n.requests, n.dumps, n.routes, n.diag} {
		if c != nil {
			errs = append(errs, c.close())
		}
	}
	return errors.Join(errs...)
}

// Changed is signalled when the picture shows anything else than before: a
// link, an address, an answer of HasRoute. A refresh of an address's lifetime by
// Add is no change; a lifetime set by somebody else is.
func (n *Net) Changed() <-chan struct{} { return n.changed }

// signal wakes who waits for Changed.
func (n *Net) signal() {
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// Resyncs is how often the picture had to be read anew since events were lost.
func (n *Net) Resyncs() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.resyncs
}

// Run keeps the picture until ctx ends. Without it the picture follows only
// what Add and Remove do. Call it once at a time.
func (n *Net) Run(ctx context.Context) error {
	// A deadline in the past wakes the reader. It is set after ctx has ended, and
	// run sets no other one once it has seen that.
	stop := context.AfterFunc(ctx, func() { _ = n.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for ctx.Err() == nil {
		if err := n.turn(ctx); err != nil {
			return fmt.Errorf("follow the network interfaces: %w", err)
		}
	}
	return nil
}

// Has is the address as it is plumbed now, with its mark and the lifetime left;
// a's own Mark and Valid do not matter.
func (n *Net) Has(a Address) (have Address, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.picture.address(plainKey(a.Link, a.Prefix), time.Now())
}

// Addresses lists all addresses of this host, by link and address.
func (n *Net) Addresses() []Address {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	all := make([]Address, 0, len(n.picture.addrs))
	for k := range n.picture.addrs {
		a, _ := n.picture.address(k, now)
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b Address) int {
		if a.Link != b.Link {
			return a.Link - b.Link
		}
		if c := a.Prefix.Addr().Compare(b.Prefix.Addr()); c != 0 {
			return c
		}
		return a.Prefix.Bits() - b.Prefix.Bits()
	})
	return all
}

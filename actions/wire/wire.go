package wire

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// Link is the interface to use. The index counts; a link that was deleted and
// made anew has another one, which the caller learns of.
type Link struct {
	Index int
	Name  string // for messages
	MAC   net.HardwareAddr
}

// Target is a host that is told by unicast.
type Target struct {
	IP  netip.Addr
	MAC net.HardwareAddr // nil: not known; ARP asks all for the IP instead
}

// Answer is a frame that shows an address in use.
type Answer struct {
	Addr netip.Addr
	MAC  net.HardwareAddr
}

// Stats counts what a Wire has done since it was made.
type Stats struct {
	Announced uint64 // frames sent that claim an address, to all
	Told      uint64 // frames sent that claim an address, to one host
	Probed    uint64 // frames sent that ask and claim nothing
	Refused   uint64 // frames not sent since the permit was refused
	Filtered  uint64 // frames dropped by a firewall rule, such as the lease gate
	Failed    uint64 // frames not sent for any other reason
	Answers   uint64 // frames received that show an asked address in use
	Sockets   uint64 // sockets open now
}

// Wire sends and receives ARP and neighbour discovery. See the package for what
// it promises.
type Wire struct {
	log   zerolog.Logger
	space namespace
	// opened is told of each socket: see Opened.
	opened func(fd int)

	mu      sync.Mutex // guards what follows
	closed  bool
	packet  *socket // ARP and solicitations from "::"; nil: not open yet
	icmpv6  *socket
	idle    map[receiverKey][]*receiver
	running map[*receiver]bool

	announced, told, probed, refused, filtered, failed, answers atomic.Uint64
}

// New makes a Wire for the network namespace of the calling thread. It opens no
// socket yet.
func New(log zerolog.Logger) *Wire {
	return &Wire{
		log: log, space: currentNamespace(), opened: func(int) {},
		idle: map[receiverKey][]*receiver{}, running: map[*receiver]bool{},
	}
}

// Opened has f told of the descriptor of each AF_PACKET socket when it has been
// opened, and while it is open. It is for before the first use.
func (w *Wire) Opened(f func(fd int)) { w.opened = f }

// Close closes all sockets. What is still being sent or asked ends with
// ErrClosed, as does every later call. It waits for a permit that is being asked:
// a permit may not wait for it.
func (w *Wire) Close() error {
	for _, s := range w.shut() {
		s.close() // without the lock: it waits for whoever uses the socket
	}
	return nil
}

// shut makes w closed and returns the sockets that are still open.
func (w *Wire) shut() (open []*socket) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	for _, s := range []*socket{w.packet, w.icmpv6} {
		if s != nil {
			open = append(open, s)
		}
	}
	for _, receivers := range w.idle {
		for _, r := range receivers {
			open = append(open, r.socket)
		}
	}
	clear(w.idle)
	for r := range w.running {
		open = append(open, r.socket)
	}
	w.space.close()
	return open
}

// Stats may be called from any goroutine, also after Close.
func (w *Wire) Stats() Stats {
	s := Stats{
		Announced: w.announced.Load(), Told: w.told.Load(), Probed: w.probed.Load(), Refused: w.refused.Load(),
		Filtered: w.filtered.Load(), Failed: w.failed.Load(), Answers: w.answers.Load(),
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return s
	}
	for _, one := range []*socket{w.packet, w.icmpv6} {
		if one != nil {
			s.Sockets++
		}
	}
	s.Sockets += uint64(len(w.running))
	for _, receivers := range w.idle {
		s.Sockets += uint64(len(receivers))
	}
	return s
}

// sender returns the socket at where, opening it if need be.
func (w *Wire) sender(where **socket, open func(namespace) (*socket, error)) (*socket, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, ErrClosed
	}
	if *where == nil {
		s, err := open(w.space)
		if err != nil {
			return nil, err
		}
		*where = s
		w.tell(s)
		w.log.Debug().Str("socket", s.file.Name()).Msg("socket opened")
	}
	return *where, nil
}

// tell tells of a socket that has been opened.
func (w *Wire) tell(s *socket) { _ = s.raw.Control(func(fd uintptr) { w.opened(int(fd)) }) }

func (w *Wire) packetSocket() (*socket, error) { return w.sender(&w.packet, openPacket) }

func (w *Wire) icmpv6Socket() (*socket, error) { return w.sender(&w.icmpv6, openICMPv6) }

// hosts sorts addrs by family, in the notation that the codec wants, and refuses
// what is no host's address.
func hosts(addrs []netip.Addr) (v4, v6 []netip.Addr, err error) {
	for _, addr := range addrs {
		host, err := hostAddr(addr)
		if err != nil {
			return nil, nil, err
		}
		if host.Is4() {
			v4 = append(v4, host)
		} else {
			v6 = append(v6, host)
		}
	}
	return v4, v6, nil
}

func hostAddr(addr netip.Addr) (netip.Addr, error) {
	host := addr.Unmap().WithZone("")
	if !host.IsValid() || host.IsUnspecified() || host.IsMulticast() || host == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}, fmt.Errorf("%s is not the address of a host", addr)
	}
	return host, nil
}

// silent says whether l has no neighbours: a tunnel or the loopback interface,
// where there is nobody to tell or to ask.
func (l Link) silent() bool {
	for _, b := range l.MAC {
		if b != 0 {
			return false
		}
	}
	return true
}

// check refuses what is not Ethernet.
func (l Link) check() error {
	if len(l.MAC) != macLen {
		return fmt.Errorf("%s has a hardware address of %d bytes (%s): only Ethernet is supported", l.Name, len(l.MAC), l.MAC)
	}
	return nil
}

// A round sends frames by one link and socket, and counts.
type round struct {
	w      *Wire
	s      *socket
	l      Link
	one    shot
	fire   func(uintptr) // one's own
	sent   *atomic.Uint64
	doing  string
	failed int
	first  error // of failed frames
}

func (w *Wire) newRound(s *socket, l Link, doing string, sent *atomic.Uint64, permit func(netip.Addr) error) *round {
	r := &round{w: w, s: s, l: l, doing: doing, sent: sent}
	r.one.permit = permit
	r.fire = r.one.fire
	return r
}

// send sends what stands in one, for addr. ok: it was sent; stop: nothing more
// can be sent by this link.
func (r *round) send(addr netip.Addr) (ok, stop bool) {
	r.one.addr = addr
	err := r.s.send(&r.one, r.fire)
	switch {
	case r.one.refusal != nil:
		r.w.refused.Add(1)
		return false, false
	case err == nil:
		r.sent.Add(1)
		return true, false
	}
	err = r.s.explain(r.l, err)
	count := &r.w.failed
	if isAny(err, ErrFiltered) {
		count = &r.w.filtered
	}
	count.Add(1)
	if r.first == nil {
		r.first = fmt.Errorf("%s %s on %s: %w", r.doing, addr, r.l.Name, err)
	}
	r.failed++
	// A single frame that the queue has dropped (ENOBUFS) says nothing of the next.
	return false, isAny(err, ErrClosed, ErrNoInterface, ErrDown) || isAny(err, ErrBusy) && !isAny(err, unix.ENOBUFS)
}

// err is the first failure, with the number of the others.
func (r *round) err() error {
	if r.failed > 1 {
		return fmt.Errorf("%w; %d more frames failed", r.first, r.failed-1)
	}
	return r.first
}

// broadcast is everybody on the link.
var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// toAllOnARP sets the round up for ARP to everybody.
func (r *round) toAllOnARP() { r.one.to = linkTo(r.l, unix.ETH_P_ARP, broadcast) }

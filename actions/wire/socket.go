package wire

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What goes wrong with sockets and links.
var (
	// ErrForbidden means that the process lacks CAP_NET_RAW.
	ErrForbidden = errors.New("not permitted: CAP_NET_RAW is needed")
	// ErrNoInterface means that no interface has the index of the Link.
	ErrNoInterface = errors.New("there is no such interface")
	// ErrDown means that the interface is set down.
	ErrDown = errors.New("the interface is down")
	// ErrNotPlumbed means that the host does not have the IPv6 address, so the
	// kernel lets nothing be sent from it.
	ErrNotPlumbed = errors.New("this host does not have the address")
	// ErrFiltered means that a firewall rule dropped the frame: the lease gate, if
	// it has just closed, or the operator's.
	ErrFiltered = errors.New("a firewall rule, or the lease gate, forbids it")
	// ErrBusy means that the interface's queue stays full.
	ErrBusy = errors.New("the interface's queue is full")
	// ErrClosed means that the Wire was closed.
	ErrClosed = errors.New("closed")
)

// busyWait is how long a frame waits for room in the socket's send buffer. That
// buffer's usual size is about 270 frames: fewer than the 1,000 of a usual queue,
// so a burst waits here instead of being dropped there.
const busyWait = 20 * time.Millisecond

// controlPriority is the queueing priority of what keeps a network running
// (TC_PRIO_INTERACTIVE, the highest that needs no privilege): the default queue
// sends it before bulk traffic.
const controlPriority = 6

// network is a protocol number in network byte order, as AF_PACKET wants it.
func network(protocol uint16) uint16 { return protocol<<8 | protocol>>8 }

// A socket is a non-blocking descriptor that the runtime's poller waits on, so
// that closing it is safe while others use it.
type socket struct {
	file *os.File
	raw  syscall.RawConn
}

// openSocket makes a socket, set up by prepare.
func openSocket(n namespace, what string, family, kind, protocol int, prepare func(fd int) error) (*socket, error) {
	fd, err := n.open(func() (int, error) {
		return unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	})
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		err = fmt.Errorf("%w (%w)", ErrForbidden, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the socket for %s: %w", what, err)
	}
	if err := prepare(fd); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("set up the socket for %s: %w", what, err)
	}
	file := os.NewFile(uintptr(fd), what)
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("set up the socket for %s: %w", what, err)
	}
	return &socket{file: file, raw: raw}, nil
}

func (s *socket) close() { _ = s.file.Close() }

// openPacket makes the socket that ARP, and solicitations from "::", are sent
// by: of no protocol, so it receives nothing. The kernel writes the Ethernet
// header (SOCK_DGRAM), and the VLAN tag where the interface has one.
func openPacket(n namespace) (*socket, error) {
	return openSocket(n, "ARP", unix.AF_PACKET, unix.SOCK_DGRAM, 0, func(fd int) error {
		return os.NewSyscallError("set SO_PRIORITY", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, controlPriority))
	})
}

// openICMPv6 makes the socket that claims IPv6 addresses: a raw one, whose
// packets pass the firewall's hooks and so the lease gate. It receives nothing.
func openICMPv6(n namespace) (*socket, error) {
	return openSocket(n, "ICMPv6", unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6, func(fd int) error {
		var none unix.ICMPv6Filter
		for i := range none.Data {
			none.Data[i] = ^uint32(0) // a set bit blocks a type
		}
		if err := unix.SetsockoptICMPv6Filter(fd, unix.SOL_ICMPV6, unix.ICMPV6_FILTER, &none); err != nil {
			return os.NewSyscallError("set ICMPV6_FILTER", err)
		}
		for _, option := range []struct{ level, name, value int }{
			{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, hopLimit},
			{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, hopLimit},
			{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0},
			{unix.SOL_SOCKET, unix.SO_PRIORITY, controlPriority},
		} {
			if err := unix.SetsockoptInt(fd, option.level, option.name, option.value); err != nil {
				return os.NewSyscallError("set option "+strconv.Itoa(option.name), err)
			}
		}
		return nil
	})
}

// A shot is one frame on its way. It is used again for the next, so that a round
// of a thousand allocates nothing per frame.
type shot struct {
	permit  func(netip.Addr) error // nil: the frame claims nothing
	addr    netip.Addr             // what permit is asked for
	frame   []byte
	control []byte // ancillary data; may be empty
	to      unix.Sockaddr

	refusal, err error
}

// fire asks the permit and sends, with nothing in between.
func (s *shot) fire(fd uintptr) {
	s.refusal, s.err = nil, nil
	if s.permit != nil {
		if s.refusal = s.permit(s.addr); s.refusal != nil {
			return
		}
	}
	if len(s.control) == 0 {
		s.err = unix.Sendto(int(fd), s.frame, 0, s.to)
		return
	}
	_, s.err = unix.SendmsgN(int(fd), s.frame, s.control, s.to, 0)
}

// send fires once, or again each time there may be room, for at most busyWait: it
// asks the permit before each try. fire is s's own method, bound once per round.
func (s *socket) send(one *shot, fire func(uintptr)) error {
	if err := s.raw.Control(fire); err != nil {
		return closedError(err)
	}
	if !again(one.err) {
		return one.err
	}
	if err := s.file.SetWriteDeadline(time.Now().Add(busyWait)); err != nil {
		return closedError(err)
	}
	err := s.raw.Write(func(fd uintptr) bool {
		one.fire(fd)
		return !again(one.err)
	})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrBusy
	case err != nil:
		return closedError(err)
	}
	return one.err
}

func again(err error) bool { return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) }

// closedError names the one thing that goes wrong with a descriptor that is known
// to the poller, besides a deadline: Close has closed it meanwhile.
func closedError(err error) error { return fmt.Errorf("%w (%w)", ErrClosed, err) }

// linkTo is the AF_PACKET address of mac on l.
func linkTo(l Link, protocol uint16, mac net.HardwareAddr) *unix.SockaddrLinklayer {
	to := &unix.SockaddrLinklayer{Protocol: network(protocol), Ifindex: l.Index, Halen: macLen}
	copy(to.Addr[:], mac)
	return to
}

// packetInfo is the ancillary data that makes a raw IPv6 socket send by l, from
// the address that setSource writes into it.
func packetInfo(l Link) []byte {
	b := make([]byte, unix.CmsgSpace(unix.SizeofInet6Pktinfo))
	header := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	header.Level, header.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
	header.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
	info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&b[unix.CmsgLen(0)]))
	info.Ifindex = uint32(l.Index)
	return b
}

// setSource changes the source address in what packetInfo made.
func setSource(control []byte, addr netip.Addr) {
	source := addr.As16()
	copy(control[unix.CmsgLen(0):], source[:]) // ipi6_addr is its first field
}

// explain turns what the kernel said about a frame for l into what it means.
func (s *socket) explain(l Link, err error) error {
	meaning := map[error]error{
		unix.ENETDOWN: ErrDown, unix.ENXIO: ErrNoInterface, unix.ENODEV: ErrNoInterface,
		unix.EPERM: ErrFiltered, unix.EINVAL: ErrNotPlumbed, unix.EADDRNOTAVAIL: ErrNotPlumbed,
		unix.ENETUNREACH: ErrNotPlumbed, unix.ENOBUFS: ErrBusy,
	}
	for cause, means := range meaning {
		if !errors.Is(err, cause) {
			continue
		}
		// IPv6 addresses go when the link is set down: that is then the reason.
		if errors.Is(means, ErrNotPlumbed) && s.down(l) {
			means = ErrDown
		}
		return fmt.Errorf("%w (%w)", means, err)
	}
	return err
}

// down says whether l is set down.
func (s *socket) down(l Link) (down bool) {
	request, err := unix.NewIfreq(l.Name)
	if err != nil {
		return false
	}
	_ = s.raw.Control(func(fd uintptr) {
		if err := unix.IoctlIfreq(int(fd), unix.SIOCGIFFLAGS, request); err == nil {
			down = request.Uint16()&unix.IFF_UP == 0
		}
	})
	return down
}

package udp

import (
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// waiting reads what a socket holds already, without waiting for more. A
// deadline cannot do that: Go does not even look at a socket whose deadline has
// passed, which is just when a process that was held up must look.
type waiting struct{ raw syscall.RawConn }

// newWaiting returns a waiting that never finds anything if conn is no socket;
// a Conn made for a test delivers before its deadline or not at all.
func newWaiting(conn Conn) waiting {
	sys, ok := conn.(syscall.Conn)
	if !ok {
		return waiting{}
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return waiting{}
	}
	return waiting{raw}
}

// read is one datagram that has arrived, if there is one.
func (w waiting) read(buf []byte) (n int, from netip.AddrPort, ok bool) {
	if w.raw == nil {
		return 0, from, false
	}
	var source unix.Sockaddr
	var err error
	// Control and not Read: Read waits for the goroutine that is reading, and
	// obeys the deadline.
	controlErr := w.raw.Control(func(fd uintptr) {
		for {
			n, source, err = unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			if err != unix.EINTR {
				return
			}
		}
	})
	if controlErr != nil || err != nil {
		return 0, from, false
	}
	return n, keyOfSockaddr(source), true
}

// widen asks for a larger buffer, by force where this process may: what it does not
// get it does without.
func (w waiting) widen() {
	if w.raw == nil {
		return
	}
	_ = w.raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, roomFor) != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, roomFor)
		}
	})
}

// keyOfSockaddr is a source address in the form that statistics compare.
func keyOfSockaddr(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	default:
		return netip.AddrPort{}
	}
}

// keyOf is an address in the form that statistics compare: IPv4 as IPv4, and
// without a zone, which the two ways of reading would tell differently.
func keyOf(addr net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	if u, ok := addr.(*net.UDPAddr); ok {
		ap = u.AddrPort()
	} else if addr != nil {
		ap, _ = netip.ParseAddrPort(addr.String()) // zero: an unknown place
	}
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

package netif

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	sizeofIfInfomsg = unix.SizeofIfInfomsg
	sizeofIfAddrmsg = unix.SizeofIfAddrmsg
	sizeofRtMsg     = unix.SizeofRtMsg

	ifaProto = 11 // IFA_PROTO; since Linux 5.18

	forever = ^uint32(0) // INFINITY_LIFE_TIME

	// The operational states (RFC 2863) in which a link passes packets; drivers
	// that know of none say unknown.
	operUnknown = 0
	operUp      = 6
)

// linkMessage is what RTM_NEWLINK and RTM_DELLINK say. Messages of wireless
// drivers lack most of it: nil and -1 stand for what was not said.
type linkMessage struct {
	index    int
	flags    uint32
	name     string
	altNames []string
	mac      net.HardwareAddr
	mtu      int
	oper     int
}

// decodeLink answers ok only for messages about the link itself: a bridge and
// IPv6 send others under the same number, and "deleted" then means that a port
// has left its bridge.
func decodeLink(body []byte) (l linkMessage, ok bool) {
	if len(body) < sizeofIfInfomsg || body[0] != unix.AF_UNSPEC {
		return l, false
	}
	l.index = int(int32(native.Uint32(body[4:])))
	l.flags = native.Uint32(body[8:])
	l.mtu, l.oper = -1, -1
	eachAttr(body[sizeofIfInfomsg:], func(kind uint16, value []byte) {
		switch kind {
		case unix.IFLA_IFNAME:
			l.name = text(value)
		case unix.IFLA_ADDRESS:
			l.mac = append(net.HardwareAddr{}, value...)
		case unix.IFLA_MTU:
			if len(value) >= 4 {
				l.mtu = int(native.Uint32(value))
			}
		case unix.IFLA_OPERSTATE:
			if len(value) >= 1 {
				l.oper = int(value[0])
			}
		case unix.IFLA_PROP_LIST:
			eachAttr(value, func(kind uint16, value []byte) {
				if kind == unix.IFLA_ALT_IFNAME {
					l.altNames = append(l.altNames, text(value))
				}
			})
		}
	})
	return l, l.index > 0
}

// addrMessage is what RTM_NEWADDR and RTM_DELADDR say.
type addrMessage struct {
	key   addrKey
	proto uint8
	label string
	flags uint32
	valid time.Duration // 0: for ever
}

func decodeAddr(body []byte) (a addrMessage, ok bool) {
	if len(body) < sizeofIfAddrmsg {
		return a, false
	}
	bits := int(body[1])
	a.flags = uint32(body[2])
	a.key.link = int(int32(native.Uint32(body[4:])))
	var local, peer netip.Addr
	eachAttr(body[sizeofIfAddrmsg:], func(kind uint16, value []byte) {
		switch kind {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(value)
		case unix.IFA_ADDRESS:
			peer, _ = netip.AddrFromSlice(value)
		case unix.IFA_LABEL:
			a.label = text(value)
		case ifaProto:
			if len(value) >= 1 {
				a.proto = value[0]
			}
		case unix.IFA_FLAGS:
			if len(value) >= 4 {
				a.flags = native.Uint32(value)
			}
		case unix.IFA_CACHEINFO:
			if len(value) >= 8 {
				a.valid = lifetime(native.Uint32(value[4:]))
			}
		}
	})
	// IPv6 says IFA_ADDRESS alone unless there is a peer; IPv4 says both.
	if !local.IsValid() {
		local = peer
	}
	if !peer.IsValid() {
		peer = local
	}
	if !local.IsValid() || bits > local.BitLen() {
		return a, false
	}
	a.key.prefix = netip.PrefixFrom(local, bits)
	a.key.peer = peer
	return a, a.key.link > 0
}

// lifetime turns the kernel's seconds into a duration. An address whose time is
// up stays for up to a second: that is not "for ever".
func lifetime(seconds uint32) time.Duration {
	if seconds == forever {
		return 0
	}
	return max(time.Duration(seconds)*time.Second, 1)
}

// routeMessage is what RTM_NEWROUTE and RTM_DELROUTE say.
type routeMessage struct {
	dst    netip.Prefix
	table  uint32
	usable bool // leads somewhere: unicast, and not every next hop dead or without carrier
}

const unusableHop = unix.RTNH_F_DEAD | unix.RTNH_F_LINKDOWN

func decodeRoute(body []byte) (r routeMessage, ok bool) {
	if len(body) < sizeofRtMsg {
		return r, false
	}
	var dst netip.Addr
	switch body[0] {
	case unix.AF_INET:
		dst = netip.IPv4Unspecified()
	case unix.AF_INET6:
		dst = netip.IPv6Unspecified()
	default:
		return r, false
	}
	r.table = uint32(body[4])
	flags := native.Uint32(body[8:])
	r.usable = body[7] == unix.RTN_UNICAST && flags&(unix.RTM_F_CLONED|unusableHop) == 0
	eachAttr(body[sizeofRtMsg:], func(kind uint16, value []byte) {
		switch kind {
		case unix.RTA_DST:
			if a, ok := netip.AddrFromSlice(value); ok {
				dst = a
			}
		case unix.RTA_TABLE:
			if len(value) >= 4 {
				r.table = native.Uint32(value)
			}
		case unix.RTA_MULTIPATH:
			r.usable = r.usable && anyHop(value)
		}
	})
	bits := int(body[1])
	if bits > dst.BitLen() {
		return r, false
	}
	r.dst = netip.PrefixFrom(dst, bits)
	return r, true
}

// anyHop looks for a next hop that is alive among those of a multipath route.
func anyHop(b []byte) bool {
	for len(b) >= unix.SizeofRtNexthop {
		size := int(native.Uint16(b))
		if size < unix.SizeofRtNexthop || size > len(b) {
			return false
		}
		if b[2]&unusableHop == 0 {
			return true
		}
		b = b[min(align(size), len(b)):]
	}
	return false
}

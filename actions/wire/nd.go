package wire

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

const (
	ipv6Header = 40
	icmpv6     = 58
	hopLimit   = 255 // a packet with less has passed a router (RFC 4861, 7.1)

	typeSolicit = 135
	typeAdvert  = 136
	ndLen       = 24 // type, code, checksum, flags, target

	optSourceMAC = 1
	optTargetMAC = 2
	optMAC       = 8 // the length of either

	flagRouter    = 0x80
	flagSolicited = 0x40
	flagOverride  = 0x20
)

// allNodes is whom an unsolicited advertisement is for.
var allNodes = netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 1})

// solicitedNode is the multicast group that each holder of ip is in.
func solicitedNode(ip netip.Addr) netip.Addr {
	group := [16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff}
	all := ip.As16()
	copy(group[13:], all[13:])
	return netip.AddrFrom16(group)
}

// multicastMAC is where Ethernet carries an IPv6 multicast group.
func multicastMAC(group netip.Addr) net.HardwareAddr {
	all := group.As16()
	return net.HardwareAddr{0x33, 0x33, all[12], all[13], all[14], all[15]}
}

// ND is one neighbour solicitation or advertisement with the IPv6 header around
// it.
type ND struct {
	Advert      bool // else a solicitation
	Source      netip.Addr
	Destination netip.Addr
	Target      netip.Addr
	MAC         net.HardwareAddr // of the link-layer address option; nil: there is none
	// The flags of an advertisement.
	Router, Solicited, Override bool
}

// AppendAdvert appends the unsolicited neighbour advertisement by which mac
// claims ip: with the override flag, without which a known neighbour keeps what
// he knew. It is the ICMPv6 message alone and its checksum is zero: the kernel
// fills it in on a raw ICMPv6 socket, AppendIPv6 elsewhere.
func AppendAdvert(b []byte, mac net.HardwareAddr, ip netip.Addr) []byte {
	return appendND(b, typeAdvert, flagOverride, optTargetMAC, mac, ip)
}

// AppendSolicit appends the neighbour solicitation for target: with a mac, the
// one that teaches the asked host the sender's; with nil, the one for duplicate
// detection, which claims nothing and is sent from "::". It is the ICMPv6 message
// alone, its checksum zero.
func AppendSolicit(b []byte, mac net.HardwareAddr, target netip.Addr) []byte {
	return appendND(b, typeSolicit, 0, optSourceMAC, mac, target)
}

func appendND(b []byte, kind, flags, option byte, mac net.HardwareAddr, target netip.Addr) []byte {
	target16 := target.As16()
	b = append(b, kind, 0, 0, 0, flags, 0, 0, 0)
	b = append(b, target16[:]...)
	if mac != nil {
		b = append(b, option, optMAC/8)
		b = append(b, mac[:macLen]...)
	}
	return b
}

// AppendIPv6 appends an IPv6 packet around the ICMPv6 message, checksum and all.
func AppendIPv6(b []byte, source, destination netip.Addr, message []byte) []byte {
	from, to := source.As16(), destination.As16()
	b = append(b, 0x60, 0, 0, 0, byte(len(message)>>8), byte(len(message)), icmpv6, hopLimit)
	b = append(b, from[:]...)
	b = append(b, to[:]...)
	start := len(b)
	b = append(b, message...)
	binary.BigEndian.PutUint16(b[start+2:], 0)
	sum := ^checksum(from, to, b[start:])
	binary.BigEndian.PutUint16(b[start+2:], sum)
	return b
}

// checksum adds up an ICMPv6 message and its pseudo-header (RFC 8200, 8.1): over
// a whole message that is intact it is 0xffff.
func checksum(from, to [16]byte, message []byte) uint16 {
	sum := uint32(icmpv6) + uint32(len(message))
	add := func(b []byte) {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(b[0])<<8 | uint32(b[1])
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	add(from[:])
	add(to[:])
	add(message)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// ParseND reads a neighbour solicitation or advertisement from its IPv6 header
// on, with the checks that a receiver owes (RFC 4861, 7.1). Bytes behind it are
// padding. The result shares no memory with b.
func ParseND(b []byte) (ND, error) {
	if len(b) < ipv6Header+ndLen || b[0]>>4 != 6 || b[6] != icmpv6 {
		return ND{}, fmt.Errorf("%w ND packet: not ICMPv6, or too short", errFrame)
	}
	if b[7] != hopLimit {
		return ND{}, fmt.Errorf("%w ND packet: hop limit %d: it comes from beyond a router", errFrame, b[7])
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length < ndLen || length > len(b)-ipv6Header {
		return ND{}, fmt.Errorf("%w ND packet: length %d of %d bytes", errFrame, length, len(b)-ipv6Header)
	}
	from, to, message := [16]byte(b[8:24]), [16]byte(b[24:40]), b[ipv6Header:ipv6Header+length]
	if checksum(from, to, message) != 0xffff {
		return ND{}, fmt.Errorf("%w ND packet: wrong checksum", errFrame)
	}
	if kind := message[0]; kind != typeSolicit && kind != typeAdvert || message[1] != 0 {
		return ND{}, fmt.Errorf("%w ND packet: ICMPv6 type %d, code %d", errFrame, message[0], message[1])
	}
	nd := ND{
		Advert: message[0] == typeAdvert,
		Source: netip.AddrFrom16(from), Destination: netip.AddrFrom16(to),
		Target: netip.AddrFrom16([16]byte(message[8:24])),
	}
	if nd.Target.IsMulticast() {
		return ND{}, fmt.Errorf("%w ND packet: target %s", errFrame, nd.Target)
	}
	wanted := byte(optSourceMAC)
	if nd.Advert {
		wanted = optTargetMAC
		nd.Router = message[4]&flagRouter != 0
		nd.Solicited = message[4]&flagSolicited != 0
		nd.Override = message[4]&flagOverride != 0
	}
	var err error
	nd.MAC, err = macOption(message[ndLen:], wanted)
	if err != nil {
		return ND{}, err
	}
	if err := nd.check(); err != nil {
		return ND{}, err
	}
	return nd, nil
}

// macOption finds the link-layer address of the wanted kind: the last one, as
// Linux does.
func macOption(options []byte, wanted byte) (mac net.HardwareAddr, err error) {
	for len(options) > 0 {
		if len(options) < 2 || options[1] == 0 || int(options[1])*8 > len(options) {
			return nil, fmt.Errorf("%w ND packet: option of no length or beyond the end", errFrame)
		}
		if options[0] == wanted && options[1] == optMAC/8 {
			mac = append(net.HardwareAddr(nil), options[2:optMAC]...)
		}
		options = options[int(options[1])*8:]
	}
	return mac, nil
}

// check finds what no honest sender sends.
func (nd ND) check() error {
	switch {
	case nd.Advert && nd.Solicited && nd.Destination.IsMulticast():
		return fmt.Errorf("%w ND packet: a solicited advertisement for %s", errFrame, nd.Destination)
	case !nd.Advert && nd.Source.IsUnspecified() && (nd.MAC != nil || nd.Destination != solicitedNode(nd.Target)):
		return fmt.Errorf("%w ND packet: a solicitation from ::, for %s, with hardware address %q", errFrame, nd.Destination, nd.MAC)
	}
	return nil
}

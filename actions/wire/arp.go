package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

const (
	arpLen   = 28 // of ARP for IPv4 over Ethernet (RFC 826)
	macLen   = 6
	ethernet = 1 // the hardware type

	opRequest = 1
	opReply   = 2
)

// errFrame is the root of all that is wrong with received bytes.
var errFrame = errors.New("malformed")

// ARP is one packet of the address resolution protocol for IPv4 over Ethernet.
type ARP struct {
	Reply     bool // else a request
	SenderMAC net.HardwareAddr
	SenderIP  netip.Addr
	TargetMAC net.HardwareAddr
	TargetIP  netip.Addr
}

// AppendGratuitousRequest appends the ARP request by which mac claims ip. Linux
// takes it for gratuitous since both addresses are the same, and so changes an
// entry however young it is.
func AppendGratuitousRequest(b []byte, mac net.HardwareAddr, ip netip.Addr) []byte {
	return appendARP(b, opRequest, mac, ip, nil, ip)
}

// AppendGratuitousReply appends the ARP reply by which mac claims ip. The target
// hardware address is the sender's: with any other Linux takes it for an ordinary
// reply, which cannot change an entry younger than one second.
func AppendGratuitousReply(b []byte, mac net.HardwareAddr, ip netip.Addr) []byte {
	return appendARP(b, opReply, mac, ip, mac, ip)
}

// AppendProbe appends the ARP request that asks who has ip and claims nothing:
// its sender address is 0.0.0.0, so that it changes no neighbour's table
// (RFC 5227, 2.1.1).
func AppendProbe(b []byte, mac net.HardwareAddr, ip netip.Addr) []byte {
	return appendARP(b, opRequest, mac, netip.IPv4Unspecified(), nil, ip)
}

// AppendRequest appends the ARP request by which sender asks for target. Whoever
// has target must note the sender before he answers (RFC 826), also where
// gratuitous packets are ignored.
func AppendRequest(b []byte, mac net.HardwareAddr, sender, target netip.Addr) []byte {
	return appendARP(b, opRequest, mac, sender, nil, target)
}

// appendARP expects MACs of six bytes (or none: zeros) and IPv4 addresses;
// others panic.
func appendARP(b []byte, op byte, mac net.HardwareAddr, ip netip.Addr, targetMAC net.HardwareAddr, target netip.Addr) []byte {
	sender4, target4 := ip.As4(), target.As4()
	b = append(b, 0, ethernet, 0x08, 0x00, macLen, 4, 0, op)
	b = appendMAC(b, mac)
	b = append(b, sender4[:]...)
	b = appendMAC(b, targetMAC)
	return append(b, target4[:]...)
}

func appendMAC(b []byte, mac net.HardwareAddr) []byte {
	if mac == nil {
		return append(b, 0, 0, 0, 0, 0, 0)
	}
	return append(b, mac[:macLen]...)
}

// ParseARP reads one ARP packet, without its Ethernet header. Bytes behind it are
// padding. The result shares no memory with b.
func ParseARP(b []byte) (ARP, error) {
	if len(b) < arpLen {
		return ARP{}, fmt.Errorf("%w ARP packet: %d bytes, want %d", errFrame, len(b), arpLen)
	}
	if binary.BigEndian.Uint16(b) != ethernet || binary.BigEndian.Uint16(b[2:]) != 0x0800 || b[4] != macLen || b[5] != 4 {
		return ARP{}, fmt.Errorf("%w ARP packet: not IPv4 over Ethernet", errFrame)
	}
	op := binary.BigEndian.Uint16(b[6:])
	if op != opRequest && op != opReply {
		return ARP{}, fmt.Errorf("%w ARP packet: operation %d", errFrame, op)
	}
	return ARP{
		Reply:     op == opReply,
		SenderMAC: append(net.HardwareAddr(nil), b[8:14]...),
		SenderIP:  netip.AddrFrom4([4]byte(b[14:18])),
		TargetMAC: append(net.HardwareAddr(nil), b[18:24]...),
		TargetIP:  netip.AddrFrom4([4]byte(b[24:28])),
	}, nil
}

package watch

import (
	"encoding/binary"
	"net"
	"net/netip"
)

const (
	etherLen  = 14
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	protoUDP    = 17
	protoICMPv6 = 58

	ndSolicit = 135
	ndAdvert  = 136
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// source is whom the watcher asks as.
type source struct {
	mac      net.HardwareAddr
	ip4, ip6 netip.Addr
	port     uint16
}

func ethernet(to, from net.HardwareAddr, kind uint16) []byte {
	b := make([]byte, 0, 128)
	b = append(b, to...)
	b = append(b, from...)
	return binary.BigEndian.AppendUint16(b, kind)
}

// arpQuestion is who-has addr.
func arpQuestion(s source, addr netip.Addr) []byte {
	b := ethernet(broadcast, s.mac, etherARP)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, 1)
	b = append(b, s.mac...)
	b = append(b, s.ip4.AsSlice()...)
	b = append(b, make([]byte, 6)...)
	return append(b, addr.AsSlice()...)
}

// ndQuestion is a neighbour solicitation for addr to its multicast group.
func ndQuestion(s source, addr netip.Addr) []byte {
	group := addr.As16()
	copy(group[:], []byte{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff})
	to := net.HardwareAddr{0x33, 0x33, group[12], group[13], group[14], group[15]}
	body := []byte{ndSolicit, 0, 0, 0, 0, 0, 0, 0}
	body = append(body, addr.AsSlice()...)
	body = append(body, 1, 1)
	body = append(body, s.mac...)
	return ipv6(ethernet(to, s.mac, etherIPv6), s.ip6, netip.AddrFrom16(group), protoICMPv6, 255, body, 2)
}

// udpQuestion asks the echo at addr behind one host's hardware address.
func udpQuestion(s source, to net.HardwareAddr, addr netip.Addr, port uint16, payload []byte) []byte {
	body := binary.BigEndian.AppendUint16(nil, s.port)
	body = binary.BigEndian.AppendUint16(body, port)
	body = binary.BigEndian.AppendUint16(body, uint16(8+len(payload)))
	body = append(body, 0, 0)
	body = append(body, payload...)
	if addr.Is6() {
		return ipv6(ethernet(to, s.mac, etherIPv6), s.ip6, addr, protoUDP, 64, body, 6)
	}
	// Without a checksum of its own, as UDP over IPv4 may be.
	b := ethernet(to, s.mac, etherIPv4)
	b = append(b, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(20+len(body)))
	b = append(b, 0, 0, 0x40, 0, 64, protoUDP, 0, 0)
	b = append(b, s.ip4.AsSlice()...)
	b = append(b, addr.AsSlice()...)
	binary.BigEndian.PutUint16(b[etherLen+10:], checksum(b[etherLen:]))
	return append(b, body...)
}

// ipv6 puts a header before body and the checksum, which lies at sumAt, into it.
func ipv6(b []byte, from, to netip.Addr, proto, hops byte, body []byte, sumAt int) []byte {
	pseudo := append(from.AsSlice(), to.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(body)))
	pseudo = append(pseudo, 0, 0, 0, proto)
	sum := checksum(append(pseudo, body...))
	if sum == 0 {
		sum = 0xffff // 0 would mean: none
	}
	binary.BigEndian.PutUint16(body[sumAt:], sum)
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	b = append(b, proto, hops)
	b = append(b, from.AsSlice()...)
	b = append(b, to.AsSlice()...)
	return append(b, body...)
}

// checksum is the Internet's.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// sign is what a frame shows about an address.
type sign struct {
	addr   netip.Addr
	mac    string
	method Method
}

// parse reads a frame from a host's wire; ok is false when it says about no
// address that a host has it. self is the watcher's hardware address.
func parse(b []byte, self net.HardwareAddr) (s sign, ok bool) {
	if len(b) < etherLen || string(b[6:12]) == string(self) {
		return sign{}, false
	}
	from, asked := net.HardwareAddr(b[6:12]), string(b[:6]) == string(self)
	rest := b[etherLen:]
	switch binary.BigEndian.Uint16(b[12:]) {
	case etherARP:
		return parseARP(rest, asked)
	case etherIPv4:
		if len(rest) < 20 || rest[9] != protoUDP || !asked {
			return sign{}, false
		}
		return sign{netip.AddrFrom4([4]byte(rest[12:16])), from.String(), UDP}, true
	case etherIPv6:
		return parseIPv6(rest, from, asked)
	default:
		return sign{}, false
	}
}

// parseARP takes every ARP frame as a claim of its sender's address: that is
// what its neighbours do.
func parseARP(b []byte, asked bool) (sign, bool) {
	if len(b) < 28 || string(b[:6]) != "\x00\x01\x08\x00\x06\x04" {
		return sign{}, false
	}
	addr := netip.AddrFrom4([4]byte(b[14:18]))
	if addr.IsUnspecified() { // a probe
		return sign{}, false
	}
	method := Announce
	if asked {
		method = ARP
	}
	return sign{addr, net.HardwareAddr(b[8:14]).String(), method}, true
}

func parseIPv6(b []byte, from net.HardwareAddr, asked bool) (sign, bool) {
	const header = 40
	if len(b) < header+8 {
		return sign{}, false
	}
	body := b[header:]
	switch {
	case b[6] == protoUDP && asked:
		return sign{netip.AddrFrom16([16]byte(b[8:24])), from.String(), UDP}, true
	case b[6] == protoICMPv6 && body[0] == ndAdvert && len(body) >= 24:
		method := Announce
		if asked {
			method = ND
		}
		return sign{netip.AddrFrom16([16]byte(body[8:24])), advertised(body[24:], from), method}, true
	default:
		return sign{}, false
	}
}

// advertised is the target link-layer address option, else the frame's sender.
func advertised(options []byte, from net.HardwareAddr) string {
	for len(options) >= 8 && options[1] > 0 {
		n := int(options[1]) * 8
		if options[0] == 2 {
			return net.HardwareAddr(options[2:8]).String()
		}
		if n > len(options) {
			break
		}
		options = options[n:]
	}
	return from.String()
}

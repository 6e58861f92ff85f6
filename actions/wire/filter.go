package wire

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// exactFilter is up to how many addresses a filter compares one by one, in the
// kernel; above, it lets through every frame of the right kind. That is two
// instructions an address, of the 4,096 that the kernel allows, and 4 kB of the
// 20 kB that older kernels grant a socket's options (net.core.optmem_max).
const exactFilter = 256

// The offsets count from the network header: the sockets are SOCK_DGRAM, so
// neither an Ethernet header nor a VLAN tag stands before it.
const (
	arpSender  = 14
	nextHeader = 6
	hopsOffset = 7
	ndType     = ipv6Header
	// The last four bytes of an address tell addresses apart well enough.
	ndSourceTail = 8 + 12
	ndTargetTail = ipv6Header + 8 + 12
)

// packetType is where the kernel keeps who a frame is for, beside its bytes
// (SKF_AD_OFF + SKF_AD_PKTTYPE in linux/filter.h).
const packetType = 0xfffff000 + 4

// noFrame lets nothing through: for a socket that is not in use.
var noFrame = []unix.SockFilter{ret(0)}

func load(size uint16, offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | size | unix.BPF_ABS, K: offset}
}

func ret(bytes uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: bytes}
}

// orDrop drops the frame unless what was loaded is k: the drop is the next
// instruction.
func orDrop(k uint32) []unix.SockFilter {
	return []unix.SockFilter{{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: k}, ret(0)}
}

// forUs drops what is not for this host, in particular frames of a VLAN that it
// has no interface of: the kernel takes the tag off and shows them as another
// host's.
func forUs() []unix.SockFilter {
	return []unix.SockFilter{
		load(unix.BPF_W, packetType),
		{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, Jf: 1, K: unix.PACKET_MULTICAST},
		ret(0),
	}
}

// whole is more than any frame: nothing is cut.
const whole = 1 << 18

// anyOf lets through the frames for which what was loaded is one of the tails.
func anyOf(tails []uint32) []unix.SockFilter {
	if len(tails) > exactFilter {
		return []unix.SockFilter{ret(whole)}
	}
	filter := make([]unix.SockFilter, 0, 2*len(tails)+1)
	for _, tail := range tails {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: tail}, ret(whole))
	}
	return append(filter, ret(0))
}

// arpFilter lets through ARP whose sender has one of the addresses.
func arpFilter(addrs []netip.Addr) []unix.SockFilter {
	tails := make([]uint32, len(addrs))
	for i, addr := range addrs {
		all := addr.As4()
		tails[i] = binary.BigEndian.Uint32(all[:])
	}
	return append(append(forUs(), load(unix.BPF_W, arpSender)), anyOf(tails)...)
}

// ndFilter lets through advertisements of one of the addresses and solicitations
// that come from one.
func ndFilter(addrs []netip.Addr) []unix.SockFilter {
	tails := make([]uint32, len(addrs))
	for i, addr := range addrs {
		all := addr.As16()
		tails[i] = binary.BigEndian.Uint32(all[12:])
	}
	filter := append(forUs(), load(unix.BPF_B, nextHeader))
	filter = append(filter, orDrop(icmpv6)...)
	filter = append(filter, load(unix.BPF_B, hopsOffset))
	filter = append(filter, orDrop(hopLimit)...)
	filter = append(filter,
		load(unix.BPF_B, ndType),
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 2, K: typeAdvert},
		load(unix.BPF_W, ndTargetTail),
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: 3}, // to anyOf
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: typeSolicit},
		ret(0),
		load(unix.BPF_W, ndSourceTail),
	)
	return append(filter, anyOf(tails)...)
}

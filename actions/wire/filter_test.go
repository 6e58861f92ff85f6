package wire

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// passed is how many frames the kernel has handed to the socket since it was
// asked last.
func (r *receiver) passed(t *testing.T) (n int) {
	t.Helper()
	err := r.raw.Control(func(fd uintptr) {
		stats, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err != nil {
			t.Error(err)
			return
		}
		n = int(stats.Packets)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A busy LAN costs nothing: what does not concern the asked addresses ends in the
// kernel, and so does everything while nobody asks.
func TestTheFilter(t *testing.T) {
	lan := newLAN(t, 2)
	me, other := lan[0], lan[1]
	v4, v6 := addrOf("10.9.0.100"), addrOf("fd00:9::100")
	strange := net.HardwareAddr{2, 0, 0, 0, 0xaa, 1}
	var noise, signal4, signal6 [][]byte
	arp := func(b []byte) []byte { return frameOf(broadcast, strange, 0x0806, nil, b) }
	nd := func(from netip.Addr, message []byte) []byte {
		return frameOf(multicastMAC(allNodes), strange, 0x86dd, nil, AppendIPv6(nil, from, allNodes, message))
	}
	for i := 1; i <= 10; i++ { // no more than the sniffer's buffer holds
		noise = append(noise,
			arp(AppendGratuitousReply(nil, strange, addrOf(fmt.Sprintf("10.9.1.%d", i)))),
			arp(AppendProbe(nil, strange, v4)),
			nd(addrOf("fe80::1"), AppendAdvert(nil, strange, addrOf(fmt.Sprintf("fd00:9::1:%x", i)))),
			nd(addrOf("fe80::1"), AppendSolicit(nil, strange, v6)),
			nd(v6, []byte{128, 0, 0, 0, 0, 0, 0, 0}), // a ping from it
		)
	}
	signal4 = append(signal4, arp(AppendGratuitousReply(nil, strange, v4)), arp(AppendRequest(nil, strange, v4, addrOf("10.9.0.1"))))
	signal6 = append(signal6, nd(addrOf("fe80::1"), AppendAdvert(nil, strange, v6)), nd(v6, AppendSolicit(nil, strange, addrOf("fd00:9::1"))))

	for _, test := range []struct {
		name     string
		protocol uint16
		filter   []unix.SockFilter
		signal   [][]byte
	}{
		{"ARP", unix.ETH_P_ARP, arpFilter([]netip.Addr{addrOf("10.9.9.1"), v4, addrOf("10.9.9.2")}), signal4},
		{"ND", unix.ETH_P_IPV6, ndFilter([]netip.Addr{addrOf("fd00:9::9:1"), v6, addrOf("fd00:9::9:2")}), signal6},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := me.wire.take(me.link, test.protocol, test.filter)
			if err != nil {
				t.Fatal(err)
			}
			sniffer := me.sniff(t) // sees all, so that the last frame is known to have come
			inject := func(frames [][]byte) {
				for _, frame := range frames {
					other.inject(t, frame)
				}
				other.inject(t, arp(AppendProbe(nil, strange, addrOf("10.9.7.7"))))
				for got := sniffer.next(strange); got.arp == nil || got.arp.TargetIP != addrOf("10.9.7.7"); {
					got = sniffer.next(strange)
				}
			}
			inject(noise)
			if n := r.passed(t); n != 0 {
				t.Errorf("%d frames of noise passed", n)
			}
			inject(test.signal)
			if n := r.passed(t); n != len(test.signal) {
				t.Errorf("%d of %d passed", n, len(test.signal))
			}
			me.wire.put(r)
			inject(test.signal)
			if n := r.passed(t); n != 0 {
				t.Errorf("%d frames passed while nobody asked", n)
			}
		})
	}
}

// The kernel takes a filter of any number of addresses.
func TestFiltersOfAllSizes(t *testing.T) {
	h := newHost(t)
	h.run(t, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		for _, n := range []int{1, 2, exactFilter - 1, exactFilter, exactFilter + 1, 10_000} {
			v4 := manyV4(n)
			v6 := make([]netip.Addr, n)
			for i := range v6 {
				v6[i] = addrOf(fmt.Sprintf("fd00::%x", i+1))
			}
			for _, filter := range [][]unix.SockFilter{arpFilter(v4), ndFilter(v6)} {
				if err := attach(fd, filter); err != nil {
					return fmt.Errorf("%d addresses: %w", n, err)
				}
			}
		}
		return nil
	})
}

package wire

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

const stale = "02:00:00:00:ee:ee" // a MAC nobody has

var errLease = errors.New("the lease is over")

func TestAnnounceChangesANeighboursTable(t *testing.T) {
	lan := newLAN(t, 2)
	me, peer := lan[0], lan[1]
	for _, test := range []struct{ addr, cidr string }{
		{"10.9.0.100", "10.9.0.100/32"},
		{"fd00:9::100", "fd00:9::100/128"},
	} {
		addr := addrOf(test.addr)
		me.ip(t, "addr add "+test.cidr+" dev eth0 nodad")
		peer.believe(t, addr, stale)
		sent, err := me.wire.Announce(me.link, []netip.Addr{addr}, always)
		if err != nil || sent != 1 {
			t.Fatalf("announce %s: %d, %v", addr, sent, err)
		}
		waitFor(t, "the peer knows the new holder of "+test.addr, func() bool { return peer.believes(t, addr) == me.link.MAC.String() })
	}
}

// Each form must do it alone: hosts ignore one or the other.
func TestEachFormChangesAYoungEntry(t *testing.T) {
	lan := newLAN(t, 2)
	me, peer := lan[0], lan[1]
	addr := addrOf("10.9.0.100")
	for name, payload := range map[string][]byte{
		"request": AppendGratuitousRequest(nil, me.link.MAC, addr),
		"reply":   AppendGratuitousReply(nil, me.link.MAC, addr),
	} {
		peer.believe(t, addr, stale)
		me.inject(t, frameOf(broadcast, me.link.MAC, 0x0806, nil, payload))
		waitFor(t, name+" is believed", func() bool { return peer.believes(t, addr) == me.link.MAC.String() })
	}
}

// Forms that must not change an entry: what the neighbour takes for no news, and
// a question.
func TestControlFormsChangeNothing(t *testing.T) {
	lan := newLAN(t, 2)
	me, peer := lan[0], lan[1]
	v4, v6 := addrOf("10.9.0.100"), addrOf("fd00:9::100")
	weak := AppendAdvert(nil, me.link.MAC, v6)
	weak[4] &^= flagOverride
	for name, control := range map[string]struct {
		addr  netip.Addr
		frame []byte
	}{
		"a reply whose target is everybody": {v4, frameOf(broadcast, me.link.MAC, 0x0806, nil, appendARP(nil, opReply, me.link.MAC, v4, broadcast, v4))},
		"a probe":                           {v4, frameOf(broadcast, me.link.MAC, 0x0806, nil, AppendProbe(nil, me.link.MAC, v4))},
		"an advertisement without override": {v6, frameOf(multicastMAC(allNodes), me.link.MAC, 0x86dd, nil, AppendIPv6(nil, addrOf("fd00:9::1"), allNodes, weak))},
		"a solicitation from ::": {v6, frameOf(multicastMAC(solicitedNode(v6)), me.link.MAC, 0x86dd, nil,
			AppendIPv6(nil, netip.IPv6Unspecified(), solicitedNode(v6), AppendSolicit(nil, nil, v6)))},
	} {
		t.Run(name, func(t *testing.T) {
			peer.believe(t, control.addr, stale)
			marker := addrOf("10.9.0.200") // what comes in after it has been believed
			peer.believe(t, marker, stale)
			me.inject(t, control.frame)
			if _, err := me.wire.Announce(me.link, []netip.Addr{marker}, always); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the marker has arrived", func() bool { return peer.believes(t, marker) == me.link.MAC.String() })
			if got := peer.believes(t, control.addr); got != stale {
				t.Errorf("the peer now believes %s", got)
			}
		})
	}
}

func TestTheFramesOfARound(t *testing.T) {
	lan := newLAN(t, 2)
	me, peer := lan[0], lan[1]
	me.ip(t, "addr add fd00:9::100/128 dev eth0 nodad")
	v4, v6 := addrOf("10.9.0.100"), addrOf("fd00:9::100")
	sniffer := peer.sniff(t)
	if sent, err := me.wire.Announce(me.link, []netip.Addr{v6, v4}, always); sent != 2 || err != nil {
		t.Fatal(sent, err)
	}
	request, reply, advert := sniffer.next(me.link.MAC), sniffer.next(me.link.MAC), sniffer.next(me.link.MAC)
	zero := net.HardwareAddr{0, 0, 0, 0, 0, 0}
	if a := request.arp; a == nil || a.Reply || a.SenderIP != v4 || a.TargetIP != v4 || !bytes.Equal(a.TargetMAC, zero) || !bytes.Equal(request.to, broadcast) {
		t.Errorf("request form: %+v", request.arp)
	}
	if a := reply.arp; a == nil || !a.Reply || a.SenderIP != v4 || a.TargetIP != v4 || !bytes.Equal(a.TargetMAC, me.link.MAC) || !bytes.Equal(reply.to, broadcast) {
		t.Errorf("reply form: %+v", reply.arp)
	}
	if n := advert.nd; n == nil || !n.Advert || !n.Override || n.Solicited || n.Router || n.Source != v6 || n.Target != v6 ||
		n.Destination != allNodes || !bytes.Equal(n.MAC, me.link.MAC) || !bytes.Equal(advert.to, multicastMAC(allNodes)) {
		t.Errorf("advertisement: %+v", advert.nd)
	}
}

func TestARefusedPermitLeavesNothingOnTheWire(t *testing.T) {
	lan := newLAN(t, 2)
	me, peer := lan[0], lan[1]
	me.ip(t, "addr add fd00:9::100/128 dev eth0 nodad")
	refused4, refused6, marker := addrOf("10.9.0.100"), addrOf("fd00:9::100"), addrOf("10.9.0.200")
	asked := map[netip.Addr]int{}
	permit := func(addr netip.Addr) error {
		asked[addr]++
		if addr != marker {
			return errLease
		}
		return nil
	}
	sniffer := peer.sniff(t)
	sent, err := me.wire.Announce(me.link, []netip.Addr{refused4, refused6, marker}, permit)
	if err != nil || sent != 1 {
		t.Fatalf("sent %d, %v", sent, err)
	}
	for _, tell := range []netip.Addr{refused4, refused6} {
		targets := []Target{{IP: addrOf("10.9.0.2"), MAC: peer.link.MAC}, {IP: addrOf("fd00:9::2")}, {IP: addrOf("10.9.0.3")}}
		if told, err := me.wire.Tell(me.link, tell, targets, permit); told != 0 || err != nil {
			t.Errorf("told %d, %v", told, err)
		}
	}
	if told, err := me.wire.Tell(me.link, marker, []Target{{IP: addrOf("10.9.0.2"), MAC: peer.link.MAC}}, permit); told != 1 || err != nil {
		t.Fatalf("told %d, %v", told, err)
	}
	for i := range 3 { // two forms, and one host told
		if got := sniffer.next(me.link.MAC); got.arp == nil || got.arp.SenderIP != marker {
			t.Fatalf("frame %d: %+v %+v", i, got.arp, got.nd)
		}
	}
	// A refusal ends the sending: no second form, no second target.
	if asked[refused4] != 2 || asked[refused6] != 2 || asked[marker] != 3 {
		t.Errorf("asked %v", asked)
	}
	if s := me.wire.Stats(); s.Refused != 4 || s.Announced != 2 || s.Told != 1 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
}

// The permit is asked before every frame, not before every round: a lease that
// ends in the middle ends the sending in the middle.
func TestALeaseThatEndsInTheMiddle(t *testing.T) {
	lan := newLAN(t, 2)
	me, peer := lan[0], lan[1]
	sniffer := peer.sniff(t)
	const before = 5
	asked := 0
	sent, err := me.wire.Announce(me.link, manyV4(before+3), func(netip.Addr) error {
		if asked++; asked > before {
			return errLease
		}
		return nil
	})
	if sent != 0 || err != nil { // no address got both forms
		t.Fatal(sent, err)
	}
	marker := addrOf("10.9.0.250")
	if _, err := me.wire.Announce(me.link, []netip.Addr{marker}, always); err != nil {
		t.Fatal(err)
	}
	for frames := 0; ; frames++ {
		if sniffer.next(me.link.MAC).arp.SenderIP == marker {
			if frames != before {
				t.Errorf("%d frames on the wire, %d were permitted", frames, before)
			}
			return
		}
	}
}

func TestTellTeachesOneHost(t *testing.T) {
	lan := newLAN(t, 3)
	me, peer, other := lan[0], lan[1], lan[2]
	me.ip(t, "addr add fd00:9::100/128 dev eth0 nodad")
	v4, v6 := addrOf("10.9.0.100"), addrOf("fd00:9::100")
	for _, test := range []struct {
		name   string
		addr   netip.Addr
		target Target
	}{
		{"ARP, MAC known", v4, Target{IP: addrOf("10.9.0.2"), MAC: peer.link.MAC}},
		{"ARP, MAC not known", v4, Target{IP: addrOf("10.9.0.2")}},
		{"ND, MAC known", v6, Target{IP: addrOf("fd00:9::2"), MAC: peer.link.MAC}},
		{"ND, MAC not known", v6, Target{IP: addrOf("fd00:9::2")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, h := range []*host{peer, other} {
				h.ip(t, "neigh flush dev eth0")
			}
			peer.believe(t, test.addr, stale)
			told, err := me.wire.Tell(me.link, test.addr, []Target{test.target}, always)
			if told != 1 || err != nil {
				t.Fatal(told, err)
			}
			waitFor(t, "the peer has learned", func() bool { return peer.believes(t, test.addr) == me.link.MAC.String() })
			if got := other.believes(t, test.addr); got != "" {
				t.Errorf("somebody else learned %s", got)
			}
		})
	}
	t.Run("a host that knew nothing", func(t *testing.T) {
		peer.ip(t, "neigh flush all dev eth0")
		peer.ip(t, "neigh flush dev eth0")
		if _, err := me.wire.Tell(me.link, v4, []Target{{IP: addrOf("10.9.0.2"), MAC: peer.link.MAC}}, always); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the peer has learned", func() bool { return peer.believes(t, v4) == me.link.MAC.String() })
	})
	t.Run("passed over", func(t *testing.T) {
		useless := []Target{{IP: addrOf("fd00:9::2")}, {}, {IP: v4}, {IP: addrOf("224.0.0.1")}}
		if told, err := me.wire.Tell(me.link, v4, useless, always); told != 0 || err != nil {
			t.Error(told, err)
		}
	})
}

func TestAnnounceUnicastIsUnicast(t *testing.T) {
	lan := newLAN(t, 2)
	me, peer := lan[0], lan[1]
	sniffer := peer.sniff(t)
	if _, err := me.wire.Tell(me.link, addrOf("10.9.0.100"), []Target{{IP: addrOf("10.9.0.2"), MAC: peer.link.MAC}}, always); err != nil {
		t.Fatal(err)
	}
	if got := sniffer.next(me.link.MAC); !bytes.Equal(got.to, peer.link.MAC) || got.arp == nil || got.arp.Reply {
		t.Errorf("to %s: %+v", got.to, got.arp)
	}
}

func TestBadInput(t *testing.T) {
	lan := newLAN(t, 1)
	me := lan[0]
	good := []netip.Addr{addrOf("10.9.0.100")}
	for _, test := range []struct {
		name  string
		link  Link
		addrs []netip.Addr
		want  string
	}{
		{"no address", me.link, []netip.Addr{{}}, "invalid IP is not the address of a host"},
		{"0.0.0.0", me.link, []netip.Addr{netip.IPv4Unspecified()}, "0.0.0.0 is not the address of a host"},
		{"multicast", me.link, []netip.Addr{addrOf("ff02::1")}, "ff02::1 is not the address of a host"},
		{"broadcast", me.link, []netip.Addr{addrOf("255.255.255.255")}, "255.255.255.255 is not the address of a host"},
		{"InfiniBand", Link{Index: 1, Name: "ib0", MAC: bytes.Repeat([]byte{1}, 20)}, good, "ib0 has a hardware address of 20 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := me.wire.Announce(test.link, test.addrs, always)
			asked := me.wire.Ask(t.Context(), test.link, test.addrs, nil)
			_, told := me.wire.Tell(test.link, test.addrs[0], []Target{{IP: addrOf("10.9.0.2")}}, always)
			for i, err := range []error{err, asked, told} {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%d: %v", i, err)
				}
			}
		})
	}
	t.Run("nobody on this link", func(t *testing.T) {
		for _, mac := range []net.HardwareAddr{nil, {0, 0, 0, 0, 0, 0}} {
			sent, err := me.wire.Announce(Link{Index: 1, Name: "lo", MAC: mac}, good, always)
			if asked := me.wire.Ask(t.Context(), Link{Index: 1, Name: "lo", MAC: mac}, good, nil); sent != 0 || err != nil || asked != nil {
				t.Error(sent, err, asked)
			}
		}
	})
	t.Run("an address in the notation of the other family", func(t *testing.T) {
		if sent, err := me.wire.Announce(me.link, []netip.Addr{addrOf("::ffff:10.9.0.100")}, always); sent != 1 || err != nil {
			t.Error(sent, err)
		}
	})
	t.Run("an IPv6 address that is not plumbed", func(t *testing.T) {
		sent, err := me.wire.Announce(me.link, []netip.Addr{addrOf("fd00:9::77"), addrOf("fd00:9::78"), addrOf("fd00:9::1")}, always)
		if sent != 1 || !errors.Is(err, ErrNotPlumbed) || !strings.Contains(err.Error(), "fd00:9::77 on eth0") || !strings.Contains(err.Error(), "1 more") {
			t.Error(sent, err)
		}
	})
}

// manyV4 is n addresses of 10.9.0.0/16, from 10.9.4.0 on.
func manyV4(n int) []netip.Addr {
	addrs := make([]netip.Addr, n)
	for i := range addrs {
		addrs[i] = addrOf(fmt.Sprintf("10.9.%d.%d", 4+i/256, i%256))
	}
	return addrs
}

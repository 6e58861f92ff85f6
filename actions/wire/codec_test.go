package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

var (
	mac1 = net.HardwareAddr{0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0x01}
	mac2 = net.HardwareAddr{0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0x02}
)

// unhex reads bytes as written in the tables below.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAppend(t *testing.T) {
	v4, v6 := addrOf("192.0.2.10"), addrOf("2001:db8::a:b0c0")
	for _, test := range []struct {
		name string
		got  []byte
		want string
	}{
		{
			"gratuitous request", AppendGratuitousRequest(nil, mac1, v4),
			"0001 0800 06 04 0001 02aabbccdd01 c000020a 000000000000 c000020a",
		},
		{
			"gratuitous reply", AppendGratuitousReply(nil, mac1, v4),
			"0001 0800 06 04 0002 02aabbccdd01 c000020a 02aabbccdd01 c000020a",
		},
		{
			"probe", AppendProbe(nil, mac1, v4),
			"0001 0800 06 04 0001 02aabbccdd01 00000000 000000000000 c000020a",
		},
		{
			"request", AppendRequest(nil, mac1, v4, addrOf("192.0.2.1")),
			"0001 0800 06 04 0001 02aabbccdd01 c000020a 000000000000 c0000201",
		},
		{
			"advertisement", AppendAdvert(nil, mac1, v6),
			"88 00 0000 20 000000 20010db800000000 00000000000ab0c0 02 01 02aabbccdd01",
		},
		{
			"solicitation", AppendSolicit(nil, mac1, v6),
			"87 00 0000 00 000000 20010db800000000 00000000000ab0c0 01 01 02aabbccdd01",
		},
		{
			"probing solicitation", AppendSolicit(nil, nil, v6),
			"87 00 0000 00 000000 20010db800000000 00000000000ab0c0",
		},
		{
			"probe in its packet", AppendIPv6(nil, netip.IPv6Unspecified(), solicitedNode(v6), AppendSolicit(nil, nil, v6)),
			"60000000 0018 3a ff 00000000000000000000000000000000 ff0200000000000000000001ff0ab0c0" +
				"87 00 eb59 00 000000 20010db800000000 00000000000ab0c0",
		},
		{
			"appended to what was there", AppendProbe([]byte{0xfe}, mac1, v4),
			"fe 0001 0800 06 04 0001 02aabbccdd01 00000000 000000000000 c000020a",
		},
	} {
		if want := unhex(t, test.want); !bytes.Equal(test.got, want) {
			t.Errorf("%s:\n got %x\nwant %x", test.name, test.got, want)
		}
	}
	if got := multicastMAC(solicitedNode(v6)).String(); got != "33:33:ff:0a:b0:c0" {
		t.Error(got)
	}
}

func TestParseARP(t *testing.T) {
	for _, test := range []struct {
		name, bytes string
		want        ARP
		err         string
	}{
		{
			"a reply", "0001 0800 06 04 0002 02aabbccdd02 c0000201 02aabbccdd01 c000020a",
			ARP{Reply: true, SenderMAC: mac2, SenderIP: addrOf("192.0.2.1"), TargetMAC: mac1, TargetIP: addrOf("192.0.2.10")},
			"",
		},
		{
			"with padding", "0001 0800 06 04 0001 02aabbccdd02 00000000 000000000000 c000020a 000000000000000000000000000000000000",
			ARP{SenderMAC: mac2, SenderIP: netip.IPv4Unspecified(), TargetMAC: make(net.HardwareAddr, 6), TargetIP: addrOf("192.0.2.10")},
			"",
		},
		{"nothing", "", ARP{}, "malformed ARP packet: 0 bytes, want 28"},
		{"cut", "0001 0800 06 04 0002 02aabbccdd02 c0000201 02aabbccdd01 c00002", ARP{}, "27 bytes"},
		{"token ring", "0006 0800 06 04 0002 02aabbccdd02 c0000201 02aabbccdd01 c000020a", ARP{}, "not IPv4 over Ethernet"},
		{"not IPv4", "0001 86dd 06 04 0002 02aabbccdd02 c0000201 02aabbccdd01 c000020a", ARP{}, "not IPv4 over Ethernet"},
		{"hardware length", "0001 0800 08 04 0002 02aabbccdd02 c0000201 02aabbccdd01 c000020a", ARP{}, "not IPv4 over Ethernet"},
		{"protocol length", "0001 0800 06 10 0002 02aabbccdd02 c0000201 02aabbccdd01 c000020a", ARP{}, "not IPv4 over Ethernet"},
		{"reverse ARP", "0001 0800 06 04 0003 02aabbccdd02 c0000201 02aabbccdd01 c000020a", ARP{}, "operation 3"},
	} {
		got, err := ParseARP(unhex(t, test.bytes))
		if !reflect.DeepEqual(got, test.want) || !says(err, test.err) {
			t.Errorf("%s: %+v, %v", test.name, got, err)
		}
	}
}

// says: no error where none is wanted, else a malformed frame with those words.
func says(err error, words string) bool {
	if words == "" {
		return err == nil
	}
	return errors.Is(err, errFrame) && strings.Contains(err.Error(), words)
}

func TestParseND(t *testing.T) {
	from, target, all := addrOf("fe80::1"), addrOf("2001:db8::5"), addrOf("ff02::1")
	head := func(length, rest string) string {
		return "60000000" + length + rest + "fe800000000000000000000000000001 ff020000000000000000000000000001"
	}
	const body = "20010db8000000000000000000000005"
	for _, test := range []struct {
		name, bytes string
		want        ND
		err         string
	}{
		{
			"an advertisement", head("0020", "3aff") + "8800 0ee6 a0000000" + body + "0201 02aabbccdd02",
			ND{Advert: true, Source: from, Destination: all, Target: target, MAC: mac2, Router: true, Override: true},
			"",
		},
		{
			"with padding", head("0018", "3aff") + "8800 2c69 20000000" + body + "ffffffff",
			ND{Advert: true, Source: from, Destination: all, Target: target, Override: true},
			"",
		},
		{"a checksum of another", head("0020", "3aff") + "8800 0ee7 a0000000" + body + "0201 02aabbccdd02", ND{}, "wrong checksum"},
		{"through a router", head("0020", "3afe") + "8800 0ee6 a0000000" + body + "0201 02aabbccdd02", ND{}, "hop limit 254"},
		{"UDP", head("0020", "11ff") + "8800 0ee6 a0000000" + body + "0201 02aabbccdd02", ND{}, "not ICMPv6"},
		{"IPv4", "45000000" + head("0020", "3aff")[8:] + "8800 0ee6 a0000000" + body + "0201 02aabbccdd02", ND{}, "not ICMPv6"},
		{"cut", head("0020", "3aff") + "8800 0ee6 a0000000" + body, ND{}, "length 32 of 24"},
		{"too short a length", head("0010", "3aff") + "8800 0ee6 a0000000" + body, ND{}, "length 16"},
		{"nothing", "", ND{}, "too short"},
	} {
		got, err := ParseND(unhex(t, test.bytes))
		if !reflect.DeepEqual(got, test.want) || !says(err, test.err) {
			t.Errorf("%s: %+v, %v", test.name, got, err)
		}
	}
}

// What the checksum does not catch: packets that no honest host sends.
func TestParseNDOfOddPackets(t *testing.T) {
	target, all := addrOf("2001:db8::5"), addrOf("ff02::1")
	advert := AppendAdvert(nil, mac1, target)
	change := func(b []byte, at int, to byte) []byte {
		b = bytes.Clone(b)
		b[at] = to
		return b
	}
	for _, test := range []struct {
		name     string
		from, to netip.Addr
		message  []byte
		err      string
	}{
		{"as it should be", target, all, advert, ""},
		{"another option first", target, all, append(advert[:ndLen:ndLen], 14, 1, 1, 2, 3, 4, 5, 6, 2, 1, 2, 0, 0, 0, 0, 9), ""},
		{"router advertisement", target, all, change(advert, 0, 134), "type 134"},
		{"a code", target, all, change(advert, 1, 1), "code 1"},
		{"multicast target", target, all, change(advert, 8, 0xff), "target ff01:"},
		{"solicited, to all", target, all, change(advert, 4, flagSolicited), "solicited advertisement"},
		{"option of no length", target, all, change(advert, ndLen+1, 0), "option"},
		{"option beyond the end", target, all, change(advert, ndLen+1, 2), "option"},
		{"half an option", target, all, append(bytes.Clone(advert), 2), "option"},
		{"probe with an option", netip.IPv6Unspecified(), solicitedNode(target), AppendSolicit(nil, mac1, target), "from ::"},
		{"probe to all", netip.IPv6Unspecified(), all, AppendSolicit(nil, nil, target), "from ::"},
		{"probe", netip.IPv6Unspecified(), solicitedNode(target), AppendSolicit(nil, nil, target), ""},
	} {
		got, err := ParseND(AppendIPv6(nil, test.from, test.to, test.message))
		if !says(err, test.err) || err != nil && !reflect.DeepEqual(got, ND{}) {
			t.Errorf("%s: %+v, %v", test.name, got, err)
		}
	}
}

func FuzzParseARP(f *testing.F) {
	v4 := addrOf("192.0.2.10")
	f.Add(AppendGratuitousReply(nil, mac1, v4))
	f.Add(AppendProbe(nil, mac1, v4))
	f.Add([]byte{0, 1, 8, 0, 6, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		arp, err := ParseARP(b)
		if err != nil {
			if !errors.Is(err, errFrame) {
				t.Fatal(err)
			}
			return
		}
		op := byte(opRequest)
		if arp.Reply {
			op = opReply
		}
		// Every byte of what is accepted is accounted for.
		if again := appendARP(nil, op, arp.SenderMAC, arp.SenderIP, arp.TargetMAC, arp.TargetIP); !bytes.Equal(again, b[:arpLen]) {
			t.Fatalf("%x read as %+v, written as %x", b, arp, again)
		}
	})
}

func FuzzParseND(f *testing.F) {
	v6 := addrOf("2001:db8::5")
	f.Add(AppendIPv6(nil, v6, allNodes, AppendAdvert(nil, mac1, v6)))
	f.Add(AppendIPv6(nil, netip.IPv6Unspecified(), solicitedNode(v6), AppendSolicit(nil, nil, v6)))
	f.Add(AppendIPv6(nil, v6, allNodes, append(AppendAdvert(nil, mac1, v6), 1, 0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		mend(b)
		nd, err := ParseND(b)
		if err != nil {
			if !errors.Is(err, errFrame) {
				t.Fatal(err)
			}
			return
		}
		if nd.Target.IsMulticast() || nd.MAC != nil && len(nd.MAC) != macLen {
			t.Fatalf("%+v", nd)
		}
		// Nothing that was changed on the way is accepted (but for bits outside the
		// checksum: class, flow, and padding).
		for at := 8; at < ipv6Header+ndLen; at++ {
			changed := bytes.Clone(b)
			changed[at] ^= 0x01
			if _, err := ParseND(changed); err == nil {
				t.Fatalf("a change of byte %d went unseen", at)
			}
		}
	})
}

// mend gives b the right length and checksum if it could be a packet: random
// bytes would never get past them.
func mend(b []byte) {
	if len(b) < ipv6Header+ndLen {
		return
	}
	b[0], b[6], b[7] = 0x60, icmpv6, hopLimit
	b[4], b[5] = byte((len(b)-ipv6Header)>>8), byte(len(b)-ipv6Header)
	copy(b, AppendIPv6(nil, netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])), b[ipv6Header:]))
}

package watch

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

var (
	hostMAC = net.HardwareAddr{2, 0xf1, 0x1b, 0, 0, 11}
	me      = source{
		mac: net.HardwareAddr{2, 0xf1, 0x1b, 0, 0, 0xfe}, port: 7007,
		ip4: netip.MustParseAddr("10.77.0.254"), ip6: netip.MustParseAddr("fd77::fe"),
	}
	vip6 = netip.MustParseAddr("fd77::1:9")
)

func bytesOf(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The checksums were computed by another program.
func TestQuestions(t *testing.T) {
	for name, tc := range map[string]struct {
		got  []byte
		want string
	}{
		"arp": {arpQuestion(me, vip), `ffffffffffff 02f11b0000fe 0806 0001 0800 06 04 0001
			02f11b0000fe 0a4d00fe 000000000000 0a4d0101`},
		"nd": {ndQuestion(me, vip6), `3333ff010009 02f11b0000fe 86dd 60000000 0020 3a ff
			fd7700000000000000000000000000fe ff0200000000000000000001ff010009
			87 00 5eae 00000000 fd770000000000000000000000010009 01 01 02f11b0000fe`},
		"udp4": {udpQuestion(me, hostMAC, vip, 7007, []byte{1}), `02f11b00000b 02f11b0000fe 0800
			45 00 001d 0000 4000 40 11 2438 0a4d00fe 0a4d0101 1b5f 1b5f 0009 0000 01`},
		"udp6": {udpQuestion(me, hostMAC, vip6, 7007, []byte{1}), `02f11b00000b 02f11b0000fe 86dd 60000000 0009 11 40
			fd7700000000000000000000000000fe fd770000000000000000000000010009 1b5f 1b5f 0009 cc26 01`},
	} {
		if want := bytesOf(t, tc.want); !bytes.Equal(tc.got, want) {
			t.Errorf("%s:\n%x, want\n%x", name, tc.got, want)
		}
	}
}

func TestParse(t *testing.T) {
	toMe, toAll := "02f11b0000fe", "ffffffffffff"
	filter, err := bpf.NewVM(wanted(me.mac))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, frame string
		want        sign
	}{
		{"an ARP answer", toMe + "02f11b00000b 0806 0001080006040002 02f11b00000b 0a4d0101 02f11b0000fe 0a4d00fe", sign{vip, "02:f1:1b:00:00:0b", ARP}},
		{"a gratuitous ARP", toAll + "02f11b00000b 0806 0001080006040001 02f11b00000b 0a4d0101 000000000000 0a4d0101", sign{vip, "02:f1:1b:00:00:0b", Announce}},
		{"an ARP probe", toAll + "02f11b00000b 0806 0001080006040001 02f11b00000b 00000000 000000000000 0a4d0101", sign{}},
		{"my own question", toAll + "02f11b0000fe 0806 0001080006040001 02f11b0000fe 0a4d00fe 000000000000 0a4d0101", sign{}},
		{"an answer by UDP", toMe + "02f11b00000b 0800 4500001d00004000401122180a4d01010a4d00fe 1b5f1b5f0009000001", sign{vip, "02:f1:1b:00:00:0b", UDP}},
		{"UDP to another host", "02f11b00000c 02f11b00000b 0800 4500001d00004000401122180a4d01010a4d00fe 1b5f1b5f0009000001", sign{}},
		{
			"an NA with the address of another", toMe + `02f11b00000b 86dd 60000000 0020 3a ff fd770000000000000000000000010009 fd7700000000000000000000000000fe
				88 00 0000 60000000 fd770000000000000000000000010009 02 01 02f11b00000c`, sign{vip6, "02:f1:1b:00:00:0c", ND},
		},
		{
			"an NA to all without the option", `333300000001 02f11b00000b 86dd 60000000 0018 3a ff fd770000000000000000000000010009 ff020000000000000000000000000001
				88 00 0000 20000000 fd770000000000000000000000010009`, sign{vip6, "02:f1:1b:00:00:0b", Announce},
		},
		{"a solicitation", `3333ff010009 02f11b00000b 86dd 60000000 0018 3a ff fd77000000000000000000000000000b ff0200000000000000000001ff010009
				87 00 0000 00000000 fd770000000000000000000000010009`, sign{}},
		{"nothing", "", sign{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			frame := bytesOf(t, tc.frame)
			got, ok := parse(frame, me.mac)
			if got != tc.want || ok != (tc.want != sign{}) {
				t.Errorf("%+v, %v; want %+v", got, ok, tc.want)
			}
			if n, err := filter.Run(frame); err != nil || ok && n < len(frame) {
				t.Errorf("the filter lets %d bytes of %d pass: %v", n, len(frame), err)
			}
			for n := range frame {
				parse(frame[:n], me.mac) // must not panic
			}
		})
	}
}

// What the hosts send each other and the prober never wakes the watcher.
func TestFilterDrops(t *testing.T) {
	filter, err := bpf.NewVM(wanted(me.mac))
	if err != nil {
		t.Fatal(err)
	}
	other := net.HardwareAddr{2, 0xf1, 0x1b, 0, 0, 12}
	for name, frame := range map[string][]byte{
		"udp4": udpQuestion(me, other, vip, 7007, []byte{1}),
		"udp6": udpQuestion(me, other, vip6, 7007, []byte{1}),
	} {
		if n, err := filter.Run(frame); n != 0 || err != nil {
			t.Errorf("%s: %d bytes pass: %v", name, n, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(arpQuestion(me, vip))
	f.Add(ndQuestion(me, vip6))
	f.Add(udpQuestion(me, hostMAC, vip, 7007, []byte{1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, ok := parse(b, me.mac); ok != s.addr.IsValid() {
			t.Errorf("%+v, %v", s, ok)
		}
	})
}

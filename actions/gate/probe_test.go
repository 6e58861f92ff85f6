package gate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// probe is a way to ask for an address, over a socket of the peer's.
type probe struct {
	name          string
	gated, beside netip.Addr
	fd            int
	at            time.Time                                // when what was received last had come in, by the kernel's clock
	to            func(netip.Addr) (unix.Sockaddr, []byte) // what asks for it
	from          func([]byte, unix.Sockaddr) (netip.Addr, bool)
}

// probes gives every way to ask. They last as long as the test.
func (w *world) probes() []*probe {
	w.t.Helper()
	all := []*probe{
		w.arp(), w.echo4(), w.echo6(), w.neighbour(),
		w.udp("UDP of IPv4", gated4, control4, echoPort), w.udp("UDP of IPv6", gated6, control6, echoPort),
	}
	for _, p := range all {
		p.settle(w.t)
	}
	return all
}

// settle waits until the control answers: a new link is not ready at once.
func (p *probe) settle(t testing.TB) {
	t.Helper()
	for began := time.Now(); time.Since(began) < patience; {
		p.send(t, p.beside)
		if _, ok := p.receive(t, 20*time.Millisecond); ok {
			return
		}
	}
	t.Fatalf("%s: the control never answers", p.name)
}

func (w *world) probe(name string, a, b netip.Addr, domain, kind, proto int) *probe {
	w.t.Helper()
	p := &probe{name: name, gated: a, beside: b}
	w.in(w.peer, func() {
		fd, err := unix.Socket(domain, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
		must(w.t, err)
		must(w.t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, 1))
		p.fd = fd
	})
	w.t.Cleanup(func() { _ = unix.Close(p.fd) })
	return p
}

func sockaddr(a netip.Addr, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: port}
}

func sender(from unix.Sockaddr) netip.Addr {
	switch s := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(s.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(s.Addr)
	}
	return netip.Addr{}
}

func (w *world) udp(name string, a, b netip.Addr, port int) *probe {
	domain := unix.AF_INET
	if a.Is6() {
		domain = unix.AF_INET6
	}
	p := w.probe(name, a, b, domain, unix.SOCK_DGRAM, 0)
	p.to = func(a netip.Addr) (unix.Sockaddr, []byte) { return sockaddr(a, port), []byte("there?") }
	p.from = func(_ []byte, s unix.Sockaddr) (netip.Addr, bool) { return sender(s), true }
	return p
}

func (w *world) echo4() *probe {
	p := w.probe("ICMP", gated4, control4, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
	p.to = func(a netip.Addr) (unix.Sockaddr, []byte) {
		return sockaddr(a, 0), []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0} // echo request, its checksum
	}
	p.from = func(b []byte, s unix.Sockaddr) (netip.Addr, bool) {
		return sender(s), len(b) > 20 && b[20] == 0
	}
	return p
}

func (w *world) echo6() *probe {
	p := w.probe("ICMPv6", gated6, control6, unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6)
	p.to = func(a netip.Addr) (unix.Sockaddr, []byte) {
		return sockaddr(a, 0), []byte{128, 0, 0, 0, 0, 1, 0, 1} // the kernel makes the checksum
	}
	p.from = func(b []byte, s unix.Sockaddr) (netip.Addr, bool) { return sender(s), len(b) > 0 && b[0] == 129 }
	return p
}

// neighbour solicits by ND: the answer names the address in its target field.
func (w *world) neighbour() *probe {
	p := w.probe("ND", gated6, control6, unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6)
	must(w.t, unix.SetsockoptInt(p.fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255))
	must(w.t, unix.SetsockoptInt(p.fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, w.peerIndex))
	must(w.t, unix.Bind(p.fd, sockaddr(netip.MustParseAddr("fd09::9"), 0)))
	p.to = func(a netip.Addr) (unix.Sockaddr, []byte) {
		b := append([]byte{ndSolicitation, 0, 0, 0, 0, 0, 0, 0}, a.AsSlice()...)
		b = append(append(b, 1, 1), w.peerMAC...) // source link-layer address
		group := netip.MustParseAddr("ff02::1:ff00:0").As16()
		copy(group[13:], a.AsSlice()[13:])
		return &unix.SockaddrInet6{Addr: group, ZoneId: uint32(w.peerIndex)}, b
	}
	p.from = func(b []byte, _ unix.Sockaddr) (netip.Addr, bool) {
		if len(b) < 24 || b[0] != ndAdvertisement {
			return netip.Addr{}, false
		}
		return netip.AddrFrom16([16]byte(b[8:24])), true
	}
	return p
}

func (w *world) arp() *probe {
	p := w.probe("ARP", gated4, control4, unix.AF_PACKET, unix.SOCK_DGRAM, int(big16(unix.ETH_P_ARP)))
	must(w.t, unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: big16(unix.ETH_P_ARP), Ifindex: w.peerIndex}))
	p.to = func(a netip.Addr) (unix.Sockaddr, []byte) {
		b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
		b = append(append(b, w.peerMAC...), 10, 9, 0, 9)
		b = append(append(b, 0, 0, 0, 0, 0, 0), a.AsSlice()...)
		to := &unix.SockaddrLinklayer{Protocol: big16(unix.ETH_P_ARP), Ifindex: w.peerIndex, Halen: 6}
		copy(to.Addr[:], bytes.Repeat([]byte{0xff}, 6))
		return to, b
	}
	p.from = func(b []byte, _ unix.Sockaddr) (netip.Addr, bool) {
		if len(b) < 28 || b[7] != 2 || !bytes.Equal(b[8:14], w.hostMAC) {
			return netip.Addr{}, false
		}
		return netip.AddrFrom4([4]byte(b[14:18])), true
	}
	return p
}

func big16(v uint16) uint16 { return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v)) }

// patience is how long an answer that must come may take.
const patience = 5 * time.Second

func (p *probe) send(t testing.TB, a netip.Addr) {
	t.Helper()
	to, b := p.to(a)
	must(t, unix.Sendto(p.fd, b, 0, to))
}

// receive gives the next answer within some time.
func (p *probe) receive(t testing.TB, within time.Duration) (netip.Addr, bool) {
	t.Helper()
	var b [1500]byte
	var oob [64]byte
	until := time.Now().Add(within)
	for {
		n, m, _, from, err := unix.Recvmsg(p.fd, b[:], oob[:], 0)
		if err == nil {
			if m >= unix.CmsgLen(16) { // struct __kernel_timespec, behind its header
				stamp := oob[unix.CmsgLen(0):]
				p.at = time.Unix(int64(binary.NativeEndian.Uint64(stamp)), int64(binary.NativeEndian.Uint64(stamp[8:])))
			}
			if a, ok := p.from(b[:n], from); ok {
				return a, true
			}
			continue
		}
		left := time.Until(until)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
		if left <= 0 {
			return netip.Addr{}, false
		}
		ts := unix.NsecToTimespec(int64(left))
		_, err = unix.Ppoll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, &ts, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
	}
}

// answers says whether anybody answers for the gated address. The control is
// asked after it and must answer: what the gated address had to say would have
// come before.
func (p *probe) answers(t testing.TB) bool {
	t.Helper()
	for { // what is left of the last time
		if _, ok := p.receive(t, 0); !ok {
			break
		}
	}
	p.send(t, p.gated)
	p.send(t, p.beside)
	answered := false
	for {
		a, ok := p.receive(t, patience)
		if !ok {
			t.Fatalf("%s: the control does not answer", p.name)
		}
		if a == p.gated {
			answered = true
		}
		if a == p.beside {
			return answered
		}
	}
}

// expect asks by every probe.
func expect(t testing.TB, when string, probes []*probe, answered bool) {
	t.Helper()
	for _, p := range probes {
		if got := p.answers(t); got != answered {
			t.Errorf("%s: %s answers: %t", when, p.name, got)
		}
	}
}

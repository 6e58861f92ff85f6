package wire

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

// BenchmarkAnnounce prints what one round costs, and what a thousand addresses
// cost in relation to one. Frames over veth are handled by the receiving hosts in
// the sender's own time: "alone" is a link whose other end drops them, so what a
// send itself costs; "lan" has a bridge and a host that takes each one to heart.
func BenchmarkAnnounce(b *testing.B) {
	lan := newLAN(b, 2)
	me := lan[0]
	me.ip(b, "link add name alone type veth peer name drops")
	me.ip(b, "link set drops arp off up")
	me.ip(b, "link set alone addrgenmode none up")
	alone := me.link
	me.run(b, func() error {
		found, err := net.InterfaceByName("alone")
		if err == nil {
			alone.Index, alone.Name, alone.MAC = found.Index, found.Name, found.HardwareAddr
		}
		return err
	})
	// Plumbing is not what is measured: a hundred IPv6 addresses, ten times each.
	v6 := make([]netip.Addr, 1000)
	for i := range v6 {
		v6[i] = addrOf(fmt.Sprintf("fd00:9::1:%x", i%100))
		if i < 100 {
			me.ip(b, "addr add "+v6[i].String()+"/128 dev eth0 nodad")
			me.ip(b, "addr add "+v6[i].String()+"/128 dev alone nodad")
		}
	}
	for _, link := range []struct {
		name string
		Link
	}{{"alone", alone}, {"lan", me.link}} {
		benchmarkRounds(b, me.wire, link.name+"/IPv4", link.Link, manyV4(1000))
		benchmarkRounds(b, me.wire, link.name+"/IPv6", link.Link, v6)
	}
}

func benchmarkRounds(b *testing.B, w *Wire, name string, l Link, addrs []netip.Addr) {
	var one float64
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
			b.ReportAllocs()
			best := time.Hour // what a round costs when nobody else wants the processor
			for b.Loop() {
				start := time.Now()
				if sent, err := w.Announce(l, addrs[:n], always); sent != n || err != nil {
					b.Fatal(sent, err)
				}
				best = min(best, time.Since(start))
			}
			cost := float64(best.Nanoseconds())
			b.ReportMetric(cost/1e3/float64(n*Frames(addrs[0])), "best-us/frame")
			if n == 1 {
				one = cost
			} else {
				b.ReportMetric(cost/one, "times-one")
			}
		})
	}
}

// BenchmarkAsk prints how long the first answer takes, and how long it takes to
// hear of all of a thousand asked.
func BenchmarkAsk(b *testing.B) {
	lan := newLAN(b, 2)
	me, other := lan[0], lan[1]
	other.ip(b, "addr add 10.9.250.1/32 dev eth0")
	for _, addr := range []string{"10.9.0.2", "fd00:9::2"} {
		b.Run(addr, func(b *testing.B) {
			var sum time.Duration
			for b.Loop() {
				start := time.Now()
				asking := me.ask(b, addrOf(addr))
				asking.next()
				sum += time.Since(start)
				asking.end()
			}
			b.ReportMetric(float64(sum.Microseconds())/float64(b.N), "us/answer")
		})
	}
	b.Run("last-of-1000", func(b *testing.B) {
		addrs := append(manyV4(999), addrOf("10.9.250.1"))
		for b.Loop() {
			asking := me.ask(b, addrs...)
			asking.next()
			asking.end()
		}
	})
}

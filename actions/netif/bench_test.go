package netif

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// many are n addresses of one family.
func many(link, n int, v6 bool) []Address {
	all := make([]Address, n)
	for i := range all {
		bits := 32
		raw := binary.BigEndian.AppendUint32(nil, 10<<24|uint32(i+1))
		if v6 {
			raw = binary.BigEndian.AppendUint32(append([]byte{0x20, 1, 0xd, 0xb8}, make([]byte, 8)...), uint32(i+1))
			bits = 128
		}
		a, _ := netip.AddrFromSlice(raw)
		all[i] = Address{Link: link, Prefix: netip.PrefixFrom(a, bits), Mark: AtMostOne, Valid: time.Minute}
	}
	return all
}

// BenchmarkAddresses takes the time to add, refresh and remove addresses at
// once, and prints it per address as a ratio to a single one's.
func BenchmarkAddresses(b *testing.B) {
	one := map[string]float64{}
	for _, v6 := range []bool{false, true} {
		family := map[bool]string{false: "4", true: "6"}[v6]
		for _, size := range []int{1, 100, 1000} {
			b.Run(fmt.Sprintf("ipv%s/%d", family, size), func(b *testing.B) {
				namespace(b)
				n := running(b)
				all := many(index(b, n, "va"), size, v6)
				took := map[string]time.Duration{}
				step := func(name string, do func([]Address) []error) {
					start := time.Now()
					errs := do(all)
					took[name] += time.Since(start)
					fine(b, errs)
				}
				fine(b, n.Add(all[:1])) // finds out about the kernel
				fine(b, n.Remove(all[:1]))
				for b.Loop() {
					step("add", n.Add)
					step("refresh", n.Add)
					step("remove", n.Remove)
				}
				for name, d := range took {
					us := float64(d.Microseconds()) / float64(b.N)
					if size == 1 {
						one[family+name] = us
					}
					b.ReportMetric(us, "us-"+name)
					b.ReportMetric(us/float64(size)/one[family+name], "ratio-"+name)
				}
			})
		}
	}
}

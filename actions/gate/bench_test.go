package gate

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/rs/zerolog"
)

// BenchmarkRenew is both transactions of a renewal, and of a shutting and
// opening; beside it the same two transactions by google/nftables.
func BenchmarkRenew(b *testing.B) {
	long := func() (time.Duration, bool) { return time.Minute, true }
	var raw float64
	b.Run("flip", func(b *testing.B) {
		lonely(b)
		g := newGate(b, Config{Name: "flip-test"}, options{}, gated...)
		lapsed := 0
		took := make([]time.Duration, 0, b.N)
		for b.Loop() {
			if err := g.Renew(long); err != nil { // held up by others on this machine
				lapsed++
				continue
			}
			took = append(took, g.stats.Last)
		}
		raw = tell(b, took)
		b.ReportMetric(float64(lapsed), "refused")
	})
	b.Run("library", func(b *testing.B) {
		lonely(b)
		must(b, newGate(b, Config{Name: "flip-test"}, options{unowned: true}, gated...).Close())
		c := stranger(b)
		fuse, inet, arp := setOf(b, c, nftables.TableFamilyINet, setFuse), setOf(b, c, nftables.TableFamilyINet, setLease), setOf(b, c, nftables.TableFamilyARP, setLease)
		of := func(keys ...byte) (all []nftables.SetElement) {
			for _, k := range keys {
				all = append(all, nftables.SetElement{Key: []byte{k}, Timeout: time.Minute})
			}
			return all
		}
		f := []nftables.SetElement{{Key: fuseKey(1), Timeout: time.Minute}}
		must(b, c.SetAddElements(inet, of(2, 10)))
		must(b, c.SetAddElements(arp, of(3)))
		must(b, c.Flush())
		took := make([]time.Duration, 0, b.N)
		for b.Loop() {
			began := time.Now()
			must(b, c.SetAddElements(fuse, f))
			must(b, c.Flush())
			must(b, c.SetDeleteElements(fuse, f))
			must(b, c.SetDeleteElements(inet, of(2, 10)))
			must(b, c.SetDeleteElements(arp, of(3)))
			must(b, c.SetAddElements(inet, of(2, 10)))
			must(b, c.SetAddElements(arp, of(3)))
			must(b, c.Flush())
			took = append(took, time.Since(began))
		}
		if slow := tell(b, took); raw > 0 {
			b.ReportMetric(slow/raw, "x-of-flip")
		}
	})
}

// tell reports the median and the 99th of a hundred, in microseconds.
func tell(b *testing.B, took []time.Duration) float64 {
	b.Helper()
	slices.Sort(took)
	median := float64(took[len(took)/2].Nanoseconds()) / 1000
	b.ReportMetric(median, "us-median")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1000, "us-p99")
	return median
}

// BenchmarkBuild is the building of both tables with their addresses, read back:
// where there are none, and in the place of a dead daemon's.
func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{1, 100, 1000, 10_000} {
		for _, over := range []string{"nothing", "old ones"} {
			b.Run(fmt.Sprintf("%d over %s", n, over), func(b *testing.B) {
				lonely(b)
				all := addresses(n, false)
				took := make([]time.Duration, 0, b.N)
				for b.Loop() {
					began := time.Now()
					g, err := Open(Config{Name: "flip-test", Log: zerolog.Nop()}, all)
					must(b, err)
					took = append(took, time.Since(began))
					if over == "nothing" {
						must(b, g.Dismantle())
					}
					must(b, g.Close())
				}
				tell(b, took)
			})
		}
	}
}

// BenchmarkAdd is one address more among many, read back, and out again.
func BenchmarkAdd(b *testing.B) {
	for _, n := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("to %d", n), func(b *testing.B) {
			lonely(b)
			g := newGate(b, Config{Name: "flip-test"}, options{}, addresses(n, false)...)
			one := []netip.Addr{gated4}
			adds := make([]time.Duration, 0, b.N)
			for b.Loop() {
				began := time.Now()
				must(b, g.Add(one))
				adds = append(adds, time.Since(began))
				must(b, g.Remove(one))
			}
			tell(b, adds)
		})
	}
}

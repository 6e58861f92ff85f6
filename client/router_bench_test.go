package client

import (
	"fmt"
	"testing"

	"github.com/flip-ha/flip/fsm"
)

func BenchmarkRouter(b *testing.B) {
	for _, items := range []int{512, 100_000} {
		spec := townSpec(5, items, 512)
		n := settle(b, spec)
		n.open()
		for system, keys := range map[fsm.SystemID][]string{"ring": {"user:42", "order:4711"}, "data": {"i0000001", "i0000500"}} {
			r := n.router(system)
			<-r.Ready()
			b.Run(fmt.Sprintf("%s/%d", system, items), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, err := r.Owners(keys[i%2]); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lookups/s")
			})
			b.Run(fmt.Sprintf("%s/%d/parallel", system, items), func(b *testing.B) {
				b.RunParallel(func(p *testing.PB) {
					for i := 0; p.Next(); i++ {
						if _, err := r.Owners(keys[i%2]); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lookups/s")
			})
		}
	}
}

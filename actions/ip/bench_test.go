package ip

import (
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// BenchmarkTakeover acquires one item and a thousand at the same time, on real
// interfaces and without asking first, and prints what each costs.
func BenchmarkTakeover(b *testing.B) {
	quietly := func(of func(int) fsm.Job) func(int) fsm.Job {
		return func(i int) fsm.Job {
			job := of(i)
			job.IP = noProbe
			return job
		}
	}
	for _, family := range []struct {
		name string
		job  func(int) fsm.Job
	}{{"IPv4", quietly(four)}, {"IPv6", quietly(six)}} {
		b.Run(family.name, func(b *testing.B) {
			n := newNode(newLAN(b, 2)[0])
			var one, many, gone time.Duration
			rounds := 0
			for b.Loop() {
				one += thousand(b, n, 1, "acquire", family.job, false)
				thousand(b, n, 1, "release", family.job, true)
				many += thousand(b, n, 1000, "acquire", family.job, false)
				gone += thousand(b, n, 1000, "release", family.job, true)
				rounds++
			}
			ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(rounds) }
			b.ReportMetric(0, "ns/op") // the sum of all says nothing
			b.ReportMetric(ms(one), "ms/1")
			b.ReportMetric(ms(many), "ms/1000")
			b.ReportMetric(ms(gone), "ms/1000-released")
			b.ReportMetric(float64(many)/float64(one), "1000-over-1")
		})
	}
}

// BenchmarkUnfit is asked for each slot at each decision, under the executor's
// lock.
func BenchmarkUnfit(b *testing.B) {
	w := newWorld(b)
	jobs := make([]fsm.Job, 1000)
	for i := range jobs {
		jobs[i] = four(i)
		jobs[i].Interface = "eth0"
	}
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		if words := w.d.Unfit(&jobs[i%len(jobs)]); words != "" {
			b.Fatal(words)
		}
	}
}

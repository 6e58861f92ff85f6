package watch

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/flip-ha/flip/e2e/mono"
)

// Answer is one sign that a host has an address.
type Answer struct {
	At     mono.Time
	Addr   netip.Addr
	MAC    string
	Method Method
}

// Runs makes runs of answers; the zero value is ready.
type Runs struct {
	open map[holding]*Run
	done []Run
}

type holding struct {
	addr   netip.Addr
	mac    string
	method Method
}

// Add takes an answer; those of one host come in their order.
func (r *Runs) Add(a Answer) {
	key := holding{a.Addr, a.MAC, a.Method}
	run := r.open[key]
	if run != nil && a.At.Sub(run.Last) <= runGap {
		run.Last = max(run.Last, a.At)
		run.N++
		return
	}
	if run != nil {
		r.done = append(r.done, *run)
	}
	if r.open == nil {
		r.open = map[holding]*Run{}
	}
	r.open[key] = &Run{Addr: a.Addr, MAC: a.MAC, Method: a.Method, First: a.At, Last: a.At, N: 1}
}

// All are the runs so far, by their beginnings.
func (r *Runs) All() []Run {
	out := slices.Clone(r.done)
	for _, run := range r.open {
		out = append(out, *run)
	}
	slices.SortFunc(out, func(a, b Run) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.MAC, b.MAC), cmp.Compare(a.Method, b.Method))
	})
	return out
}

// Overlap is two hosts that answered for one address at the same time.
type Overlap struct {
	Addr   netip.Addr
	A, B   string
	During Span
}

// String says it in words.
func (o Overlap) String() string {
	return fmt.Sprintf("%s and %s both answered for %s for %v", o.A, o.B, o.Addr, o.During.Len())
}

// Overlaps are all stretches longer than InFlight in which two hosts answered
// for an address, by whatever methods.
func Overlaps(runs []Run) []Overlap {
	var out []Overlap
	for _, o := range overlaps(runs) {
		if o.During.Len() > InFlight {
			out = append(out, o)
		}
	}
	return out
}

// Longest is the longest stretch in which two hosts answered for an address,
// what was in flight included.
func Longest(runs []Run, addr netip.Addr) time.Duration {
	var d time.Duration
	for _, o := range overlaps(runs) {
		if o.Addr == addr {
			d = max(d, o.During.Len())
		}
	}
	return d
}

func overlaps(runs []Run) []Overlap {
	var out []Overlap
	for addr, hosts := range held(runs) {
		macs := slices.Sorted(maps.Keys(hosts))
		for i, a := range macs {
			for _, b := range macs[i+1:] {
				for _, s := range both(hosts[a], hosts[b]) {
					out = append(out, Overlap{Addr: addr, A: a, B: b, During: s})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b Overlap) int { return cmp.Compare(a.During.From, b.During.From) })
	return out
}

// held is when each host had each address: the runs of all its methods put
// together, in order, none touching another.
func held(runs []Run) map[netip.Addr]map[string][]Span {
	out := map[netip.Addr]map[string][]Span{}
	runs = slices.Clone(runs)
	slices.SortFunc(runs, func(a, b Run) int { return cmp.Compare(a.First, b.First) })
	for _, r := range runs {
		hosts := out[r.Addr]
		if hosts == nil {
			hosts = map[string][]Span{}
			out[r.Addr] = hosts
		}
		spans := hosts[r.MAC]
		if n := len(spans); n > 0 && r.First.Sub(spans[n-1].To) <= runGap {
			spans[n-1].To = max(spans[n-1].To, r.Last)
		} else {
			spans = append(spans, Span{r.First, r.Last})
		}
		hosts[r.MAC] = spans
	}
	return out
}

// both are the stretches that two ordered lists share.
func both(a, b []Span) []Span {
	var out []Span
	for _, x := range a {
		for _, y := range b {
			if s := (Span{max(x.From, y.From), min(x.To, y.To)}); s.From < s.To {
				out = append(out, s)
			}
		}
	}
	return out
}

// LastAnswer is when a host last answered for an address before a moment; ok is
// false when it never did.
func LastAnswer(runs []Run, addr netip.Addr, mac string, before mono.Time) (at mono.Time, ok bool) {
	for _, r := range runs {
		if r.Addr == addr && r.MAC == mac && r.First < before {
			at, ok = max(at, min(r.Last, before)), true
		}
	}
	return at, ok
}

// FirstAnswer is when a host first answered for an address after a moment by
// UDP, which takes the address, the gate and a route back.
func FirstAnswer(runs []Run, addr netip.Addr, mac string, after mono.Time) (at mono.Time, ok bool) {
	for _, r := range runs {
		if r.Addr != addr || r.MAC != mac || r.Method != UDP || r.Last < after {
			continue
		}
		if t := max(r.First, after); !ok || t < at {
			at, ok = t, true
		}
	}
	return at, ok
}

// Unwatched is how long the watcher did not look between two moments.
func (r Report) Unwatched(from, to mono.Time) time.Duration {
	var sum time.Duration
	for _, p := range r.Pauses {
		if p.From < to && p.To > from {
			sum += Span{max(p.From, from), min(p.To, to)}.Len()
		}
	}
	return sum
}

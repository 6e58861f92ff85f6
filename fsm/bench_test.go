package fsm

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"
)

// sizes of the systems measured: a million items are planned for.
var sizes = []int{1_000, 1_000_000}

// large builds a State of n items on three members, once for each n.
var large = func() func(b *testing.B, n int) *driver {
	var mu sync.Mutex
	have := make(map[int]*driver)
	return func(b *testing.B, n int) *driver {
		b.Helper()
		mu.Lock()
		defer mu.Unlock()
		if have[n] == nil {
			have[n] = build(b, n)
		}
		d := *have[n]
		return &d
	}
}()

func itemKey(i int) Key { return Key{System: "one", Item: ItemID(fmt.Sprintf("item-%07d", i))} }

func build(b *testing.B, n int) *driver {
	b.Helper()
	d := &driver{t: b, s: New()}
	quick := func(c Command) {
		d.at++
		next, res, err := d.s.Apply(d.at, Encode(c))
		if err != nil || !res.Applied || len(res.Dropped) > 0 {
			b.Fatalf("%T: %v %v", c, res.Why, err)
		}
		d.s = next
	}
	spec := testSpec()
	items := make([]Item, n)
	for i := range items {
		items[i] = Item{ID: itemKey(i).Item}
	}
	on("one", only(items...))(&spec)
	quick(SetSpec{Cluster: "c1", Spec: spec})
	for _, m := range []MemberID{"a", "b", "c"} {
		quick(d.registration(m))
	}
	for from := 0; from < n; from += MaxMoves {
		var moves []Move
		for i := from; i < min(n, from+MaxMoves); i++ {
			owner := MemberID([]string{"a", "b", "c"}[i%3])
			moves = append(moves, Move{Key: itemKey(i), To: owner, Home: owner, Reason: "first placing"})
		}
		quick(Assign{Moves: moves})
	}
	return d
}

func bench(b *testing.B, run func(b *testing.B, d *driver, n int)) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := large(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			run(b, d, n)
		})
	}
}

// One move costs the same whatever the number of items.
func BenchmarkApplyMove(b *testing.B) {
	bench(b, func(b *testing.B, d *driver, n int) {
		for i := range b.N {
			k := itemKey(i % n)
			slot := d.slot(k)
			to := MemberID("a")
			if slot.Owner == to {
				to = "b"
			}
			d.at++
			s, _, err := d.s.Apply(d.at, Encode(Assign{Moves: []Move{{Key: k, Was: slot.Token, To: to}}}))
			if err != nil {
				b.Fatal(err)
			}
			d.s = s
		}
	})
}

// A Down with as many moves as one command carries.
func BenchmarkApplyDown(b *testing.B) {
	bench(b, func(b *testing.B, d *driver, n int) {
		var moves []Move
		for i := 0; i < n && len(moves) < MaxMoves; i += 3 {
			moves = append(moves, Move{Key: itemKey(i), Was: d.slot(itemKey(i)).Token, To: "b"})
		}
		raw := Encode(Down{Member: "a", Epoch: d.epoch("a"), Moves: moves})
		b.ReportMetric(float64(len(moves)), "moves")
		for range b.N {
			if _, _, err := d.s.Apply(d.at+1, raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A third of all items.
func BenchmarkSlice(b *testing.B) {
	bench(b, func(b *testing.B, d *driver, _ int) {
		for range b.N {
			if s := d.s.Slice("a", d.epoch("a"), "machine-a", d.at); len(s.Want) == 0 {
				b.Fatal("empty")
			}
		}
	})
}

func BenchmarkSetSpec(b *testing.B) {
	bench(b, func(b *testing.B, d *driver, _ int) {
		raw := Encode(SetSpec{Was: d.s.Spec().Version, Spec: *d.s.Spec()})
		b.ResetTimer()
		for range b.N {
			if _, res, err := d.s.Apply(d.at+1, raw); err != nil || !res.Applied {
				b.Fatal(res, err)
			}
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	bench(b, func(b *testing.B, d *driver, _ int) {
		for range b.N {
			if err := d.s.Write(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	bench(b, func(b *testing.B, d *driver, _ int) {
		raw := snapshot(b, d.s)
		b.ResetTimer()
		b.ReportMetric(float64(len(raw)), "bytes")
		for range b.N {
			if _, err := Read(bytes.NewReader(raw)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

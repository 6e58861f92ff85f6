package fsm

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
	"pgregory.net/rapid"
)

// diff finds exactly the keys that two maps differ in, whatever the trees look
// like, and also when it gives the descending up midway.
func TestDiffIsExact(t *testing.T) {
	key := rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 'b', 0xff}), 0, 5).Draw(t, "key"))
	})
	rapid.Check(t, func(t *rapid.T) {
		was := rapid.MapOfN(key, rapid.IntRange(0, 2), 0, 60).Draw(t, "was")
		old := iradix.New[int]()
		for k, v := range was {
			old, _, _ = old.Insert([]byte(k), v)
		}
		now, is := old, maps.Clone(was)
		for range rapid.IntRange(0, 12).Draw(t, "changes") {
			k, v := key.Draw(t, "k"), rapid.IntRange(-1, 2).Draw(t, "v")
			if v < 0 {
				now, _, _ = now.Delete([]byte(k))
				delete(is, k)
			} else {
				now, _, _ = now.Insert([]byte(k), v)
				is[k] = v
			}
		}
		if rapid.Bool().Draw(t, "unrelated") { // as after a snapshot from elsewhere
			now = iradix.New[int]()
			for k, v := range is {
				now, _, _ = now.Insert([]byte(k), v)
			}
		}
		var want []string
		for k, v := range is {
			if before, had := was[k]; !had || before != v {
				want = append(want, fmt.Sprintf("%q=%d", k, v))
			}
		}
		for k, v := range was {
			if _, has := is[k]; !has {
				want = append(want, fmt.Sprintf("%q=%d", k, v))
			}
		}
		slices.Sort(want)
		for _, left := range []int{1 << 20, rapid.IntRange(0, 10).Draw(t, "left")} {
			var got []string
			var keys [][]byte
			d := differ[int]{
				old: old.Root(), now: now.Root(), left: left, same: func(a, b int) bool { return a == b },
				yield: func(k []byte, v int) bool {
					got, keys = append(got, fmt.Sprintf("%q=%d", k, v)), append(keys, k)
					return true
				},
			}
			d.below(nil)
			if d.tired {
				d.walk()
			}
			if !slices.IsSortedFunc(keys, bytes.Compare) {
				t.Fatalf("not in order: %q", keys)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("left %d: got %q, want %q", left, got, want)
			}
		}
	})
}

func TestDiffStops(t *testing.T) {
	old, now := iradix.New[int](), iradix.New[int]()
	for i := range 500 {
		now, _, _ = now.Insert(fmt.Append(nil, i), i)
	}
	for n := range 500 {
		count := 0
		diff(old, now, func(a, b int) bool { return a == b }, func([]byte, int) bool { count++; return count <= n })
		if count != n+1 {
			t.Fatalf("stopped after %d, yielded %d", n, count)
		}
	}
}

// One slot of many: the cost does not grow with their number.
func BenchmarkChangedSlots(b *testing.B) {
	for _, size := range []int{1_000, 100_000} {
		s := New()
		txn := s.slots.Txn()
		for i := range size {
			slot := &Slot{Key: Key{System: "system", Item: ItemID(fmt.Sprintf("item-%07d", i))}}
			txn.Insert(slotKey(slot.Key), slot)
		}
		s.slots = txn.Commit()
		for _, changed := range []int{1, 4096} {
			next := *s
			txn := s.slots.Txn()
			for i := range changed {
				slot := &Slot{Key: Key{System: "system", Item: ItemID(fmt.Sprintf("item-%07d", i*7919%size))}}
				txn.Insert(slotKey(slot.Key), slot)
			}
			next.slots = txn.Commit()
			b.Run(fmt.Sprintf("%d of %d", changed, size), func(b *testing.B) {
				for b.Loop() {
					for range next.ChangedSlots(s) {
					}
				}
			})
		}
	}
}

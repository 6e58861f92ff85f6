package fsm

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The list of an owner against a map: whatever is set and dropped, in changes that
// follow on each other, and no earlier list is another afterwards.
func TestOwnedAgainstMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		key := func(n int) Key { return Key{System: "s", Item: ItemID(fmt.Sprintf("%05d", n/2)), Rank: n % 2} }
		size := rapid.SampledFrom([]int{10, 1000, 4000}).Draw(rt, "size")
		c := New().begin(1)
		want := map[Key]*Slot{}
		type image struct {
			s    *State
			want []*Slot
		}
		var images []image
		for range rapid.IntRange(1, 12).Draw(rt, "runs") {
			from, step := rapid.IntRange(0, size).Draw(rt, "from"), rapid.SampledFrom([]int{1, 1, 7, -1}).Draw(rt, "step")
			drop := rapid.Bool().Draw(rt, "drop")
			for n := range rapid.IntRange(0, size).Draw(rt, "count") {
				k := key(((from+n*step)%size + size) % size)
				old, now := want[k], &Slot{Key: k, Owner: "a"}
				if drop {
					now = nil
					delete(want, k)
				} else {
					want[k] = now
				}
				c.index(old, now)
			}
			all := make([]*Slot, 0, len(want))
			for _, slot := range want {
				all = append(all, slot)
			}
			slices.SortFunc(all, func(a, b *Slot) int { return a.Compare(b.Key) })
			s := c.end()
			images = append(images, image{s, all})
			c = s.begin(1)
		}
		for _, i := range images {
			list := i.s.ownedBy("a")
			if !slices.Equal(list.list(), i.want) || i.s.Owned("a") != len(i.want) {
				rt.Fatalf("%d slots, want %d", list.len(), len(i.want))
			}
			if list == nil {
				continue
			}
			for _, c := range list.chunks {
				if len(c.slots) == 0 || len(c.slots) > chunkMost {
					rt.Fatalf("a chunk of %d", len(c.slots))
				}
			}
		}
	})
}

func TestSlotsOwnedBy(t *testing.T) {
	d := founded(t)
	d.give("a", oneY, ipX, leastX)
	d.give("b", oneX)
	var got []Key
	for slot := range d.s.SlotsOwnedBy("a") {
		got = append(got, slot.Key)
	}
	if want := []Key{ipX, leastX, oneY}; !slices.Equal(got, want) || d.s.Owned("a") != 3 || d.s.Owned("c") != 0 {
		t.Fatalf("%v, want %v", got, want)
	}
	for range d.s.SlotsOwnedBy("a") {
		break
	}
}

package placement

import (
	"fmt"
	"hash/fnv"
	"testing"

	"github.com/flip-ha/flip/fsm"
)

// BenchmarkMovement compares how evenly four rules divide items, and what they move,
// when the first, the middle or the last of so many members is lost and returns:
// flip's, rendezvous hashing (the lowest score of member and item, as raft_fleet ranks
// those of one zone), jump hashing over sorted names (libring's ring), and the formula
// that Flip used. Of each: the most against the mean when all are there and after the
// loss, the largest difference then, and, of all items, the share that moved beyond
// what had to: at a loss what the lost member had; at its return what it had before.
func BenchmarkMovement(b *testing.B) {
	const items = 10_000
	for _, members := range []int{3, 10, 100} {
		for _, at := range []struct {
			name string
			lost int
		}{{"first", 0}, {"middle", members / 2}, {"last", members - 1}} {
			b.Run(fmt.Sprintf("%d/%s", members, at.name), func(b *testing.B) {
				rules := []struct {
					name string
					run  func(members, lost, items int) [3][]int
				}{{"flip", byFlip(b)}, {"rendezvous", by(rendezvous)}, {"jump", by(jumpNames)}, {"formula", by(formula)}}
				histories := make([][3][]int, len(rules))
				for b.Loop() {
					for i, rule := range rules {
						histories[i] = rule.run(members, at.lost, items)
					}
				}
				b.ReportMetric(0, "ns/op") // who is fast is another question
				for i, rule := range rules {
					reportMovement(b, rule.name, histories[i], members, at.lost)
				}
			})
		}
	}
}

// reportMovement reports what a history of owners is: all there, one lost, back again.
func reportMovement(b *testing.B, name string, h [3][]int, members, lost int) {
	most, _ := spreadOf(h[0], members, -1)
	mostLost, differ := spreadOf(h[1], members, lost)
	had, loss, back := 0, 0, 0
	for i, owner := range h[0] {
		if owner == lost {
			had++
		}
		if h[1][i] != owner {
			loss++
		}
		if h[2][i] != h[1][i] {
			back++
		}
	}
	share := func(n int) float64 { return 100 * float64(n) / float64(len(h[0])) }
	b.ReportMetric(most, name+"-max/mean")
	b.ReportMetric(mostLost, name+"-lost-max/mean")
	b.ReportMetric(float64(differ), name+"-lost-max-min")
	b.ReportMetric(share(loss-had), name+"-lost-moved%")
	b.ReportMetric(share(back-had), name+"-back-moved%")
}

func spreadOf(owners []int, members, lost int) (overMean float64, differ int) {
	count := make([]int, members)
	for _, m := range owners {
		count[m]++
	}
	least, most, there := len(owners), 0, 0
	for m, n := range count {
		if m != lost {
			least, most, there = min(least, n), max(most, n), there+1
		}
	}
	return float64(most) * float64(there) / float64(len(owners)), most - least
}

// byFlip lets the engine do it, through the log.
func byFlip(b *testing.B) func(members, lost, items int) [3][]int {
	return func(members, lost, items int) (h [3][]int) {
		l := newLab(b, members, items, 1, 1)
		var p Planner
		l.settle(&p)
		h[0] = l.owners()
		l.settle(&p, lost)
		h[1] = l.owners()
		l.settle(&p)
		h[2] = l.owners()
		return h
	}
}

func (l *lab) owners() []int {
	var out []int
	for slot := range l.state.SlotsOf("s") {
		var m int
		if _, err := fmt.Sscanf(string(slot.Owner), "n%d", &m); err != nil {
			l.b.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

// by asks a rule that only looks at who is there.
func by(rule func(item fsm.ItemID, i int, alive []int, members int) int) func(members, lost, items int) [3][]int {
	return func(members, lost, items int) (h [3][]int) {
		for round := range h {
			var alive []int
			for m := range members {
				if round != 1 || m != lost {
					alive = append(alive, m)
				}
			}
			away = 0
			for i := range items {
				h[round] = append(h[round], rule(fsm.ItemID(fmt.Sprintf("item%07d", i)), i, alive, members))
			}
		}
		return h
	}
}

func rendezvous(item fsm.ItemID, _ int, alive []int, _ int) int {
	best, least := 0, uint32(0)
	for at, m := range alive {
		h := fnv.New32a()
		_, _ = h.Write([]byte(string(member(m)) + "|" + string(item))) // a hash never fails
		if score := mixed(h.Sum32()); at == 0 || score < least {
			best, least = m, score
		}
	}
	return best
}

// mixed spreads the bits of an FNV hash, the last bytes of which change few of them.
func mixed(x uint32) uint32 {
	x ^= x >> 16
	x *= 0x85ebca6b
	x ^= x >> 13
	x *= 0xc2b2ae35
	return x ^ x>>16
}

func jumpNames(item fsm.ItemID, _ int, alive []int, _ int) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(item)) // a hash never fails
	key, b, j := h.Sum64(), int64(-1), int64(0)
	for j < int64(len(alive)) {
		b = j
		key = key*2862933555777941757 + 1
		j = int64(float64(b+1) * (float64(int64(1)<<31) / float64(key>>33+1)))
	}
	return alive[b]
}

// away numbers the items whose home is down, for formula.
var away int

func formula(_ fsm.ItemID, i int, alive []int, members int) int {
	if home := i % members; contains(alive, home) {
		return home
	}
	away++
	return alive[(away-1+len(alive)-1)%len(alive)]
}

// TestMovementOfFlip holds what the table says of flip: even, and nothing moves that
// need not.
func TestMovementOfFlip(t *testing.T) {
	for _, lost := range []int{0, 5, 9} {
		l := newLab(t, 10, 512, 1, 1)
		var p Planner
		l.settle(&p)
		before := l.owners()
		l.settle(&p, lost)
		after := l.owners()
		for i, owner := range before {
			if owner != lost && after[i] != owner {
				t.Errorf("item %d left %d, which is there", i, owner)
			}
		}
		if _, differ := spreadOf(after, 10, lost); differ > 1 {
			t.Errorf("without %d the loads differ by %d", lost, differ)
		}
		l.settle(&p)
		if back := l.owners(); fmt.Sprint(back) != fmt.Sprint(before) {
			t.Errorf("after %d has returned it is not as before", lost)
		}
	}
}

package placement

import (
	"fmt"
	"hash/fnv"
	"os"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/flip-ha/flip/fsm"
)

// BenchmarkMovement compares how evenly four rules divide items, and what they move,
// when the first, the middle or the last of so many members is lost and returns:
// flip's, rendezvous hashing (the lowest score of member and item, as raft_fleet ranks
// those of one zone), jump hashing over sorted names (libring's ring), and the formula
// that Flip used. It prints one table. Of each rule: the most that a member has against
// the mean when all are there, the largest difference of two after the loss, and the
// share of all items that moved beyond what had to: at the loss what the lost member
// had, at its return what it had before.
func BenchmarkMovement(b *testing.B) {
	const items = 10_000
	rules := []struct {
		name string
		run  func(members, lost, items int) [3][]int
	}{{"flip", byFlip(b)}, {"Flip's formula", by(formula)}, {"rendezvous", by(rendezvous)}, {"jump", by(jumpNames)}}
	var text strings.Builder
	for b.Loop() {
		text.Reset()
		w := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
		_, _ = fmt.Fprint(w, "members\tlost")
		for _, rule := range rules {
			_, _ = fmt.Fprint(w, "\t", rule.name)
		}
		_, _ = fmt.Fprintln(w)
		for _, members := range []int{3, 10, 100} {
			for i, lost := range []int{0, members / 2, members - 1} {
				_, _ = fmt.Fprintf(w, "%d\t%s", members, []string{"first", "middle", "last"}[i])
				for _, rule := range rules {
					_, _ = fmt.Fprint(w, "\t", movement(rule.run(members, lost, items), members, lost))
				}
				_, _ = fmt.Fprintln(w)
			}
		}
		_ = w.Flush() // a Builder never fails
	}
	b.ReportMetric(0, "ns/op") // who is fast is another question
	// Of what a benchmark logs only the first ten lines are shown.
	_, _ = fmt.Fprintf(os.Stdout, "\n%d items: most/mean, most-least after the loss, moved beyond need at the loss and at the return\n%s", items, text.String())
}

// movement is what a history of owners comes to: all there, one lost, back again.
func movement(h [3][]int, members, lost int) string {
	most, _ := spreadOf(h[0], members, -1)
	_, differ := spreadOf(h[1], members, lost)
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
	return fmt.Sprintf("%.3f %d %.1f%% %.1f%%", most, differ, share(loss-had), share(back-had))
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

package placement

import (
	"maps"
	"slices"
)

// levelFirst changes ranks about until no member is the first home of more than
// another that could be instead, by more than one.
func (h *housing) levelFirst(first []int64) {
	for changed := true; changed; {
		changed = false
		for i := range int32(h.g.units) {
			to, w := h.of(i), h.weight(i)
			for r := 1; r < h.ranks && to[0] != nobody && len(h.g.prefer(i)) == 0; r++ {
				a, b := to[0], to[r]
				if b == nobody || (2*first[a]-w)*h.seat[b].share <= (2*first[b]+w)*h.seat[a].share {
					continue
				}
				to[0], to[r] = b, a
				first[a] -= w
				first[b] += w
				changed = true
			}
		}
	}
}

// passFirst does the same where it takes several units: one passes its first home from
// a to b, another from b to c. Each is the shortest such way (breadth first), and all
// are tried; with unequal weights the ways would not add up.
func (h *housing) passFirst(first []int64) {
	if !h.even {
		return
	}
	to := h.passes()
	for from := int32(0); int(from) < len(h.seat); from++ {
		for h.passOne(from, first, to) {
		}
	}
}

// passes are, for each member, the units that it is the first home of, by who else
// could be: some may have changed since.
func (h *housing) passes() []map[int32][]int32 {
	to := make([]map[int32][]int32, len(h.seat))
	for m := range to {
		to[m] = map[int32][]int32{}
	}
	for i := range int32(h.g.units) {
		h.offer(to, i)
	}
	return to
}

func (h *housing) offer(to []map[int32][]int32, i int32) {
	ranks := h.of(i)
	if ranks[0] == nobody || len(h.g.prefer(i)) > 0 {
		return
	}
	for _, m := range ranks[1:] {
		if m != nobody {
			to[ranks[0]][m] = append(to[ranks[0]][m], i)
		}
	}
}

// passOne finds the member that is the first home of least, of those that one can pass
// to, and passes one on if that makes it more even.
func (h *housing) passOne(from int32, first []int64, to []map[int32][]int32) bool {
	came, best, w := map[int32]int32{from: nobody}, from, h.weight(0) // all weigh the same
	for queue := []int32{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		for _, m := range slices.Sorted(maps.Keys(to[at])) {
			if _, seen := came[m]; seen || h.pass(at, m, to) == nobody {
				continue
			}
			came[m] = at
			queue = append(queue, m)
			if (2*first[m]+w)*h.seat[best].share < (2*first[best]+w)*h.seat[m].share {
				best = m
			}
		}
	}
	if best == from || (2*first[from]-w)*h.seat[best].share <= (2*first[best]+w)*h.seat[from].share {
		return false
	}
	first[from] -= w
	first[best] += w
	for m := best; came[m] != nobody; m = came[m] {
		i := h.pass(came[m], m, to)
		ranks := h.of(i)
		r := slices.Index(ranks, m)
		ranks[0], ranks[r] = ranks[r], ranks[0]
		h.offer(to, i)
	}
	return true
}

// pass is a unit that a member can pass to another; nobody: there is none.
func (h *housing) pass(from, m int32, to []map[int32][]int32) int32 {
	list := to[from][m]
	for len(list) > 0 {
		i := list[len(list)-1]
		if ranks := h.of(i); ranks[0] == from && contains(ranks[1:], m) {
			break
		}
		list = list[:len(list)-1]
	}
	if to[from][m] = list; len(list) == 0 {
		return nobody
	}
	return list[len(list)-1]
}

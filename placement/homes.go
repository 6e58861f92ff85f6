package placement

import "slices"

// count says to whom homes are dealt, in Order. A server that has never registered may
// never come: it counts only where nothing has a home yet, as in Flip's dealing, and
// where it was dealt one then.
func (g *group) count() []int {
	fresh := true
	for _, it := range g.items {
		if it.home != nobody {
			fresh, g.counts[it.home] = false, true
		}
	}
	out := make([]int, 0, len(g.serving))
	for m := range g.serving {
		if fresh || g.counts[m] {
			out = append(out, m)
		}
	}
	return out
}

// homes gives a home to every item that has none, or whose home serves the
// system no longer: its owner, as far as that leaves the others their share; else the
// member with the fewest, on ties the one that Flip deals to, then the first in Order.
// When nothing has a home yet that is Flip's dealing exactly: item i to member i mod N,
// whether it is up or not.
//
// Other items keep their homes, unless who serves the system has changed.
func (g *group) homes() {
	among := g.count()
	n := len(among)
	if n == 0 {
		return
	}
	place := make([]int, len(g.serving)) // of each in serving among those that count
	for i, m := range among {
		place[m] = i
	}
	count, homeless := make([]int, n), 0
	for _, it := range g.items {
		if it.home != nobody {
			count[place[it.home]]++
		} else {
			homeless++
		}
	}
	if homeless > 0 && homeless < len(g.items) {
		g.settle(among, place, count, homeless)
	}
	for i := range g.items {
		if g.items[i].home != nobody {
			continue
		}
		home := i % n
		if least := lowest(count); count[home] > count[least] {
			home = least
		}
		g.items[i].home = int32(among[home])
		count[home]++
	}
	if g.sys.Rehome {
		g.balance(among, place, count)
	}
}

// settle has items without a home be at home where they are, unless that gives a
// member more than it would have if they were all dealt to those with the fewest: an
// item that has found another owner need not move once more.
func (g *group) settle(among, place, count []int, homeless int) {
	full := slices.Clone(count)
	for range homeless {
		full[lowest(full)]++
	}
	share := full[lowest(full)]
	more := 0 // of them get one above the share
	for at, n := range full {
		if n > share && n > count[at] {
			more++
		}
	}
	for i := range g.items {
		it := &g.items[i]
		if it.home != nobody || it.owner == nobody || !slices.Contains(among, int(it.owner)) {
			continue
		}
		switch at := place[it.owner]; {
		case count[at] < share:
		case count[at] == share && more > 0:
			more--
		default:
			continue
		}
		it.home = it.owner
		count[place[it.owner]]++
	}
}

// balance moves homes from the member with the most, the last of equals, to the
// one with the fewest, the first of equals, until they differ by one at most.
// No smaller number of moves can do that. A member gives its last items away.
func (g *group) balance(among, place, count []int) {
	if count[highest(count)]-count[lowest(count)] <= 1 {
		return
	}
	of := make([][]int, len(count))
	for i, it := range g.items {
		at := place[it.home]
		of[at] = append(of[at], i)
	}
	for {
		from, to := highest(count), lowest(count)
		if count[from]-count[to] <= 1 {
			return
		}
		last := len(of[from]) - 1
		g.items[of[from][last]].home = int32(among[to])
		of[from] = of[from][:last]
		count[from]--
		count[to]++
	}
}

// lowest is the first index of the smallest number.
func lowest(count []int) int {
	at := 0
	for i, n := range count {
		if n < count[at] {
			at = i
		}
	}
	return at
}

// highest is the last index of the largest number.
func highest(count []int) int {
	at := 0
	for i, n := range count {
		if n >= count[at] {
			at = i
		}
	}
	return at
}

// commonHome is the one home of all items of a choose_one system: the first
// that is stored and still serves it, else the first member in Order that counts.
func (g *group) commonHome() {
	among := g.count()
	if len(among) == 0 {
		return
	}
	home := int32(among[0])
	for _, it := range g.items {
		if it.home != nobody {
			home = it.home
			break
		}
	}
	for i := range g.items {
		g.items[i].home = home
	}
}

// countOwned is how many items each member owns.
func (g *group) countOwned() []int {
	count := make([]int, len(g.serving))
	for _, it := range g.items {
		if it.owner != nobody {
			count[it.owner]++
		}
	}
	return count
}

// failures are the members whose hook has failed for an item.
func (g *group) failures(i int) []failure {
	if len(g.failed) == 0 {
		return nil
	}
	return g.failed[g.key(i)]
}

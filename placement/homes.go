package placement

import (
	"cmp"
	"slices"
)

// homes finds a home for every place that has none, or whose home serves the system no
// longer. Other homes stay, unless who serves the system has changed, or what homes are
// dealt by.
//
// When nothing has a home yet, and nothing but the number of items matters, that is
// Flip's dealing exactly: item i to member i mod N, whether it is up or not.
func (g *group) homes() {
	g.count()
	missing := g.homeless()
	if len(missing) == 0 && !g.rehome {
		return
	}
	among := g.among()
	if len(among) == 0 {
		return
	}
	h := g.homeStage(missing)
	if g.rehome {
		h.unhouse()
	}
	h.deal(among)
	if h.ranks > 1 {
		h.countFirst()
	}
	h.settle()
	h.rank()
}

// count says to whom homes are dealt. A server that has never registered may never
// come: it counts only where nothing has a home yet, as in Flip's dealing, and where it
// was dealt one then.
func (g *group) count() {
	g.fresh = true
	for at, home := range g.home {
		if home == nobody {
			continue
		}
		g.fresh, g.seat[home].counts = false, true
		if !g.seat[home].chosen {
			g.home[at] = nobody
		}
	}
	for m := range g.seat {
		g.seat[m].counts = g.seat[m].counts || g.fresh
	}
}

func (g *group) among() []int32 {
	var out []int32
	for m := range g.seat {
		if g.seat[m].counts && g.seat[m].chosen {
			out = append(out, int32(m))
		}
	}
	return out
}

// homeless are the units that lack a home.
func (g *group) homeless() []int32 {
	var out []int32
	for i := range int32(g.units) {
		if slices.Contains(g.homesOf(i), nobody) {
			out = append(out, i)
		}
	}
	return out
}

// housing is the dealing of homes.
type housing struct {
	*stage
	g    *group
	was  []int32 // the homes that were valid before
	turn []int32 // the place of each seat among those that count
	n    int32   // of them
}

func (g *group) homeStage(missing []int32) *housing {
	h := &housing{g: g, was: slices.Clone(g.home), turn: make([]int32, len(g.seat))}
	for m := range g.seat {
		if s := &g.seat[m]; s.counts && s.chosen {
			h.turn[m] = h.n
			h.n++
		}
	}
	h.stage = &stage{
		loads: newLoads(g.seat), zones: g.zones, ranks: g.ranks, weight: g.weight,
		need: func(int32) int { return g.ranks }, cost: h.cost, mine: h.mine, turn: func(i, m int32) int { return turnOf(h.wasOf(i), m) }, tie: h.tie, kind: h.kind,
		kept:  func(int32) int { return 0 },
		takes: func(s *seat) bool { return s.counts && s.chosen }, guest: func(int32) bool { return false },
		even: !g.weighty, alike: g.ranks == 1 && !g.choosy, to: g.home, work: missing, zoned: make([]int, g.zones),
	}
	for i := range int32(g.units) {
		for _, m := range h.of(i) {
			if m != nobody {
				h.load[m] += g.weight(i)
			}
		}
		if g.rehome {
			h.loose = append(h.loose, i)
		}
	}
	if !g.rehome && g.ranks > 1 {
		h.loose = missing
	}
	return h
}

func (h *housing) wasOf(i int32) []int32 { return h.was[int(i)*h.ranks : (int(i)+1)*h.ranks] }

// cost of a home: where it was, if homes are to stay; then where it is preferred.
func (h *housing) cost(i, m int32) rated {
	s := &h.g.seat[m]
	if !s.counts || !s.chosen {
		return impossible
	}
	stays := h.g.rehome || contains(h.wasOf(i), m)
	return s.company<<atCompany | layer(!stays, atEarly) | rated(h.g.preferred(i, m))<<atPrefer
}

// mine: a home that stays, or that is where the unit is already.
func (h *housing) mine(i, m int32) bool {
	return contains(h.wasOf(i), m) || h.ranks > 1 && contains(h.g.ownOf(i), m)
}

// tie is Flip's dealing: the first place of unit i is with member i mod N; the others
// are with those that follow, one further each time around, so that those of one
// member are not all with the next.
func (h *housing) tie(i, m int32) int32 {
	d := (h.turn[m] - i%h.n + h.n) % h.n
	if d == 0 || h.n < 3 {
		return d
	}
	return 1 + (d-1+i/h.n)%(h.n-1)
}

func (h *housing) kind(i int32, b []byte) []byte {
	b = appendSeats(b, h.wasOf(i))
	if h.ranks > 1 {
		b = appendSeats(b, h.g.ownOf(i))
	}
	return h.g.appendPrefer(b, i)
}

// unhouse takes away homes that are to be elsewhere once homes may change: of units
// with a preference that is not theirs, of such that are not spread over the zones, and
// what is too much for a member.
func (h *housing) unhouse() {
	out := map[int32]bool{}
	for _, i := range h.work {
		out[i] = true
	}
	if h.g.choosy || h.ranks > 1 && h.zones > 1 || len(h.g.company) > 0 {
		for i := range int32(h.g.units) {
			if !out[i] && !h.surelySettled(i) && h.unsettled(i) {
				out[i] = true
				h.work = append(h.work, i)
			}
		}
	}
	for i := int32(h.g.units) - 1; i >= 0; i-- {
		for _, m := range h.of(i) {
			if m != nobody && h.load[m] > h.seat[m].limit && !out[i] {
				out[i] = true
				h.work = append(h.work, i)
				h.put(i, nil)
			}
		}
	}
	h.short = false
	slices.Sort(h.work)
}

// surelySettled reports whether a unit is as well at home as can be without looking at
// all members.
func (h *housing) surelySettled(i int32) bool {
	list := h.g.prefer(i)
	if len(h.g.company) > 0 || len(list) > 0 && (h.ranks > 1 || h.g.seat[h.of(i)[0]].id != list[0]) {
		return false
	}
	zones := h.zoned[:h.zones]
	clear(zones)
	least, most := h.ranks, 0
	for _, m := range h.of(i) {
		zones[h.seat[m].zone]++
	}
	for _, n := range zones {
		least, most = min(least, n), max(most, n)
	}
	return h.ranks == 1 || most <= least+1
}

// deal finds homes for the units that lack one.
func (h *housing) deal(among []int32) {
	rest := h.work
	if h.ranks == 1 {
		rest = h.pinned()
		h.stay(rest)
		if !h.g.choosy && len(h.g.company) == 0 {
			h.dealSingles(among, rest)
			return
		}
	}
	for _, i := range h.heaviestFirst(rest) {
		h.choose(i)
	}
}

// pinned gives the units that prefer a member to it, and returns the others.
func (h *housing) pinned() []int32 {
	if !h.g.choosy {
		return h.work
	}
	var rest []int32
	for _, i := range h.work {
		if len(h.g.prefer(i)) > 0 {
			h.choose(i)
		} else {
			rest = append(rest, i)
		}
	}
	return rest
}

// dealSingles deals like Flip: each to the one whose turn it is, unless another has
// less.
func (h *housing) dealSingles(among, rest []int32) {
	heap := newHeap(&h.loads, among, h.even)
	for _, i := range h.heaviestFirst(rest) {
		if h.of(i)[0] != nobody {
			continue
		}
		m := heap.take(h.weight(i), among[i%h.n])
		h.of(i)[0] = m
		h.short = h.short || m == nobody
	}
}

func (st *stage) heaviestFirst(units []int32) []int32 {
	if st.even {
		return units
	}
	out := slices.Clone(units)
	slices.SortStableFunc(out, func(a, b int32) int { return cmp.Compare(st.weight(b), st.weight(a)) })
	return out
}

// stay has units without a home be at home where they are, unless that gives a
// member more than it would have if they were all dealt to those with the fewest: an
// item that has found another owner need not move once more.
func (h *housing) stay(rest []int32) {
	somewhere := func(i int32) bool { return h.g.ownOf(i)[0] != nobody }
	if h.g.fresh || !slices.ContainsFunc(rest, somewhere) {
		return
	}
	full := loads{seat: h.seat, load: slices.Clone(h.load), unit: h.unit}
	heap := newHeap(&full, h.g.among(), h.even)
	for _, i := range rest {
		heap.take(h.weight(i), nobody)
	}
	share := full.load[heap.of[0]]
	for _, m := range heap.of {
		share = min(share, full.load[m])
	}
	more := 0 // of them get one above the share
	for at, n := range full.load {
		if n > share && n > h.load[at] {
			more++
		}
	}
	for _, i := range rest {
		owner := h.g.ownOf(i)[0]
		if h.of(i)[0] != nobody || owner == nobody || h.cost(i, owner) == impossible || !h.room(owner, h.weight(i)) {
			continue
		}
		switch {
		case !h.even || h.seat[owner].share > 1:
			if h.load[owner]+h.weight(i) > full.load[owner] {
				continue
			}
		case h.load[owner] < share:
		case h.load[owner] == share && more > 0:
			more--
		default:
			continue
		}
		h.put(i, []int32{owner})
	}
}

// rank gives each home its rank again: who stays keeps it, others take what is free.
func (h *housing) rank() {
	if h.ranks == 1 {
		return
	}
	first := make([]int64, len(h.seat)) // units that each is the first home of
	for i := range int32(h.g.units) {
		h.rankOne(i, first)
	}
	if h.g.rehome || h.g.fresh {
		h.levelFirst(first)
		h.passFirst(first)
	}
}

// countFirst counts as the first home of a unit whoever was, or was chosen first.
func (h *housing) countFirst() {
	h.first = make([]int64, len(h.seat))
	for i := range int32(h.g.units) {
		if m := h.of(i)[0]; m != nobody {
			h.first[m]++
		}
	}
}

func (h *housing) rankOne(i int32, first []int64) {
	members, was := slices.Clone(h.of(i)), h.wasOf(i)
	to := h.of(i)
	var free []int32
	for _, m := range members {
		if m != nobody && !contains(was, m) {
			free = append(free, m)
		}
	}
	slices.SortFunc(free, func(a, b int32) int {
		return cmp.Or(cmp.Compare(h.g.preferred(i, a), h.g.preferred(i, b)),
			cmp.Compare(first[a]*h.seat[b].share, first[b]*h.seat[a].share), cmp.Compare(h.tie(i, a), h.tie(i, b)))
	})
	for r := range to {
		to[r] = nobody
		if was[r] != nobody && contains(members, was[r]) {
			to[r] = was[r]
		}
	}
	for r := range to {
		if to[r] == nobody && len(free) > 0 {
			to[r], free = free[0], free[1:]
		}
	}
	if to[0] != nobody {
		first[to[0]] += h.weight(i)
	}
}

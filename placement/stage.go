package placement

import "slices"

// stage is one question: which members each unit's replicas are to be with. It is
// asked for homes and for owners, with other costs. A unit is an item, or all items of
// a choose_one system.
type stage struct {
	loads
	zones  int
	ranks  int
	weight func(i int32) int64
	need   func(i int32) int              // replicas to place, of ranks at most
	cost   func(i, m int32) rated         // impossible: it may not be there
	mine   func(i, m int32) bool          // it is there, or would be without a copy
	turn   func(i, m int32) int           // which rank of it is there now; ranks: none
	tie    func(i, m int32) int32         // the lowest first
	kind   func(i int32, b []byte) []byte // units of one kind cost the same everywhere
	kept   func(i int32) int              // replicas that are where they can stay
	takes  func(s *seat) bool             // whether a member may have anything
	guest  func(i int32) bool             // loose, and to be left where it is or go to who may take it back only
	even   bool                           // all units weigh the same
	alike  bool                           // nearly all units may be with the same members
	to     []int32                        // by unit and replica, in any order; nobody
	work   []int32                        // the units whose replicas are not simply left where they are
	loose  []int32                        // the units that may be moved to even the loads out
	short  bool                           // a capacity stood in the way of what would be best for a unit
	moved  int                            // to even the loads out
	first  []int64                        // of homes: of how many units each member is the first; nil: no matter
	cands  []candidate                    // scratch
	zone   [][]candidate
	zoned  []int // scratch: by zone
	chosen []int32
}

type candidate struct {
	m    int32
	cost rated
	mine bool
	more int64
	tie  int32
}

func (st *stage) of(i int32) []int32 { return st.to[int(i)*st.ranks : (int(i)+1)*st.ranks] }

// turnOf is which of the ranks is with a member; their number if none is.
func turnOf(members []int32, m int32) int {
	if at := slices.Index(members, m); at >= 0 {
		return at
	}
	return len(members)
}

// put gives a unit to members, or takes it from all.
func (st *stage) put(i int32, members []int32) {
	w, to := st.weight(i), st.of(i)
	for _, m := range to {
		if m != nobody {
			st.load[m] -= w
		}
	}
	for r := range to {
		to[r] = nobody
		if r < len(members) {
			to[r] = members[r]
			st.load[members[r]] += w
		}
	}
}

// candidates are the members that a unit can be with, the best first, and of each zone
// no more than it needs; room says that they must have room.
func (st *stage) candidates(i int32, room bool) []candidate {
	return st.bestOf(i, room, st.need(i))
}

// bestOf gives at most so many of each zone.
func (st *stage) bestOf(i int32, room bool, most int) []candidate {
	w := st.weight(i)
	if st.zone == nil {
		st.zone = make([][]candidate, st.zones)
	}
	for z := range st.zone {
		st.zone[z] = st.zone[z][:0]
	}
	for m := range int32(len(st.seat)) {
		c := st.cost(i, m)
		if c < 0 {
			continue
		}
		if room && !st.room(m, w) {
			st.short = true
			continue
		}
		cand := candidate{m, c, st.mine(i, m), st.more(m, w), st.tie(i, m)}
		best := st.zone[st.seat[m].zone]
		if len(best) == most {
			if most == 0 || !cand.before(&best[most-1]) {
				continue
			}
			best = best[:most-1]
		}
		at := len(best)
		for at > 0 && cand.before(&best[at-1]) {
			at--
		}
		st.zone[st.seat[m].zone] = slices.Insert(best, at, cand)
	}
	st.cands = st.cands[:0]
	for _, best := range st.zone {
		st.cands = append(st.cands, best...)
	}
	if st.zones > 1 {
		slices.SortFunc(st.cands, func(a, b candidate) int {
			if a.before(&b) {
				return -1
			}
			return 1
		})
	}
	return st.cands
}

// before reports whether a candidate is better than another: at equal cost where the
// unit is already, then who bears least.
func (a *candidate) before(b *candidate) bool {
	switch {
	case a.cost != b.cost:
		return a.cost < b.cost
	case a.mine != b.mine:
		return a.mine
	case a.more != b.more:
		return a.more < b.more
	default:
		return a.tie < b.tie
	}
}

// pick chooses so many of the candidates that they are spread over the zones as evenly
// as can be, and of those choices the best.
func (st *stage) pick(cands []candidate, need int) []int32 {
	st.chosen = st.chosen[:0]
	need = min(need, len(cands))
	if st.zones == 1 || need <= 1 {
		for _, c := range cands[:need] {
			st.chosen = append(st.chosen, c.m)
		}
		return st.chosen
	}
	there := st.zoned[:st.zones]
	clear(there)
	for _, c := range cands {
		there[st.seat[c.m].zone]++
	}
	level := evenLevel(there, need)
	clear(there)
	for _, c := range cands {
		if z := st.seat[c.m].zone; there[z] < level {
			there[z]++
			st.chosen = append(st.chosen, c.m)
		}
	}
	for _, c := range cands {
		if z := st.seat[c.m].zone; len(st.chosen) < need && there[z] == level && !slices.Contains(st.chosen, c.m) {
			there[z]++
			st.chosen = append(st.chosen, c.m)
		}
	}
	return st.chosen
}

// evenLevel is how many replicas each zone can have, as far as it has the members,
// when so many are spread evenly; less than one for each zone is left over.
func evenLevel(there []int, need int) int {
	for level := 0; ; level++ {
		sum, more := 0, false
		for _, n := range there {
			sum += min(n, level+1)
			more = more || n > level
		}
		if sum > need || !more {
			return level
		}
	}
}

// choose places a unit as well as can be, for itself, where there is room.
func (st *stage) choose(i int32) {
	st.put(i, nil)
	st.put(i, st.pick(st.candidates(i, true), st.need(i)))
}

// unsettled reports whether a unit is not as well placed as if it were the only one.
func (st *stage) unsettled(i int32) bool {
	best := st.sum(i, st.pick(st.candidates(i, false), st.need(i)))
	is := st.sum(i, st.of(i))
	return best.less(&is)
}

// sum is what it costs that a unit is with some members, but for balance.
func (st *stage) sum(i int32, members []int32) vec {
	var sum vec
	placed := 0
	zones := make([]int64, st.zones)
	for _, m := range members {
		if m != nobody {
			sum = sum.add(st.cost(i, m).vec())
			zones[st.seat[m].zone]++
			placed++
		}
	}
	for ; placed < st.need(i); placed++ {
		sum = sum.add(st.unplaced(i, placed))
	}
	for _, n := range zones {
		sum[vecZones] += n * n
	}
	return sum
}

// unplaced is what it costs that nobody has a unit's rank, of those that are not fixed:
// the more if somebody has it that could keep it.
func (st *stage) unplaced(i int32, rank int) vec {
	out := vec{vecPlaces: unplaced(rank)}
	if rank < st.kept(i) {
		out[vecWant] = 1 << sumBits
	}
	return out
}

// settle makes of what was chosen unit by unit the best there is: first it moves
// single replicas, then, if that cannot be it, whole chains (flow).
func (st *stage) settle() {
	st.level()
	if !st.even {
		st.squeeze()
		return
	}
	if !st.short && st.balanced() && (st.moved == 0 || st.alike) {
		return
	}
	st.solve(st.work)
	if st.short && slices.ContainsFunc(st.work, st.unsettled) {
		all := make([]int32, len(st.to)/st.ranks)
		for i := range all {
			all[i] = int32(i)
		}
		st.solve(all)
		st.work = all
	}
}

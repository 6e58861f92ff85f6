package placement

// level moves single replicas from members that bear much to such that bear little, as
// long as that makes the loads more even and costs nothing else. Where all units may
// be with the same members no fewer moves could do it.
func (st *stage) level() {
	on := st.looseOn()
	if on == nil {
		return
	}
	for st.levelOne(on) {
		st.moved++
	}
}

// looseOn are the loose units that each member has, those last of which it has a high
// rank or none yet; nil if they are level already.
func (st *stage) looseOn() [][]int32 {
	if len(st.loose) == 0 || st.balanced() {
		return nil
	}
	on := make([][]int32, len(st.seat))
	for turn := range st.ranks + 1 {
		for _, i := range st.loose {
			for _, m := range st.of(i) {
				if m != nobody && st.turn(i, m) == turn {
					on[m] = append(on[m], i)
				}
			}
		}
	}
	return on
}

// balanced reports whether no loose unit is with a member that bears more than another
// that could have it would bear with it.
func (st *stage) balanced() bool {
	const most = int64(1) << 62
	all, back := most, most
	for m := range st.seat {
		s := &st.seat[m]
		if !st.takes(s) || !st.room(int32(m), 1) {
			continue
		}
		bears := st.more(int32(m), 1)
		if all = min(all, bears); s.back {
			back = min(back, bears)
		}
	}
	for _, i := range st.loose {
		least := all
		if st.guest(i) {
			least = back
		}
		for _, m := range st.of(i) {
			if m != nobody && st.less(m, 1) > least {
				return false
			}
		}
	}
	return true
}

// levelOne makes one such move, from the last of those that bear most to the first of
// those that bear least; a member gives its last away.
func (st *stage) levelOne(on [][]int32) bool {
	from, to := int32(nobody), int32(nobody)
	for m := range int32(len(st.seat)) {
		if len(on[m]) > 0 && (from == nobody || st.less(m, 1) >= st.less(from, 1)) {
			from = m
		}
		if st.takes(&st.seat[m]) && (to == nobody || st.more(m, 1) < st.more(to, 1)) {
			to = m
		}
	}
	if from == nobody || to == nobody || st.less(from, 1) <= st.more(to, 1) {
		return false
	}
	if st.give(on, from, to) {
		return true
	}
	return st.levelAny(on)
}

// levelAny tries all pairs of members.
func (st *stage) levelAny(on [][]int32) bool {
	for from := range int32(len(st.seat)) {
		for to := range int32(len(st.seat)) {
			if len(on[from]) > 0 && st.takes(&st.seat[to]) && st.less(from, 1) > st.more(to, 1) && st.give(on, from, to) {
				return true
			}
		}
	}
	return false
}

// give moves the last unit that can go from one member to another; the first one from
// who is the first home of more than its share, which then need not change ranks.
func (st *stage) give(on [][]int32, from, to int32) bool {
	leading := st.leads(from)
	for n := range on[from] {
		at := n
		if !leading {
			at = len(on[from]) - 1 - n
		}
		i := on[from][at]
		if !st.canGo(i, from, to) {
			continue
		}
		members := st.of(i)
		for r, m := range members {
			if m == from {
				members[r] = to
			}
		}
		if st.first != nil && members[0] == to {
			st.first[from]--
			st.first[to]++
		}
		st.load[from] -= st.weight(i)
		st.load[to] += st.weight(i)
		on[from] = append(on[from][:at], on[from][at+1:]...)
		on[to] = append(on[to], i)
		return true
	}
	return false
}

// leads reports whether a member is the first home of more than its share.
func (st *stage) leads(m int32) bool {
	if st.first == nil {
		return false
	}
	var units, shares int64
	for at := range st.seat {
		if units += st.first[at]; st.takes(&st.seat[at]) {
			shares += st.seat[at].share
		}
	}
	return (st.first[m]-1)*shares >= units*st.seat[m].share
}

// canGo reports whether a replica can go from one member to another at no cost but
// the move.
func (st *stage) canGo(i, from, to int32) bool {
	w := st.weight(i)
	if from == to || !st.room(to, w) || st.less(from, w) <= st.more(to, w) {
		return false
	}
	away, here := 0, 0 // replicas in the zones of the two
	for _, m := range st.of(i) {
		if m == to {
			return false
		}
		if m != nobody && st.seat[m].zone == st.seat[from].zone {
			away++
		}
		if m != nobody && st.seat[m].zone == st.seat[to].zone {
			here++
		}
	}
	if st.seat[from].zone != st.seat[to].zone && here+1 > away {
		return false
	}
	c := st.cost(i, to)
	return c >= 0 && c <= st.cost(i, from)
}

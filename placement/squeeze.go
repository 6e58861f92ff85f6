package placement

import "slices"

// squeeze makes room, where units weigh unequally, for those that found none: by
// sending one other unit elsewhere. Whether all can be placed at all by more than that
// is a question that takes too long to answer.
func (st *stage) squeeze() {
	if !st.short {
		return
	}
	var on [][]int32
	for _, i := range st.heaviestFirst(st.work) {
		if len(st.pick(st.candidates(i, false), st.need(i))) <= st.placed(i) {
			continue
		}
		if on == nil {
			on = st.allOn()
		}
		for st.squeezeIn(i, on) {
		}
	}
	st.level()
}

func (st *stage) placed(i int32) int {
	n := 0
	for _, m := range st.of(i) {
		if m != nobody {
			n++
		}
	}
	return n
}

// allOn are the units that each member has.
func (st *stage) allOn() [][]int32 {
	on := make([][]int32, len(st.seat))
	for at, m := range st.to {
		if m != nobody {
			on[m] = append(on[m], int32(at/st.ranks))
		}
	}
	return on
}

// squeezeIn places one more replica of a unit, and reports whether it could.
func (st *stage) squeezeIn(i int32, on [][]int32) bool {
	if st.placed(i) >= st.need(i) {
		return false
	}
	w := st.weight(i)
	for _, c := range slices.Clone(st.bestOf(i, false, len(st.seat))) {
		if contains(st.of(i), c.m) {
			continue
		}
		if st.room(c.m, w) || st.makeRoom(c.m, w, on) {
			st.put(i, append(members(st.of(i)), c.m))
			on[c.m] = append(on[c.m], i)
			return true
		}
	}
	return false
}

// makeRoom sends one unit away from a member so that a weight fits in.
func (st *stage) makeRoom(from int32, w int64, on [][]int32) bool {
	for at, other := range on[from] {
		if st.load[from]-st.weight(other)+w > st.seat[from].limit {
			continue
		}
		for _, c := range slices.Clone(st.bestOf(other, true, len(st.seat))) {
			if c.m == from || contains(st.of(other), c.m) {
				continue
			}
			to := members(st.of(other))
			to[slices.Index(to, from)] = c.m
			st.put(other, to)
			on[from] = slices.Delete(on[from], at, at+1)
			on[c.m] = append(on[c.m], other)
			st.work = append(st.work, other)
			return true
		}
	}
	return false
}

// members is a list without nobody in it.
func members(list []int32) []int32 {
	var out []int32
	for _, m := range list {
		if m != nobody {
			out = append(out, m)
		}
	}
	return out
}

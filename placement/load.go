package placement

// loads is what each member has, and how much more it can bear.
type loads struct {
	seat []seat
	load []int64
	unit int64 // a multiple of all shares, or nearly
}

// mostUnit keeps what is compared in 64 bits.
const mostUnit = 1 << 24

func newLoads(seats []seat) loads {
	l := loads{seat: seats, load: make([]int64, len(seats)), unit: 1}
	for i := range seats {
		a, b := l.unit, seats[i].share
		for b != 0 {
			a, b = b, a%b
		}
		if l.unit = l.unit / a * seats[i].share; l.unit > mostUnit {
			l.unit = mostUnit
			break
		}
	}
	return l
}

func (l *loads) room(m int32, weight int64) bool { return l.load[m]+weight <= l.seat[m].limit }

// more is by how much the sum of the squares of the loads, each relative to its share,
// grows for each weight that is added. What makes it grow least keeps the loads even.
func (l *loads) more(m int32, weight int64) int64 {
	return (2*l.load[m] + weight) * max(l.unit/l.seat[m].share, 1)
}

// less is by how much it shrinks when a weight is taken away.
func (l *loads) less(m int32, weight int64) int64 {
	return (2*l.load[m] - weight) * max(l.unit/l.seat[m].share, 1)
}

// heap finds the member that bears least, of equals the first in Order. Where all
// shares are the same there is a shorter way: the members that bear least are found
// all at once, and again when there are none of them left.
type heap struct {
	*loads
	of    []int32
	at    []int32 // where each member stands in of; nobody
	alike bool
	least int64 // alike: what the least bear, …
	left  int   // … how many do, …
	next  int   // … and before which there are none
}

// newHeap is for units of one weight, if alike is to be of use.
func newHeap(l *loads, of []int32, alike bool) *heap {
	h := &heap{loads: l, of: append([]int32(nil), of...), at: make([]int32, len(l.seat)), alike: alike}
	for i := range h.at {
		h.at[i] = nobody
	}
	for i, m := range h.of {
		h.at[m] = int32(i)
		h.alike = h.alike && l.seat[m].share == l.seat[of[0]].share
	}
	if h.alike {
		return h
	}
	for i := len(h.of)/2 - 1; i >= 0; i-- {
		h.sink(i)
	}
	return h
}

// scan finds those that bear least and have room for a weight.
func (h *heap) scan(weight int64) {
	h.left, h.next = 0, 0
	for _, m := range h.of {
		switch {
		case !h.room(m, weight):
		case h.left == 0 || h.load[m] < h.least:
			h.least, h.left = h.load[m], 1
		case h.load[m] == h.least:
			h.left++
		}
	}
}

// takeAlike is take where all shares are the same.
func (h *heap) takeAlike(weight int64, turn int32) int32 {
	if h.left == 0 {
		if h.scan(weight); h.left == 0 {
			return nobody
		}
	}
	is := func(m int32) bool { return h.load[m] == h.least && h.room(m, weight) }
	m := turn
	if m == nobody || h.at[m] == nobody || !is(m) {
		for !is(h.of[h.next]) {
			h.next++
		}
		m = h.of[h.next]
	}
	h.left--
	h.load[m] += weight
	return m
}

func (h *heap) before(a, b int32) bool {
	x, y := h.more(a, 1), h.more(b, 1)
	return x < y || x == y && a < b
}

func (h *heap) sink(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h.of); c++ {
			if h.before(h.of[c], h.of[least]) {
				least = c
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

func (h *heap) swap(i, j int) {
	h.of[i], h.of[j] = h.of[j], h.of[i]
	h.at[h.of[i]], h.at[h.of[j]] = int32(i), int32(j)
}

// add gives a member of the heap some more.
func (h *heap) add(m int32, weight int64) {
	h.load[m] += weight
	if h.at[m] != nobody {
		h.sink(int(h.at[m]))
	}
}

// first is the member that bears least and has room for a weight, or nobody.
func (h *heap) first(weight int64) int32 {
	m := int32(nobody)
	if len(h.of) > 0 && h.room(h.of[0], weight) {
		return h.of[0]
	}
	for _, other := range h.of {
		if h.room(other, weight) && (m == nobody || h.before(other, m)) {
			m = other
		}
	}
	return m
}

// take is the member for a weight: the one that bears least, turn if it bears as
// little; nobody, if no member has room.
func (h *heap) take(weight int64, turn int32) int32 {
	if h.alike {
		return h.takeAlike(weight, turn)
	}
	m := h.first(weight)
	if m == nobody {
		return nobody
	}
	if turn != nobody && h.at[turn] != nobody && h.more(turn, 1) == h.more(m, 1) && h.room(turn, weight) {
		m = turn
	}
	h.add(m, weight)
	return m
}

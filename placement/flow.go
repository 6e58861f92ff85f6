package placement

import "slices"

// A flow of least cost. Each class of equal units is a node with as many replicas as
// its units need; they flow to members, within a zone through a node of class and
// zone if there are zones, and from each member to the sink, which costs more for each
// that a member has already. What nobody has flows to the sink directly, at a cost
// above all others. A flow costs least if and only if no cycle of changes costs less
// than nothing: solve looks for such cycles and makes the changes until there is none.
//
// What was chosen unit by unit is where it begins, so there are few.
type flow struct {
	*stage
	loads   loads // as they are after the changes
	classes []class
	dist    []vec
	from    []int32 // the node before
	changed bool
	steps   int // left
}

// class is units of one kind.
type class struct {
	units  []int32
	cost   []rated // by member
	copies []int64 // by member: vecCopies
	has    []int32 // units with each member
	zone   []int32 // and in each zone
	placed int
	need   int
	dirty  bool
}

// Beyond so many pairs of a class and a member single moves must do, and beyond so many
// steps what there is.
const (
	mostArcs  = 1 << 22
	mostSteps = 1 << 26
)

// solve makes of what a scope has the best, all else left where it is.
func (st *stage) solve(scope []int32) {
	f := &flow{stage: st, loads: st.loads, steps: mostSteps}
	if !f.classify(scope) {
		return
	}
	for at := range f.classes {
		f.classes[at].dirty = f.uneven(&f.classes[at])
	}
	f.loads.load = slices.Clone(st.load)
	nodes := 1 + len(st.seat) + len(f.classes)*f.width()
	f.dist, f.from = make([]vec, nodes), make([]int32, nodes)
	for cycle := f.cycle(); cycle != nil; cycle = f.cycle() {
		for at := range cycle {
			f.change(cycle[at], cycle[(at+1)%len(cycle)])
		}
	}
	for at := range f.classes {
		if f.classes[at].dirty {
			f.deal(&f.classes[at])
		}
	}
}

// classify makes the classes of a scope; false: they are too many.
func (f *flow) classify(scope []int32) bool {
	known := map[string]int{}
	var kind []byte
	for _, i := range scope {
		if f.need(i) == 0 {
			continue
		}
		kind = f.kind(i, kind[:0])
		at, in := known[string(kind)]
		if !in {
			if at = len(f.classes); (at+1)*len(f.seat) > mostArcs {
				return false
			}
			known[string(kind)] = at
			f.classes = append(f.classes, f.newClass(i))
		}
		c := &f.classes[at]
		c.units = append(c.units, i)
		for _, m := range f.of(i) {
			if m != nobody {
				c.has[m]++
				c.zone[f.seat[m].zone]++
				c.placed++
			}
		}
	}
	return true
}

func (f *flow) newClass(i int32) class {
	n := len(f.seat)
	c := class{cost: make([]rated, n), copies: make([]int64, n), has: make([]int32, n), zone: make([]int32, f.zones), need: f.need(i)}
	for m := range int32(n) {
		c.cost[m], c.copies[m] = f.cost(i, m), 1<<sumBits
		if f.mine(i, m) {
			c.copies[m] = int64(f.turn(i, m)) // the highest rank goes first: no other changes hands for it
		}
	}
	return c
}

// uneven reports whether units of a class have not the same number of replicas, or not
// in each zone, as nearly as can be: they count as if they had.
func (f *flow) uneven(c *class) bool {
	many := len(c.units)
	if many == 1 || f.ranks == 1 {
		return false
	}
	off := func(n, of int) bool { return n < of/many || n > (of+many-1)/many }
	for _, i := range c.units {
		zones := make([]int, f.zones)
		for _, m := range f.of(i) {
			if m != nobody {
				zones[f.seat[m].zone]++
			}
		}
		for z, n := range zones {
			if off(n, int(c.zone[z])) {
				return true
			}
		}
		if off(f.placed(i), c.placed) {
			return true
		}
	}
	return false
}

// The nodes: the sink, the members, then each class, followed by its zones if there
// are zones and replicas.
const sink = 0

func (f *flow) member(m int32) int32 { return 1 + m }

func (f *flow) width() int {
	if f.zones > 1 && f.ranks > 1 {
		return 1 + f.zones
	}
	return 1
}

func (f *flow) class(at int) int32 { return int32(1 + len(f.seat) + at*f.width()) }

// gate is the node from which a class reaches a member.
func (f *flow) gate(at int, m int32) int32 {
	if f.width() == 1 {
		return f.class(at)
	}
	return f.class(at) + 1 + f.seat[m].zone
}

// cycle finds changes that together cost less than nothing, as the nodes that they go
// through; nil: there are none, or it has taken too long.
func (f *flow) cycle() []int32 {
	clear(f.dist)
	for at := range f.from {
		f.from[at] = nobody
	}
	for range f.dist {
		f.changed = false
		f.members()
		for at := range f.classes {
			f.arcs(at)
		}
		if f.steps -= len(f.classes) * len(f.seat); !f.changed || f.steps < 0 {
			return nil
		}
		if cycle := f.closed(); cycle != nil {
			return cycle
		}
	}
	return nil
}

func (f *flow) relax(u, v int32, cost *vec, sign int64) {
	d := f.dist[u]
	for i := range d {
		d[i] += sign * cost[i]
	}
	if d.less(&f.dist[v]) {
		f.dist[v], f.from[v], f.changed = d, u, true
	}
}

// members are the arcs between the members and the sink.
func (f *flow) members() {
	w := f.one()
	for m := range int32(len(f.seat)) {
		if f.loads.room(m, w) {
			f.relax(f.member(m), sink, &vec{vecBalance: f.loads.more(m, w)}, 1)
		}
		if f.loads.load[m] >= w {
			f.relax(sink, f.member(m), &vec{vecBalance: f.loads.less(m, w)}, -1)
		}
	}
}

// one is what each unit weighs.
func (f *flow) one() int64 {
	if len(f.classes) == 0 {
		return 1
	}
	return f.weight(f.classes[0].units[0])
}

// arcs are those of a class.
func (f *flow) arcs(at int) {
	c, node := &f.classes[at], f.class(at)
	if c.placed < c.need*len(c.units) {
		gain := f.unplaced(c.units[0], c.placed/len(c.units))
		f.relax(sink, node, &gain, -1)
	}
	if c.placed > 0 {
		loss := f.unplaced(c.units[0], (c.placed-1)/len(c.units))
		f.relax(node, sink, &loss, 1)
	}
	many := int32(len(c.units))
	for z := int32(0); int(z) < f.width()-1; z++ {
		f.relax(node, node+1+z, &vec{vecZones: int64(2*(c.zone[z]/many) + 1)}, 1)
		if c.zone[z] > 0 {
			f.relax(node+1+z, node, &vec{vecZones: int64(2*((c.zone[z]-1)/many) + 1)}, -1)
		}
	}
	for m, cost := range c.cost {
		if cost < 0 {
			continue
		}
		v := cost.vec()
		v[vecCopies] = c.copies[m]
		gate, member := f.gate(at, int32(m)), f.member(int32(m))
		if c.has[m] < many {
			f.relax(gate, member, &v, 1)
		}
		if c.has[m] > 0 {
			f.relax(member, gate, &v, -1)
		}
	}
}

// closed looks for a cycle in what leads to each node, and returns it in the order in
// which it is gone through.
func (f *flow) closed() []int32 {
	seen := make([]int32, len(f.from))
	for start := range f.from {
		mark, at := int32(start+1), int32(start)
		for at != nobody && seen[at] == 0 {
			seen[at] = mark
			at = f.from[at]
		}
		if at == nobody || seen[at] != mark {
			continue
		}
		cycle := []int32{at}
		for n := f.from[at]; n != at; n = f.from[n] {
			cycle = append(cycle, n)
		}
		slices.Reverse(cycle)
		return cycle
	}
	return nil
}

// change makes one change of a cycle.
func (f *flow) change(u, v int32) {
	n, w := int32(len(f.seat)), f.one()
	isMember := func(x int32) bool { return x != sink && x <= n }
	switch {
	case u == sink && isMember(v):
		f.loads.load[v-1] -= w
	case v == sink && isMember(u):
		f.loads.load[u-1] += w
	case isMember(v):
		f.shift(u, v-1, 1)
	case isMember(u):
		f.shift(v, u-1, -1)
	case u == sink:
		f.classOf(v).placed++
	case v == sink:
		f.classOf(u).placed--
	case u < v:
		f.classOf(u).zone[v-u-1]++
	default:
		f.classOf(u).zone[u-v-1]--
	}
}

func (f *flow) shift(gate, m, by int32) {
	c := f.classOf(gate)
	c.has[m] += by
	c.dirty = true
	if f.width() == 1 {
		c.zone[f.seat[m].zone] += by
	}
}

func (f *flow) classOf(node int32) *class {
	return &f.classes[(int(node)-1-len(f.seat))/f.width()]
}

// deal gives the members of a class to its units.
func (f *flow) deal(c *class) {
	if f.ranks == 1 {
		f.dealSingles(c)
		return
	}
	var places []int32 // by zone: then each unit has its share of each zone
	for z := range int32(f.zones) {
		for m := range int32(len(f.seat)) {
			if f.seat[m].zone == z {
				for range c.has[m] {
					places = append(places, m)
				}
			}
		}
	}
	var members []int32
	for first, i := range c.units {
		members = members[:0]
		for at := first; at < len(places); at += len(c.units) {
			members = append(members, places[at])
		}
		f.put(i, members)
	}
}

// dealSingles leaves as many as can be where they are.
func (f *flow) dealSingles(c *class) {
	var waiting []int32
	for _, i := range c.units {
		if m := f.of(i)[0]; m != nobody && c.has[m] > 0 {
			c.has[m]--
		} else {
			waiting = append(waiting, i)
		}
	}
	m := int32(0)
	for _, i := range waiting {
		for int(m) < len(f.seat) && c.has[m] == 0 {
			m++
		}
		if int(m) == len(f.seat) {
			f.put(i, nil)
			continue
		}
		c.has[m]--
		f.put(i, []int32{m})
	}
}

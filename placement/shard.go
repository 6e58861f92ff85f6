package placement

// orphan is an item whose owner cannot keep it and whose home cannot take it.
type orphan struct {
	item int
	turn int // its number among the items whose home is not usable
	best int // the grade that its new owner must have
}

// shard sends each item home when its home is ready for it, leaves it with an
// owner that is fit otherwise, and spreads the rest.
func (g *group) shard() {
	g.homes()
	plain := g.best(nil)
	load := make([]int, len(g.serving))
	var orphans []orphan
	away := 0
	for i, it := range g.items {
		failures, best := g.failures(i), plain
		if len(failures) > 0 {
			best = g.best(failures)
		}
		home, owner := g.grade(it.home, failures), g.grade(it.owner, failures)
		turn := away
		if home == useless {
			away++
		}
		to := int32(nobody)
		switch {
		case best == useless: // nobody can have it: it stays where it is
		case home == ready:
			to = it.home
		case stays(owner, best):
			to = it.owner
		case home == best:
			to = it.home
		default:
			orphans = append(orphans, orphan{i, turn, best})
			continue
		}
		if to != nobody {
			load[to]++
		}
		g.move(i, to, g.homeward(i))
	}
	for _, o := range orphans {
		to := g.adopt(o, load)
		load[to]++
		g.move(o.item, to, "")
	}
}

// homeward is why an item leaves an owner that could keep it.
func (g *group) homeward(i int) string {
	if it := g.items[i]; it.home != it.was {
		return g.rehomed
	}
	return "home again"
}

// adopt picks the least loaded member of the wanted grade; on ties the one that
// Flip gives this orphan to, then the first in Order.
//
// Flip numbers the items whose home is down j = 0, 1, 2, … and gives them to
// the alive member of rank j-1, modulo their number: the first to the last.
func (g *group) adopt(o orphan, load []int) int32 {
	failures := g.failures(o.item)
	flips := g.alive[(o.turn+len(g.alive)-1)%len(g.alive)]
	to := nobody
	for _, m := range g.alive {
		if g.grade(int32(m), failures) != o.best {
			continue
		}
		if to == nobody || load[m] < load[to] || (load[m] == load[to] && m == flips) {
			to = m
		}
	}
	return int32(to)
}

// chooseOne keeps all items together on one member: the one that has most of
// them while it is fit, else the first in Order. It never goes back by itself.
func (g *group) chooseOne() {
	g.commonHome()
	var failures []failure // of any item: they move together
	for i := range g.items {
		failures = append(failures, g.failures(i)...)
	}
	best := g.best(failures)
	to, owned := nobody, g.countOwned()
	for _, m := range g.alive {
		if grade := g.grade(int32(m), failures); owned[m] > 0 && stays(grade, best) && (to == nobody || owned[m] > owned[to]) {
			to = m
		}
	}
	for _, m := range g.alive {
		if to == nobody && best > useless && g.grade(int32(m), failures) == best {
			to = m
		}
	}
	for i := range g.items {
		g.move(i, int32(to), "together with the rest of "+string(g.sys.Name))
	}
}

package placement

import (
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// emit makes the moves that bring a system to what was found: what was placed surely
// first, then what went to whoever has least.
func (g *group) emit() {
	if g.sys.Split == fsm.ChooseOne {
		for item := range g.sys.Items {
			g.emitItem(item)
		}
		return
	}
	later := []int32(nil)
	for i := range int32(g.units) {
		if !g.changes(i) {
			continue
		}
		if g.ranks == 1 && g.adopted(i) {
			later = append(later, i)
			continue
		}
		g.emitItem(int(i))
	}
	for _, i := range later {
		g.emitItem(int(i))
	}
}

// adopted reports whether a unit goes where it is neither at home nor preferred.
func (g *group) adopted(i int32) bool {
	m := g.final[i]
	return m != nobody && m != g.home[i] && m != g.own[i] && !contains(g.prefer(i), g.seat[m].id)
}

// changes reports whether there is anything to do for a unit, or to say of it.
func (g *group) changes(i int32) bool {
	for at := int(i) * g.ranks; at < (int(i)+1)*g.ranks; at++ {
		if g.final[at] == nobody || g.final[at] != g.own[at] || g.local[g.all[at].home+1] != g.home[at] {
			return true
		}
	}
	return false
}

// step is one slot of an item that is to change hands, or to get another home.
type step struct {
	rank     int
	from, to int32
	move     fsm.Move
	urgent   bool
	home     bool // nothing changes but the home
}

// emitItem makes the moves of one item, so ordered that a rank is taken from a member
// before it gets another one.
func (g *group) emitItem(item int) {
	if g.enough(int32(g.unitOf(item))) {
		return
	}
	steps := g.steps(item)
	if len(steps) == 0 {
		return
	}
	var moves []fsm.Move
	urgent := false
	for _, s := range inTurn(steps) {
		switch {
		case !g.stopped && !g.marked(item, s.rank).braked:
			moves = append(moves, s.move)
			urgent = urgent || s.urgent
		case !s.home:
			g.keepBack(Held{Move: s.move, Why: g.brakeWhy(item, s.rank)})
		}
	}
	if urgent {
		g.urgent.add(moves, g.budget)
	} else {
		g.later.add(moves, g.budget)
	}
}

// enough reports whether there is no room for what could be said of a unit.
func (g *group) enough(i int32) bool {
	switch {
	case g.stopped:
		return len(g.held) >= fsm.MaxMoves && len(g.unplaced) >= fsm.MaxMoves
	case contains(g.finalOf(i), nobody):
		return len(g.urgent) >= g.budget && len(g.unplaced) >= fsm.MaxMoves
	default:
		return len(g.urgent) >= g.budget
	}
}

// queue is moves that are to be made, all of an item or none.
type queue []fsm.Move

func (q *queue) add(moves []fsm.Move, most int) {
	switch {
	case len(*q)+len(moves) <= most:
		*q = append(*q, moves...)
	case len(*q) == 0: // an item of many ranks: part of it is better than nothing
		*q = moves[:most]
	}
}

// steps are what there is to do for an item.
func (g *group) steps(item int) []step {
	var out []step
	unit := g.unitOf(item)
	for rank := range g.ranks {
		at := unit*g.ranks + rank
		k := g.all[item*g.ranks+rank]
		from, to := g.local[k.owner+1], g.final[at]
		if to == nobody {
			g.missing(item, rank, from, k)
			if from == nobody || !g.forbidden(int32(unit), from) {
				to = from
			}
			if from != nobody && contains(g.finalOf(int32(unit)), from) {
				to = nobody // it gets a lower rank
			}
		}
		s := step{rank: rank, from: from, to: to, move: fsm.Move{Key: g.keyOf(item, rank), Was: k.token}}
		if home := g.home[at]; home != nobody && home != g.local[k.home+1] {
			s.move.Home = g.seat[home].id
		}
		if to == from && !g.droppable(int32(unit), from, k) {
			if s.move.Home == "" || k.token == 0 && g.best == useless {
				continue // a first home is dealt with the first assignment
			}
			s.home, s.move.Reason, s.move.Cause = true, g.rehomedWhy(), fsm.CauseBalance
			if k.owner != nobody {
				s.move.To = g.names[k.owner]
			}
			out = append(out, s)
			continue
		}
		if to != nobody {
			s.move.To = g.seat[to].id
		}
		out = append(out, s)
	}
	g.reasons(item, out)
	return out
}

// droppable reports whether a copy that nobody can have is with an owner that serves the
// system no longer, or is to leave: while there are others of it nobody waits for this one.
func (g *group) droppable(unit, from int32, k kept) bool {
	return g.ranks > 1 && from == nobody && k.owner != nobody &&
		slices.ContainsFunc(g.finalOf(unit), func(m int32) bool { return m != nobody })
}

// forbidden reports whether a usable member may not have what it has.
func (g *group) forbidden(i, m int32) bool {
	return g.seat[m].usable && (g.grade(i, m) == useless || g.left[m]+g.weight(i) > g.seat[m].limit)
}

func (g *group) keyOf(item, rank int) fsm.Key {
	return fsm.Key{System: g.sys.Name, Item: g.sys.Items[item].ID, Rank: rank}
}

// inTurn orders the steps of one item so that each member gives away what it had
// before it gets something else. Where that goes round in a circle, the highest rank of
// it is given to nobody first; the next plan gives it on.
func inTurn(steps []step) []step {
	if len(steps) < 2 {
		return steps
	}
	var out []step
	rest := slices.Clone(steps)
	for len(rest) > 0 {
		at := slices.IndexFunc(rest, func(s step) bool {
			return s.home || s.to == nobody || !slices.ContainsFunc(rest, func(o step) bool {
				return o.rank != s.rank && !o.home && o.from == s.to
			})
		})
		if at < 0 { // a circle
			at = len(rest) - 1
			rest[at].to, rest[at].move.To = nobody, ""
		}
		out = append(out, rest[at])
		rest = slices.Delete(rest, at, at+1)
	}
	return out
}

func (g *group) keepBack(h Held) {
	if len(g.held) < fsm.MaxMoves {
		g.held = append(g.held, h)
	}
	g.soon(h.For)
}

// missing notes a slot that nobody can have.
func (g *group) missing(item, rank int, from int32, k kept) {
	if len(g.unplaced) >= fsm.MaxMoves || g.fixed[int32(g.unitOf(item)*g.ranks+rank)] {
		return
	}
	unit := int32(g.unitOf(item))
	if from != nobody && g.seat[from].usable && (g.stopped || !g.forbidden(unit, from) && !contains(g.finalOf(unit), from)) {
		return // it stays
	}
	g.unplaced = append(g.unplaced, Unplaced{Key: g.keyOf(item, rank), Why: g.unplacedWhy(unit, k)})
}

package placement

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// stopped reports whether nothing of a system is moved until somebody cleans up.
func (p *planning) stopped(id fsm.SystemID) bool {
	return slices.ContainsFunc(p.state.Brakes(), func(b fsm.Brake) bool { return b.System == id })
}

func (g *group) brakeWhy(item, rank int) string {
	name := string(g.sys.Name)
	if g.stopped {
		return "too many members of " + name + " were lost at once: nothing is moved until `flip cleanup " + name + "`"
	}
	id := string(g.keyOf(item, rank).Item)
	return "it failed again where it had just been moved to: it stays until `flip cleanup " + name + " " + id + "`"
}

func (g *group) marked(item, rank int) mark { return g.marks[int32(item*g.ranks+rank)] }

// heldPlaces are the places that would change although they have moved often enough of
// late, or were stopped; each with how long it is still to stay.
func (g *group) heldPlaces() map[int32]bool {
	out := map[int32]bool{}
	changed := false
	for at, mark := range g.marks {
		item := int(at) / g.ranks
		place := int32(g.unitOf(item)*g.ranks + int(at)%g.ranks)
		if mark.braked || g.damped(at, mark) > 0 {
			out[place] = true
			changed = changed || g.final[place] != g.own[place] || g.final[place] != g.local[g.all[at].owner+1]
		}
	}
	if !changed {
		return nil
	}
	return out
}

// damped is for how long a slot is still to stay where it is; not at all if its owner
// can hold nothing, or not this.
func (g *group) damped(at int32, m mark) time.Duration {
	owner := g.all[at].owner
	if g.v.Now == 0 || owner == nobody || g.why[g.names[owner]] != "" || g.unfit(at, g.names[owner]) {
		return 0
	}
	recent := m.moved[max(0, len(m.moved)-fsm.MaxRecent):]
	if len(recent) < fsm.MaxRecent {
		return 0
	}
	ago := time.Duration(g.v.Now-recent[0]) * time.Millisecond
	if ago < -fsm.RecentFor { // by a clock that was wrong: it would stay for as long
		return 0
	}
	return fsm.RecentFor - ago
}

// unfit reports whether a member's machine cannot hold a slot for now.
func (g *group) unfit(at int32, m fsm.MemberID) bool {
	k := g.keyOf(int(at)/g.ranks, int(at)%g.ranks)
	return slices.ContainsFunc(g.failed[k], func(f failure) bool { return f.member == m && f.unfit })
}

// hold says of places that would change that they do not, and leaves all of them as
// they are.
func (g *group) hold(places map[int32]bool) {
	for _, at := range slices.Sorted(maps.Keys(g.marks)) {
		item, rank := int(at)/g.ranks, int(at)%g.ranks
		still := g.damped(at, g.marks[at])
		if g.stopped || !g.marks[at].braked && still <= 0 {
			continue
		}
		for _, s := range g.steps(item) {
			if s.rank != rank || s.home {
				continue
			}
			h := Held{Move: s.move, For: still, Why: fmt.Sprintf("it has moved %d times in %v", fsm.MaxRecent, fsm.RecentFor)}
			if g.marks[at].braked {
				h.Why, h.For = g.brakeWhy(item, rank), 0
			}
			g.keepBack(h)
		}
	}
	g.fixed = places
}

// wait notes when time alone changes what a system's members may have.
func (g *group) wait() {
	if g.v.Well == nil {
		return
	}
	for m := range g.seat {
		s := &g.seat[m]
		if !s.usable {
			continue
		}
		if s.well < g.sys.Mature {
			g.soon(g.sys.Mature - s.well)
		}
		if g.sys.Failback > 0 && s.well < g.sys.Failback {
			g.soon(g.sys.Failback - s.well)
		}
	}
}

// waiting says of what is to go home, but not before its home has been well for as long
// as Failback says, that it waits for that.
func (g *group) waiting() {
	recent := func(s seat) bool { return s.usable && s.well < g.sys.Failback }
	if g.v.Well == nil || g.stopped || g.sys.Failback <= 0 || !slices.ContainsFunc(g.seat, recent) {
		return
	}
	for item := range g.sys.Items {
		if len(g.held) >= fsm.MaxMoves {
			return
		}
		g.waitItem(item)
	}
}

func (g *group) waitItem(item int) {
	for rank := range g.ranks {
		at := g.unitOf(item)*g.ranks + rank
		own, home := g.own[at], g.home[at]
		if own == nobody || home == nobody || own == home || g.final[at] != own || g.stopped {
			continue
		}
		s, slot := &g.seat[home], int32(item*g.ranks+rank)
		mark := g.marks[slot]
		if g.v.Well == nil || !s.usable || s.rule != "" || s.well >= g.sys.Failback || mark.braked || g.damped(slot, mark) > 0 {
			continue
		}
		g.keepBack(Held{
			Move: fsm.Move{Key: g.keyOf(item, rank), Was: g.all[slot].token, To: s.id, Reason: "home again", Cause: fsm.CauseHome},
			Why:  fmt.Sprintf("%s has been well for %v of %v", s.id, s.well.Truncate(time.Second), g.sys.Failback),
			For:  g.sys.Failback - s.well,
		})
	}
}

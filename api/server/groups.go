package server

import (
	"fmt"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// groups makes one alarm of each cause, however many items share it. What of an
// alarm continues a sentence that begins with the items.
type groups struct {
	order []cause
	first map[cause]fsm.ItemID
	count map[cause]int
}

type cause struct {
	system fsm.SystemID
	alarm  api.Alarm
}

func (g *groups) add(system fsm.SystemID, item fsm.ItemID, a api.Alarm) {
	if g.count == nil {
		g.first, g.count = map[cause]fsm.ItemID{}, map[cause]int{}
	}
	c := cause{system, a}
	if g.count[c]++; g.count[c] == 1 {
		g.first[c] = item
		g.order = append(g.order, c)
	}
}

func (g *groups) alarms() []api.Alarm {
	var out []api.Alarm
	for _, c := range g.order {
		what := fmt.Sprintf("%s/%s", c.system, g.first[c])
		if n := g.count[c] - 1; n > 0 {
			what += fmt.Sprintf(" and %d more of system %s", n, c.system)
		}
		a := c.alarm
		a.What = what + a.What
		out = append(out, a)
	}
	return out
}

package server

import (
	"fmt"
	"strings"

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
		a.What, a.Do = what+a.What, named(a.Do, c.system, g.first[c])
		out = append(out, a)
	}
	return out
}

// someItem stands in the words of what is done about an item, so that items that
// wait for the same are one group; named puts the item there.
const someItem = "SYSTEM ITEM"

func named(do string, system fsm.SystemID, item fsm.ItemID) string {
	return strings.ReplaceAll(do, someItem, word(string(system))+" "+word(string(item)))
}

// word is a name as a shell takes it.
func word(name string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_./:@%+=,-", r)
	}
	if name != "" && strings.IndexFunc(name, func(r rune) bool { return !plain(r) }) < 0 {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/api/server"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/placement"
)

// rowWhy is a row with all that speaks for where it is.
type rowWhy struct {
	api.Row
	Cause    string       `json:"cause"`
	Words    []string     `json:"words"` // what the reason leaves out
	Next     *plannedMove `json:"next,omitempty"`
	Held     *plannedMove `json:"held,omitempty"`
	Unplaced string       `json:"unplaced,omitempty"`
}

// assignWhy is `flip assign --why`: one plan for all rows.
func (a *App) assignWhy(c *cli.Context) error {
	if c.Bool("by-member") {
		return &usageError{what: "--by-member has no room for --why", hint: "give one of them; `flip why SYSTEM ITEM` says most"}
	}
	p, err := a.picture(c)
	if err != nil {
		return err
	}
	only := fsm.SystemID(c.Args().First())
	if _, known := p.State.Spec().Systems[only]; only != "" && !known {
		return noSystem(p.State, only)
	}
	rows := rowsWhy(p, only)
	switch {
	case c.Bool("json"):
		return printJSON(a.Stdout, rows)
	case len(rows) == 0:
		_, _ = fmt.Fprintln(a.Stdout, "Nothing is assigned. `flip status` says whether it should be.")
	default:
		writeRowsWhy(a.Stdout, a.painter(), rows)
	}
	return nil
}

func rowsWhy(p picture, only fsm.SystemID) []rowWhy {
	plan := placement.Plan(p.View)
	next, held, none := map[fsm.Key]fsm.Move{}, map[fsm.Key]placement.Held{}, map[fsm.Key]string{}
	for _, m := range plan.Moves {
		next[m.Key] = m
	}
	for _, h := range plan.Held {
		held[h.Key] = h
	}
	for _, u := range plan.Unplaced {
		none[u.Key] = u.Why
	}
	out := []rowWhy{}
	for _, row := range server.Assignments(p.State, api.Stamp{}, only).Rows {
		k := fsm.Key{System: row.System, Item: row.Item, Rank: row.Rank}
		slot, _ := p.State.Slot(k)
		r := rowWhy{Row: row, Cause: slot.Cause.String(), Words: []string{}, Unplaced: none[k]}
		if row.Key().Server != "" {
			out = append(out, r)
			continue
		}
		if m, ok := next[k]; ok && m.To != slot.Owner {
			move := moveOf(slot, m)
			r.Next = &move
		}
		if h, ok := held[k]; ok {
			move := moveOf(slot, h.Move)
			move.Why, move.ForMS = h.Why, h.For.Milliseconds()
			r.Held = &move
		}
		r.Words = r.words(p.State, slot)
		out = append(out, r)
	}
	return out
}

// words is what the reason of the last move leaves out.
func (r rowWhy) words(s *fsm.State, slot fsm.Slot) []string {
	var out []string
	if slot.Home != "" && slot.Home != slot.Owner {
		out = append(out, "its home is "+string(slot.Home))
	}
	if slot.Previous != "" && slot.Previous != slot.Owner {
		out = append(out, string(slot.Previous)+" had it before")
	}
	if r.Next != nil {
		out = append(out, fmt.Sprintf("is to go to %s: %s", or(string(r.Next.To), "nobody"), r.Next.Reason))
	}
	if r.Held != nil {
		out = append(out, fmt.Sprintf("to %s (%s) is held back: %s", or(string(r.Held.To), "nobody"), r.Held.Reason, heldWords(*r.Held)))
	}
	if r.Unplaced != "" {
		out = append(out, "nobody can have it: "+r.Unplaced)
	}
	if slot.Braked {
		out = append(out, fmt.Sprintf("it is not moved until `flip cleanup %s %s`", slot.System, slot.Item))
	}
	if s.Maintained(slot.System) {
		out = append(out, "under maintenance nothing is moved")
	}
	return out
}

func writeRowsWhy(w io.Writer, p painter, rows []rowWhy) {
	t := newTable("SYSTEM", "ITEM", "OWNER", "STATE", "SINCE", "WHY")
	for _, r := range rows {
		why := or(r.Reason, "-")
		for _, words := range r.Words {
			why += "; " + words
		}
		t.add(rowColour(r.Row), string(r.System), itemName(r.Row), or(string(r.Owner), "-"), r.State, number(uint64(r.Since)), why)
	}
	t.write(w, p)
}

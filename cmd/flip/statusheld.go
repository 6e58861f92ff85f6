package main

import (
	"fmt"
	"io"

	"github.com/flip-ha/flip/api"
)

// heldShown is how many moves that wait a status for people names.
const heldShown = 10

// writeHeld is what is to be moved, and is not yet.
func writeHeld(w io.Writer, p painter, st api.Status) {
	if len(st.Held) == 0 {
		return
	}
	all := 0
	for _, s := range st.Systems {
		if s.Held != nil {
			all += *s.Held
		}
	}
	_, _ = fmt.Fprintln(w)
	t := newTable("WAITS", "MOVE", "BECAUSE", "HELD BACK", "FOR")
	for _, h := range st.Held[:min(len(st.Held), heldShown)] {
		name := itemName(api.Row{Item: h.Item, Rank: h.Rank})
		wait := "-"
		if h.ForMS > 0 {
			wait = spoken(h.ForMS)
		}
		t.add(plain, string(h.System)+"/"+name, fmt.Sprintf("%s -> %s", or(string(h.From), "nobody"), or(string(h.To), "nobody")),
			or(h.Reason, "-"), h.Why, wait)
	}
	t.write(w, p)
	if more := all - heldShown; more > 0 {
		_, _ = fmt.Fprintf(w, "and %d more: `flip why SYSTEM ITEM` explains each\n", more)
	}
}

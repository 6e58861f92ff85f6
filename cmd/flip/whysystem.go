package main

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/placement"
)

// mostAway is how many items that are not at home are named one by one.
const mostAway = 20

// whole is why a system is divided as it is.
type whole struct {
	System      fsm.SystemID  `json:"system"`
	Members     []wholeMember `json:"members"`
	Away        []awayItem    `json:"away"` // not at home
	Moves       []plannedMove `json:"moves"`
	Held        []plannedMove `json:"held"`
	Unplaced    []plannedNone `json:"unplaced"`
	Braked      bool          `json:"braked"`
	Maintenance bool          `json:"maintenance"`
}

// wholeMember is what a member has of a system.
type wholeMember struct {
	Name      fsm.MemberID `json:"name"`
	State     string       `json:"state"`
	Zone      string       `json:"zone,omitempty"`
	Share     int          `json:"share"` // its weight
	Items     int          `json:"items"`
	Primaries int          `json:"primaries"`
	Load      int          `json:"load"`
	Capacity  int          `json:"capacity,omitempty"` // 0: no limit
	WellMS    int64        `json:"well_ms"`            // for how long, as far as the history tells; -1: longer, or not well
}

// awayItem is an item whose owner is not its home.
type awayItem struct {
	Item   fsm.ItemID   `json:"item"`
	Rank   int          `json:"rank"`
	Owner  fsm.MemberID `json:"owner"`
	Home   fsm.MemberID `json:"home"`
	Reason string       `json:"reason"`
}

func (a *App) whySystem(c *cli.Context, p picture, sys fsm.System) error {
	out := wholeOf(p, sys)
	if c.Bool("json") {
		return printJSON(a.Stdout, out)
	}
	if sys.Split != fsm.Shard && sys.Split != fsm.ChooseOne {
		_, _ = fmt.Fprintln(a.Stdout, undivided(sys))
		return nil
	}
	paint := a.painter()
	out.write(a.Stdout, paint)
	writeStops(a.Stdout, paint, p.State, sys.Name)
	_, _ = fmt.Fprintln(a.Stdout, p.words)
	return nil
}

func wholeOf(p picture, sys fsm.System) whole {
	out := whole{
		System: sys.Name, Members: []wholeMember{}, Away: []awayItem{}, Moves: []plannedMove{}, Held: []plannedMove{}, Unplaced: []plannedNone{},
		Maintenance: p.State.Maintained(sys.Name),
	}
	out.Braked = slices.ContainsFunc(p.State.Brakes(), func(b fsm.Brake) bool { return b.System == sys.Name })
	at := map[fsm.MemberID]*wholeMember{}
	for _, name := range placement.Order(p.State.Spec().Servers) {
		server := p.State.Spec().Servers[name]
		if slices.Contains(server.Systems, sys.Name) {
			at[name] = &wholeMember{Name: name, State: stateIn(p, name), Zone: server.Zone, Share: server.Share(), Capacity: server.Capacity, WellMS: wellMS(p, name)}
		}
	}
	loads := map[fsm.ItemID]int{}
	for _, i := range sys.Items {
		loads[i.ID] = i.Load()
	}
	for slot := range p.State.SlotsOf(sys.Name) {
		if m := at[slot.Owner]; m != nil {
			m.Items++
			m.Load += loads[slot.Item]
			if slot.Rank == 0 {
				m.Primaries++
			}
		}
		if _, there := loads[slot.Item]; there && slot.Home != "" && slot.Owner != slot.Home {
			out.Away = append(out.Away, awayItem{Item: slot.Item, Rank: slot.Rank, Owner: slot.Owner, Home: slot.Home, Reason: slot.Reason})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(at)) {
		out.Members = append(out.Members, *at[name])
	}
	out.reckon(p)
	return out
}

func wellMS(p picture, name fsm.MemberID) int64 {
	if well, known := p.Well[name]; known && well != longEnough {
		return well.Milliseconds()
	}
	return -1
}

// reckon adds what the leader would do about the system.
func (out *whole) reckon(p picture) {
	all := planned{}
	shares := map[fsm.MemberID]*plannedShare{}
	r := placement.Plan(p.View)
	for _, m := range r.Moves {
		all.move(p.State, m, shares)
	}
	all.rest(p.State, r)
	for _, m := range all.Moves {
		if m.System == out.System {
			out.Moves = append(out.Moves, m)
		}
	}
	for _, m := range all.Held {
		if m.System == out.System {
			out.Held = append(out.Held, m)
		}
	}
	for _, u := range all.Unplaced {
		if u.System == out.System {
			out.Unplaced = append(out.Unplaced, u)
		}
	}
}

func (out whole) write(w io.Writer, p painter) {
	t := newTable("MEMBER", "STATE", "ZONE", "ITEMS", "PRIMARY", "LOAD", "WEIGHT", "AT MOST")
	for _, m := range out.Members {
		colour, most := plain, "-"
		if m.State == api.MemberDown || m.State == api.MemberNever {
			colour = red
		}
		if m.Capacity > 0 {
			most = fmt.Sprint(m.Capacity)
		}
		t.add(colour, string(m.Name), m.State, or(m.Zone, "-"), fmt.Sprint(m.Items), fmt.Sprint(m.Primaries), fmt.Sprint(m.Load), fmt.Sprint(m.Share), most)
	}
	t.write(w, p)
	_, _ = fmt.Fprintln(w)
	item := func(id fsm.ItemID, rank int) string { return itemName(api.Row{Item: id, Rank: rank}) }
	for _, a := range out.Away[:min(len(out.Away), mostAway)] {
		_, _ = fmt.Fprintf(w, "%s is away from its home %s, with %s: %s\n", item(a.Item, a.Rank), a.Home, or(string(a.Owner), "nobody"), or(a.Reason, "no reason is known"))
	}
	if more := len(out.Away) - mostAway; more > 0 {
		_, _ = fmt.Fprintf(w, "and %d more are not at home\n", more)
	}
	for _, m := range out.Moves[:min(len(out.Moves), mostAway)] {
		_, _ = fmt.Fprintf(w, "%s is to go from %s to %s: %s\n", item(m.Item, m.Rank), or(string(m.From), "nobody"), or(string(m.To), "nobody"), m.Reason)
	}
	if more := len(out.Moves) - mostAway; more > 0 {
		_, _ = fmt.Fprintf(w, "and %d more are to be moved: flip plan\n", more)
	}
	for _, m := range out.Held {
		_, _ = fmt.Fprintln(w, p.line(yellow, fmt.Sprintf("%s to %s (%s) is held back: %s", item(m.Item, m.Rank), or(string(m.To), "nobody"), m.Reason, heldWords(m))))
	}
	for _, u := range out.Unplaced {
		_, _ = fmt.Fprintln(w, p.line(red, fmt.Sprintf("nobody can have %s: %s", item(u.Item, u.Rank), u.Why)))
	}
}
